"""Small models, and gradients computed without the library."""

import keras
import numpy as np
import pytest

BACKEND = keras.backend.backend()


class LinearReplay:
    """Mean squared error of `x @ w + b` under SGD, by hand and in float64."""

    def __init__(self, kernel, bias, learning_rate):
        self.kernel = np.asarray(kernel, "float64")
        self.bias = np.asarray(bias, "float64")
        self.learning_rate = learning_rate

    def gradients(self, x, y):
        error = x @ self.kernel + self.bias - y
        scale = 2 / error.size
        return scale * x.T @ error, scale * error.sum(axis=0)

    def apply(self, gradients):
        self.kernel -= self.learning_rate * gradients[0]
        self.bias -= self.learning_rate * gradients[1]

    def norms(self, batches):
        """One row of two norms for each batch."""
        rows = []
        for x, y in batches:
            gradients = self.gradients(x, y)
            rows.append([np.linalg.norm(g) for g in gradients])
            self.apply(gradients)
        return np.asarray(rows)


@pytest.fixture
def linear_model():
    """A function that compiles `x @ w + b` with the given optimizer."""

    def make(optimizer=None, **compile_arguments):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(
            optimizer or keras.optimizers.SGD(0.1), "mse", **compile_arguments
        )
        # TensorFlow traces a step twice where the step creates variables.
        model.optimizer.build(model.trainable_variables)
        return model

    return make


@pytest.fixture
def linear_replay():
    """A function from a linear model to its `LinearReplay`."""

    def make(model, learning_rate=0.1):
        return LinearReplay(*model.get_weights(), learning_rate)

    return make


@pytest.fixture
def linear_data():
    """A function that draws `steps` batches of four, as one array and in pieces."""

    def make(steps, seed=0):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(4 * steps, 3)).astype("float32")
        y = generator.normal(size=(4 * steps, 2)).astype("float32")
        batches = list(zip(np.split(x, steps), np.split(y, steps), strict=True))
        return x, y, batches

    return make


@pytest.fixture
def convolutional_model():
    """A function that compiles a convolution, batch normalization and a dense layer."""

    def make(optimizer="adam", **compile_arguments):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((6, 6, 3))
        x = keras.layers.Conv2D(4, 3, use_bias=False, name="convolution")(inputs)
        x = keras.layers.BatchNormalization(name="normalization")(x)
        x = keras.layers.Activation("relu", name="activation")(x)
        x = keras.layers.Flatten(name="flatten")(x)
        model = keras.Model(inputs, keras.layers.Dense(3, name="dense")(x))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, **compile_arguments)
        model.optimizer.build(model.trainable_variables)
        return model

    return make


@pytest.fixture
def image_data():
    """A function that draws `steps` batches of eight images and labels."""

    def make(steps):
        generator = np.random.default_rng(0)
        x = generator.normal(size=(8 * steps, 6, 6, 3)).astype("float32")
        return x, generator.integers(0, 3, len(x))

    return make


def _gradients(model, x, y):
    loss = model.loss
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        return [
            tf.convert_to_tensor(g)
            for g in tape.gradient(value, model.trainable_variables)
        ]
    if BACKEND == "jax":
        import jax

        def value(trainable):
            fixed = [v.value for v in model.non_trainable_variables]
            outputs, _ = model.stateless_call(trainable, fixed, x, training=True)
            return loss(y, outputs)

        return jax.grad(value)([v.value for v in model.trainable_variables])
    import torch

    value = loss(y, model(x, training=True))
    return torch.autograd.grad(value, [v.value for v in model.trainable_variables])


@pytest.fixture
def independent_norms():
    """A function: the norms of tape, `jax.grad` or autograd, one for each variable."""

    def compute(model, weights, x, y):
        model.set_weights(weights)
        gradients = [keras.ops.convert_to_numpy(g) for g in _gradients(model, x, y)]
        return [np.linalg.norm(g.astype("float64")) for g in gradients]

    return compute


class WeightRecorder(keras.callbacks.Callback):
    """Keeps the weights before each batch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_begin(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


@pytest.fixture
def weight_recorder():
    return WeightRecorder()
