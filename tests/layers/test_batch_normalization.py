"""Against Keras's own layer, which computes the same from single operations."""

import inspect

import keras
import numpy as np
import pytest

from keras_residual.layers import BatchNormalization

BACKEND = keras.backend.backend()
NO_FLOAT64 = pytest.mark.skipif(
    BACKEND == "jax", reason="JAX has no float64 by default"
)
NEEDS_RENORM = pytest.mark.skipif(
    "renorm" not in inspect.signature(keras.layers.BatchNormalization).parameters,
    reason="since Keras 3.14",
)
RANDOM = {
    "momentum": 0.7,
    "gamma_initializer": keras.initializers.RandomUniform(0.5, 1.5, seed=1),
    "beta_initializer": keras.initializers.RandomUniform(-1, 1, seed=2),
    "moving_mean_initializer": keras.initializers.RandomUniform(-1, 1, seed=3),
    "moving_variance_initializer": keras.initializers.RandomUniform(0.5, 2, seed=4),
}
# The rounding of one operation.
TOLERANCES = {"float16": 2**-10, "bfloat16": 2**-7}


def images(*shape):
    return np.random.default_rng(0).normal(2.0, 3.0, shape).astype("float32")


def assert_same(layer, inputs, training, **arguments):
    expected = keras.layers.BatchNormalization.from_config(layer.get_config())
    policy = layer.compute_dtype
    tolerance = TOLERANCES.get(policy, 1e-5)
    inputs = keras.ops.convert_to_tensor(inputs, policy)
    outputs = layer(inputs, training=training, **arguments)
    targets = expected(inputs, training=training, **arguments)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")),
        keras.ops.convert_to_numpy(keras.ops.cast(targets, "float32")),
        rtol=tolerance,
        atol=tolerance,
    )
    assert [w.name for w in layer.weights] == [w.name for w in expected.weights]
    for weight, target in zip(layer.weights, expected.weights, strict=True):
        np.testing.assert_allclose(
            *map(keras.ops.convert_to_numpy, (weight, target)), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, 3])
@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "mixed_float16",
        "mixed_bfloat16",
        "bfloat16",
        pytest.param("float64", marks=NO_FLOAT64),
    ],
)
def test_outputs_and_statistics_are_those_of_keras(dtype, axis, training):
    layer = BatchNormalization(axis=axis, dtype=dtype, **RANDOM)
    assert_same(layer, images(4, 5, 6, 3), training)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 3), (1, 4, 4, 3), (5, 1, 1, 3), (8, 3), (4, 5, 3), (2, 3, 4, 5, 3)],
)
def test_shapes(shape, training):
    assert_same(BatchNormalization(**RANDOM), images(*shape), training)


@pytest.mark.parametrize("training", [False, True])
def test_empty_batch(training):
    assert_same(BatchNormalization(**RANDOM), images(0, 4, 4, 3), training)


@pytest.mark.parametrize(
    "arguments",
    [
        {"scale": False},
        {"center": False},
        {"scale": False, "center": False},
        {"epsilon": 0.1},
        pytest.param({"renorm": True}, marks=NEEDS_RENORM),
        {"trainable": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("training", [None, False, True])
def test_arguments(arguments, training):
    layer = BatchNormalization(**{**RANDOM, **arguments})
    assert_same(layer, images(4, 5, 6, 3), training)


def test_a_mask_leaves_pixels_out():
    mask = np.arange(4 * 5 * 6).reshape(4, 5, 6) % 3 > 0
    layer = BatchNormalization(**RANDOM)
    assert_same(layer, images(4, 5, 6, 3), True, mask=keras.ops.convert_to_tensor(mask))


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("steps", [{}, {"jit_compile": True}], ids=str)
def test_gradients_are_those_of_keras(axis, trainable, steps, trained):
    if steps and BACKEND == "torch":
        pytest.skip("compiles with a C++ compiler, for minutes")
    ours, keras_own = (
        trained(
            lambda x, c=layer: c(axis=axis, trainable=trainable, **RANDOM)(x),
            images(4, 5, 6, 3),
            **steps,
        )
        for layer in (BatchNormalization, keras.layers.BatchNormalization)
    )
    assert len(ours) == 1 + 4
    for gradient, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


def second_order(layer, inputs, training):
    """Gradient of a squared gradient, as a gradient penalty needs it."""
    layer.build(inputs.shape)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        x = tf.constant(inputs)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                total = tf.reduce_sum(layer(x, training=training) ** 3)
            penalty = tf.reduce_sum(inner.gradient(total, x) ** 2)
        return outer.gradient(penalty, x).numpy()
    import torch

    x = torch.tensor(inputs, requires_grad=True)
    total = (layer(x, training=training) ** 3).sum()
    (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return torch.autograd.grad((gradient**2).sum(), x)[0].numpy()


@pytest.mark.skipif(BACKEND == "jax", reason="JAX runs Keras's own operations")
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_second_order(training):
    ours, keras_own = (
        second_order(layer(**RANDOM), images(4, 3, 3, 2), training)
        for layer in (BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-5 * ours.max())


@pytest.mark.skipif(BACKEND == "jax", reason="JAX fuses Keras's own operations")
@pytest.mark.parametrize("training", [False, True])
def test_one_operation(training, operations):
    names = operations(BatchNormalization(), images(2, 4, 4, 3), training=training)
    assert {"FusedBatchNormV3", "NativeBatchNormBackward0"} & names


@pytest.mark.skipif(BACKEND != "tensorflow", reason="MirroredStrategy is TensorFlow's")
def test_synchronized_takes_the_way_of_keras(operations):
    layer = BatchNormalization(synchronized=True)
    names = operations(layer, images(2, 4, 4, 3), training=True)
    assert "FusedBatchNormV3" not in names
    assert_same(
        BatchNormalization(synchronized=True, **RANDOM), images(4, 5, 6, 3), True
    )


def test_weight_files_fit_in_both_directions(tmp_path):
    def network(layer):
        return keras.Sequential([keras.Input((4, 4, 3)), layer(**RANDOM)])

    ours, keras_own = map(
        network, (BatchNormalization, keras.layers.BatchNormalization)
    )
    for source, target in ((ours, keras_own), (keras_own, ours)):
        source.layers[0].gamma.assign(images(3))
        source.save_weights(tmp_path / "one.weights.h5")
        target.load_weights(tmp_path / "one.weights.h5")
        for weight, expected in zip(
            target.get_weights(), source.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(weight, expected)
