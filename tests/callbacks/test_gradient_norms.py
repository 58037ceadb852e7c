"""Norms of one batch, against gradients computed in other ways."""

import keras
import numpy as np
import pytest
from training import fit

from keras_residual import GradientNormCallback, ResNet, gradient_norms

BACKEND = keras.backend.backend()


def state(model):
    """All that a step of training could change, by path."""
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def test_equals_the_hand_derived_linear_model(linear_model, linear_replay, linear_data):
    x, y, _ = linear_data(steps=3)
    model = linear_model()
    expected = [np.linalg.norm(g) for g in linear_replay(model).gradients(x, y)]
    norms = gradient_norms(model, x, y)
    assert [name.split("/")[-1] for name in norms] == ["kernel", "bias"]
    np.testing.assert_allclose(list(norms.values()), expected, rtol=1e-5)
    # Arrays as NumPy makes them, and lists.
    again = gradient_norms(model, x.astype("float64"), y.tolist())
    np.testing.assert_allclose(list(again.values()), expected, rtol=1e-5)


def test_equals_independent_gradients_in_training_mode(
    convolutional_model, image_data, independent_norms
):
    x, y = image_data(steps=1)
    model = convolutional_model()
    norms = gradient_norms(model, x, y)
    expected = independent_norms(model, model.get_weights(), x, y)
    np.testing.assert_allclose(list(norms.values()), expected, rtol=1e-5)


def network(dropout):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dropout(dropout)(inputs)
    x = keras.layers.Conv2D(
        4,
        3,
        use_bias=False,
        kernel_regularizer="l2",
        activity_regularizer="l2",
        name="first",
    )(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="last")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def image_batch():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 8, 8, 3)).astype("float32")
    return x, generator.integers(0, 3, 8)


def test_nothing_changes():
    x, y = image_batch()
    model = network(dropout=0.5)
    fit(model, x, y, batch_size=8)  # statistics, momentum and seeds that mean something
    before = state(model)
    norms = gradient_norms(model, x, y)
    for old, new in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(old, new)
    # So the dropout draws the same again.
    assert gradient_norms(model, x, y) == pytest.approx(norms, rel=1e-5)


@pytest.mark.parametrize("by", ["variable", "layer"])
def test_equals_the_first_record_of_a_fit(by):
    x, y = image_batch()
    model = network(dropout=0.0)
    norms = gradient_norms(model, x, y, by=by)
    callback = GradientNormCallback(by=by)
    fit(model, x, y, callback, batch_size=8)
    assert list(norms) == callback.names
    np.testing.assert_allclose(list(norms.values()), callback.norms[0], rtol=1e-4)


@pytest.mark.slow
def test_blocks_of_an_uncompiled_network():
    model = ResNet(8, num_classes=3, variant="cifar")
    x = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("float32")
    y = np.array([0, 1, 2, 0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    blocks = gradient_norms(model, x, y, "block", loss=loss)
    variables = gradient_norms(model, x, y, loss=loss)
    assert "stage1_block1" in blocks
    for name, norm in blocks.items():
        inside = [v for path, v in variables.items() if path.startswith(f"{name}/")]
        np.testing.assert_allclose(norm, np.linalg.norm(inside), rtol=1e-4)


def test_given_loss_takes_the_place_of_the_compiled_one(linear_model, linear_data):
    x, y, _ = linear_data(steps=1)
    model = linear_model()
    compiled = gradient_norms(model, x, y)
    tenfold = gradient_norms(
        model, x, y, loss=lambda y, z: 10 * keras.losses.mean_squared_error(y, z)
    )
    named = gradient_norms(model, x, y, loss="mse")
    for name, norm in compiled.items():
        assert tenfold[name] == pytest.approx(10 * norm, rel=1e-5)
        assert named[name] == pytest.approx(norm, rel=1e-5)


def test_several_outputs_that_were_never_trained():
    inputs = keras.Input((2,))
    outputs = [keras.layers.Dense(1, use_bias=False, name=n)(inputs) for n in "ab"]
    model = keras.Model(inputs, outputs)
    model.compile("sgd", ["mse", "mse"], loss_weights=[1.0, 3.0])
    model.set_weights([np.ones((2, 1)), np.ones((2, 1))])
    x = np.ones((4, 2), "float32")
    y = [np.zeros((4, 1), "float32")] * 2
    # d/dw of (w x)^2 is 2 (w x) x: 4 and 4.
    norms = gradient_norms(model, x, y)
    expected = np.sqrt(32) * np.array([1, 3])
    np.testing.assert_allclose(list(norms.values()), expected, rtol=1e-5)
    fit(model, x, y)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e3])
def test_float16_neither_vanishes_nor_overflows(scale):
    layer = keras.layers.Dense(1, dtype="mixed_float16", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((2,)), layer])
    x = np.ones((4, 2), "float32")
    norms = gradient_norms(
        model,
        x,
        np.zeros(4),
        # A gradient in float16 passes through the layer.
        loss=lambda y, z: keras.ops.mean(keras.ops.cast(z, "float32")) * scale,
    )
    expected = np.array([np.sqrt(2), 1.0]) * scale
    np.testing.assert_allclose(list(norms.values()), expected, rtol=1e-2)


def test_model_that_is_not_built_yet():
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones")])
    norms = gradient_norms(model, np.ones((2, 3)), np.zeros((2, 1)), loss="mse")
    np.testing.assert_allclose(list(norms.values()), [6 * np.sqrt(3), 6], rtol=1e-5)


class Unused(keras.layers.Layer):
    def build(self, input_shape):
        self.unused = self.add_weight(shape=(2,), name="unused")
        self.used = self.add_weight(shape=(2,), name="used", initializer="ones")

    def call(self, inputs):
        return inputs * self.used


def test_variable_that_the_loss_does_not_depend_on():
    model = keras.Sequential([keras.Input((2,)), Unused(name="scale")])
    norms = gradient_norms(model, np.ones((4, 2)), np.zeros((4, 2)), loss="mse")
    missing = 0.0 if BACKEND == "jax" else np.nan
    np.testing.assert_allclose(list(norms.values()), [missing, np.sqrt(2)], rtol=1e-5)


def test_nothing_to_measure_without_a_loss():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`loss` must be given for a model that is"):
        gradient_norms(model, np.ones((4, 2)), np.ones((4, 1)))


def test_bad_by(linear_model):
    with pytest.raises(ValueError, match="`by` must be one of 'variable', 'layer'"):
        gradient_norms(linear_model(), np.ones((4, 3)), np.ones((4, 2)), by="kernel")
