"""How much faster is inference with folded batch normalization, and beside its peers?

    KERAS_BACKEND=torch python benchmarks/inference.py [--depth 50] [--batch 1]

Predicts random images of 224 x 224 with `ResNet(depth)`, with its folded copy, with
`ResNet(depth)` built of Keras's layers, with `keras.applications.ResNet50` (depth 50),
accelerated and folded, and, where torchvision is installed, with its network, eager and
compiled. Of the Keras networks the compiled function is timed that
`predict` uses, without the batching around it. The networks take turns, a round of
`--steps` batches each; the first round compiles and is not counted.
"""

import argparse
import functools

import _torchvision
import keras
import numpy as np
from _results import alternate, report
from step_time import layers_of_keras

from keras_residual import ResNet, accelerate, fold_batch_norm


def keras_network(model):
    """The compiled forward pass, from a NumPy batch to a NumPy batch."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        function = tf.function(lambda images: model(images, training=False))
        return lambda images: function(tf.constant(images)).numpy()
    if backend == "jax":
        import jax

        state = (
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
        )
        function = jax.jit(
            lambda state, images: model.stateless_call(*state, images, training=False)[
                0
            ]
        )
        return lambda images: np.asarray(function(state, images))
    import torch

    def predict(images):
        with torch.no_grad():
            return model(torch.from_numpy(images), training=False).numpy()

    return predict


def torch_networks(depth):
    """torchvision's network, eager and compiled, or nothing where it is missing."""
    model = _torchvision.build(f"resnet{depth}")
    if model is None:
        return {}
    import torch

    model = model.eval()
    compiled = torch.compile(model)

    def predict(network, images):
        # The Keras networks pay for the same change of layout.
        with torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    name = f"torchvision resnet{depth}"
    return {
        f"{name}, eager": lambda images: predict(model, images),
        f"{name}, torch.compile": lambda images: predict(compiled, images),
    }


def repeat(network, images, steps):
    for _ in range(steps):
        network(images)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=50, choices=[18, 34, 50])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--image-size", type=int, default=224)
    arguments = parser.parse_args()

    keras.utils.set_random_seed(0)
    shape = (arguments.image_size, arguments.image_size, 3)
    baseline = f"ResNet({arguments.depth})"
    model = ResNet(arguments.depth, input_shape=shape)
    with layers_of_keras():
        stock = ResNet(arguments.depth, input_shape=shape)
    networks = {
        "layers of Keras": keras_network(stock),
        baseline: keras_network(model),
        f"{baseline}, folded": keras_network(fold_batch_norm(model)),
    }
    if arguments.depth == 50:
        peer = keras.applications.ResNet50(weights=None, input_shape=shape)
        networks["keras.applications.ResNet50"] = keras_network(peer)
        networks["keras.applications.ResNet50, accelerated"] = keras_network(
            accelerate(peer)
        )
        networks["keras.applications.ResNet50, folded"] = keras_network(
            fold_batch_norm(peer)
        )
    networks.update(torch_networks(arguments.depth))

    generator = np.random.default_rng(0)
    images = generator.normal(size=(arguments.batch, *shape)).astype("float32")
    outputs = [networks[name](images) for name in (baseline, f"{baseline}, folded")]
    difference = np.abs(outputs[1] - outputs[0]).max() / np.abs(outputs[0]).max()
    print(f"folded outputs differ by {difference:.1e} of the largest")
    contestants = {
        name: functools.partial(repeat, network, images, arguments.steps)
        for name, network in networks.items()
    }
    seconds = alternate(contestants, arguments.rounds, arguments.steps)
    report(
        "inference",
        seconds,
        baseline,
        batch=arguments.batch,
        steps=arguments.steps,
        image_size=arguments.image_size,
        depth=arguments.depth,
    )


if __name__ == "__main__":
    main()
