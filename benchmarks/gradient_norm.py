"""What a train step costs with gradient norms recorded, against the usual second tape.

    KERAS_BACKEND=jax python benchmarks/gradient_norm.py [--steps 10] [--rounds 15]

Trains ResNet-20 on random 32 x 32 images. Copies of it take turns, a round being one
`fit` of `--steps` steps: without a callback; with `GradientNormCallback()` at every
step; with ratios as well; with `every=1000`, so that all but the first step stand
between two records; and with a callback that computes the gradients once more,
compiled, the way it is done today. The first round compiles and is not counted. The
ratio is taken round by round, and the order changes from one round to the next.
"""

import argparse
import functools

import keras
import numpy as np
from _results import alternate, report

from keras_residual import GradientNormCallback, ResNet

BASELINE = "without"
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make_model():
    keras.utils.set_random_seed(0)
    model = ResNet(20, num_classes=10, variant="cifar", input_shape=(32, 32, 3))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), LOSS)
    return model


class SecondTape(keras.callbacks.Callback):
    """Computes the gradients of each batch again, after the step that used them."""

    def __init__(self, images, labels, batch):
        super().__init__()
        self.images, self.labels, self.size = images, labels, batch
        self.norms = []
        self.compute = None

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        self.compute = self.compute or second_gradients(model)
        rows = slice(batch * self.size, (batch + 1) * self.size)
        gradients = self.compute(self.images[rows], self.labels[rows])
        arrays = [keras.ops.convert_to_numpy(g) for g in gradients]
        self.norms.append([np.linalg.norm(array) for array in arrays])


def second_gradients(model):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=True)
        def tape_gradients(images, labels):
            with tf.GradientTape() as tape:
                loss = LOSS(labels, model(images, training=True))
            return tape.gradient(loss, model.trainable_variables)

        return tape_gradients
    if backend == "jax":
        import jax

        def loss(trainable, fixed, images, labels):
            outputs, _ = model.stateless_call(trainable, fixed, images, training=True)
            return LOSS(labels, outputs)

        compiled = jax.jit(jax.grad(loss))
        return lambda images, labels: compiled(
            [v.value for v in model.trainable_variables],
            [v.value for v in model.non_trainable_variables],
            images,
            labels,
        )
    import torch

    def autograd_gradients(images, labels):
        loss = LOSS(labels, model(images, training=True))
        return torch.autograd.grad(loss, [v.value for v in model.trainable_variables])

    return autograd_gradients


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    generator = np.random.default_rng(0)
    count = arguments.batch * arguments.steps
    images = generator.normal(size=(count, 32, 32, 3)).astype("float32")
    labels = generator.integers(0, 10, count)
    contestants: dict[str, list[keras.callbacks.Callback]] = {
        BASELINE: [],
        "GradientNormCallback": [GradientNormCallback()],
        "GradientNormCallback, ratios": [GradientNormCallback(ratios=True)],
        "GradientNormCallback, between records": [GradientNormCallback(every=1000)],
        "second tape": [SecondTape(images, labels, arguments.batch)],
    }
    trainings = {
        name: functools.partial(
            make_model().fit,
            images,
            labels,
            batch_size=arguments.batch,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
        for name, callbacks in contestants.items()
    }
    seconds = alternate(trainings, arguments.rounds, arguments.steps)
    report(
        "gradient_norm",
        seconds,
        BASELINE,
        batch=arguments.batch,
        steps=arguments.steps,
        network="ResNet-20",
    )


if __name__ == "__main__":
    main()
