"""What the callback measures, against gradients computed in other ways."""

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback

BACKEND = keras.backend.backend()


def test_norms_equal_independent_gradients(
    convolutional_model, image_data, independent_norms, weight_recorder
):
    x, y = image_data(steps=5)
    model = convolutional_model()
    callback = GradientNormCallback()

    fit(model, x, y, callback, weight_recorder, batch_size=8)

    expected = [
        independent_norms(model, weights, x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8])
        for i, weights in enumerate(weight_recorder.weights)
    ]
    assert callback.names == [
        "convolution/kernel",
        "normalization/gamma",
        "normalization/beta",
        "dense/kernel",
        "dense/bias",
    ]
    assert callback.steps.tolist() == [0, 1, 2, 3, 4]
    assert callback.steps.dtype == "int64"
    assert callback.norms.dtype == "float32"
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


def test_norms_equal_hand_derived_linear_model(
    linear_model, linear_replay, linear_data
):
    x, y, batches = linear_data(steps=6)
    model = linear_model()
    expected = linear_replay(model).norms(batches)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_norms_whose_squares_leave_float32(linear_model, linear_data, scale):
    x, _, _ = linear_data(steps=1)
    y = np.full((4, 2), scale, "float32")
    model = linear_model(keras.optimizers.SGD(0.0))
    model.set_weights([np.zeros((3, 2)), np.zeros(2)])
    # The loss itself is linear, so that only the norms can overflow.
    model.compile(keras.optimizers.SGD(0.0), lambda y_true, y_pred: y_true * y_pred)
    callback = GradientNormCallback()

    fit(model, x, y, callback)

    kernel = np.linalg.norm(np.tile(x.sum(axis=0)[:, None], 2).astype("float64") / 8)
    expected = np.array([[kernel, np.linalg.norm([0.5, 0.5])]]) * scale
    np.testing.assert_allclose(callback.norms / scale, expected / scale, rtol=1e-5)


def test_sparse_gradients_of_repeated_rows(independent_norms, weight_recorder):
    model = keras.Sequential(
        [
            keras.Input((3,), dtype="int32"),
            keras.layers.Embedding(5, 4),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", keras.losses.MeanSquaredError())
    x = np.array([[0, 0, 1], [1, 1, 4]], "int32")
    y = np.array([[1.0], [2.0]], "float32")
    callback = GradientNormCallback()

    fit(model, x, y, callback, weight_recorder)

    expected = independent_norms(model, weight_recorder.weights[0], x, y)
    np.testing.assert_allclose(callback.norms, [expected], rtol=1e-5)


class WithUnusedWeight(keras.layers.Layer):
    def build(self, input_shape):
        self.unused = self.add_weight(shape=(2,), name="unused")
        self.used = self.add_weight(shape=(2,), name="used", initializer="ones")

    def call(self, inputs):
        return inputs * self.used


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("by", ["variable", "layer"])
def test_variable_without_gradient(by):
    model = keras.Sequential([keras.Input((2,)), WithUnusedWeight(name="scale")])
    model.compile("sgd", "mse")
    callback = GradientNormCallback(by=by)

    fit(model, np.ones((4, 2)), np.zeros((4, 2)), callback)

    # d/dw of mean((w x)^2) over two features is w.
    norm = np.sqrt(2)
    missing = 0.0 if BACKEND == "jax" else np.nan
    expected = [[missing, norm]] if by == "variable" else [[norm]]
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


@pytest.mark.parametrize("every", [2, 3, 100])
def test_every(linear_model, linear_replay, linear_data, every):
    x, y, batches = linear_data(steps=5)
    model = linear_model()
    expected = linear_replay(model).norms(batches * 2)[::every]
    callback = GradientNormCallback(every=every)

    fit(model, x, y, callback, epochs=2)

    assert callback.steps.tolist() == list(range(0, 10, every))
    np.testing.assert_allclose(callback.norms, expected, rtol=1e-5)


def test_every_may_change_between_fits(linear_model, linear_data):
    x, y, _ = linear_data(steps=4)
    model = linear_model()
    callbacks = [GradientNormCallback(every=every) for every in (1, 2, 3)]

    for callback in callbacks:
        fit(model, x, y, callback)

    assert [c.steps.tolist() for c in callbacks] == [[0, 1, 2, 3], [4, 6], [9]]


class Block(keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.first = keras.layers.Dense(units, name="first")
        self.second = keras.layers.Dense(units, name="second")

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, inputs):
        return inputs + self.second(self.first(inputs))


def nested_model():
    keras.utils.set_random_seed(1)
    features = keras.Input((4,))
    backbone = keras.Model(features, Block(4, name="inner")(features), name="backbone")
    inputs = keras.Input((4,))
    x = Block(4, name="outer")(inputs)
    outputs = keras.layers.Dense(2, name="head")(backbone(x))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    return model


def test_by_layer_and_block():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = np.ones((8, 2), "float32")
    recorded = {}
    for by in ("variable", "layer", "block"):
        recorded[by] = GradientNormCallback(by=by)
        fit(nested_model(), x, y, recorded[by])
    variables = recorded["variable"]
    assert [name.split("/")[-3:] for name in variables.names][:2] == [
        ["outer", "first", "kernel"],
        ["outer", "first", "bias"],
    ]
    assert [name.split("/")[-1] for name in recorded["layer"].names] == [
        "first",
        "second",
        "first",
        "second",
        "head",
    ]
    assert [name.split("/")[-1] for name in recorded["block"].names] == [
        "outer",
        "inner",
        "head",
    ]
    squares = variables.norms.astype("float64") ** 2
    layers = squares.reshape(2, 5, 2).sum(axis=2)
    np.testing.assert_allclose(recorded["layer"].norms, np.sqrt(layers), rtol=1e-5)
    blocks = np.add.reduceat(layers, [0, 2, 4], axis=1)
    np.testing.assert_allclose(recorded["block"].norms, np.sqrt(blocks), rtol=1e-5)


def test_equal_paths_get_distinct_names():
    def tower():
        features = keras.Input((2,))
        outputs = keras.layers.Dense(2, name="same")(features)
        return keras.Model(features, outputs)

    inputs = keras.Input((2,))
    model = keras.Model(inputs, tower()(tower()(inputs)))
    model.compile("sgd", "mse")
    by_variable, by_layer = GradientNormCallback(), GradientNormCallback(by="layer")

    fit(model, np.ones((4, 2)), np.ones((4, 2)), by_variable, by_layer)

    assert len(set(by_variable.names)) == 4
    assert len(set(by_layer.names)) == 2


def test_frozen_layers_are_no_columns(convolutional_model, image_data):
    model = convolutional_model()
    model.get_layer("convolution").trainable = False
    model.compile("sgd", model.loss)
    callback = GradientNormCallback(by="layer")

    fit(model, *image_data(steps=2), callback)

    assert callback.names == ["normalization", "dense"]


@pytest.mark.parametrize("every", [0, -1, 1.5, True, "2", None])
def test_bad_every(every):
    with pytest.raises(ValueError, match="`every` must be a positive integer"):
        GradientNormCallback(every=every)


@pytest.mark.parametrize("by", ["foo", None, ["layer"]])
def test_bad_by(by):
    with pytest.raises(ValueError, match="`by` must be one of 'variable', 'layer'"):
        GradientNormCallback(by=by)
