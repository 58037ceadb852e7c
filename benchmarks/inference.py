"""How fast is inference: fused layers, folded batch normalization, and their peers?

    KERAS_BACKEND=torch python benchmarks/inference.py [--depth 50] [--batches 1 32]

Predicts random images of 224 x 224 with `ResNet(depth)`, with its folded copy, with
`ResNet(depth)` built of Keras's layers, with `keras.applications.ResNet50` (depth 50),
accelerated and folded, and, where torchvision is installed, with its network, eager and
compiled. Of the Keras networks the compiled function is timed that `predict` uses,
without the batching around it. The networks take turns, a round of `--steps` batches
each; the first round compiles and is not counted. The CSV file grows after each size of
batch: a run that is cut off keeps what it has. The table shows what the file holds;
`--table` prints it and measures nothing.
"""

import argparse
import functools

import _torchvision
import keras
import numpy as np
import pandas as pd
from _results import alternate, read, report
from step_time import layers_of_keras

from keras_residual import ResNet, accelerate, fold_batch_norm

STOCK = "layers of Keras"
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


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


def networks(depth, shape):
    """Functions from a NumPy batch to a NumPy batch, by name."""
    name = f"ResNet({depth})"
    model = ResNet(depth, input_shape=shape)
    with layers_of_keras():
        stock = ResNet(depth, input_shape=shape)
    found = {STOCK: stock, name: model, f"{name}, folded": fold_batch_norm(model)}
    if depth == 50:
        peer = keras.applications.ResNet50(weights=None, input_shape=shape)
        name = "keras.applications.ResNet50"
        found[name] = peer
        found[f"{name}, accelerated"] = accelerate(peer)
        found[f"{name}, folded"] = fold_batch_norm(peer)
    predict = {name: keras_network(model) for name, model in found.items()}
    return {**predict, **torch_networks(depth)}


def table(rows):
    """Medians of the recorded rounds, and ratios taken round by round, in Markdown."""
    frame = pd.DataFrame(rows).astype({"seconds": float, "batch": int})
    columns, networks = {}, list(frame["contestant"].unique())
    for (backend, batch), group in frame.groupby(["backend", "batch"]):
        seconds = group.pivot(columns="contestant", values="seconds", index="round")
        ratios = seconds.div(seconds[STOCK], axis=0).median()
        milliseconds = 1000 * seconds.median() / batch
        columns[f"{NAMES[backend]}, batch of {batch}"] = [
            f"{milliseconds[name]:.1f}: {ratios[name]:.2f}" for name in networks
        ]
    lines = [["network", *columns], ["---"] * (len(columns) + 1)]
    lines += map(list, zip(networks, *columns.values(), strict=True))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def measure(batch, predict, arguments):
    generator = np.random.default_rng(0)
    side = arguments.image_size
    images = generator.normal(size=(batch, side, side, 3)).astype("float32")
    name = f"ResNet({arguments.depth})"
    outputs = [predict[key](images) for key in (name, f"{name}, folded")]
    difference = np.abs(outputs[1] - outputs[0]).max() / np.abs(outputs[0]).max()
    print(f"batch of {batch}: folded outputs differ by {difference:.1e} of the largest")
    contestants = {
        key: functools.partial(repeat, network, images, arguments.steps)
        for key, network in predict.items()
    }
    report(
        "inference",
        alternate(contestants, arguments.rounds, arguments.steps),
        STOCK,
        batch=batch,
        steps=arguments.steps,
        image_size=side,
        depth=arguments.depth,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=50, choices=[18, 34, 50])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--steps", type=int, default=3, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--table", action="store_true", help="print the results, only")
    arguments = parser.parse_args()
    if not arguments.table:
        keras.utils.set_random_seed(0)
        predict = networks(arguments.depth, (arguments.image_size,) * 2 + (3,))
        for batch in arguments.batches:
            measure(batch, predict, arguments)
    print(table(read("inference")))


if __name__ == "__main__":
    main()
