"""Against Keras's own layer, which asks the backend for the same maxima."""

import keras
import numpy as np
import pytest

from keras_residual.layers import MaxPooling2D

ON_TORCH = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="elsewhere it runs Keras's own operation"
)
# Pool size and strides.
WINDOWS = [(2, None), (3, 2), (3, 1), ((2, 3), (3, 1)), (1, 2)]


def images(*shape):
    # Whole numbers, so that windows have several maxima.
    return np.random.default_rng(0).integers(-2, 3, shape).astype("float32")


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_outputs_are_those_of_keras(window, padding, data_format):
    if keras.backend.backend() == "tensorflow" and data_format == "channels_first":
        pytest.skip("TensorFlow pools it on GPUs alone")
    np.testing.assert_array_equal(
        *(
            keras.ops.convert_to_numpy(
                layer(*window, padding, data_format)(images(2, 7, 8, 9))
            )
            for layer in (MaxPooling2D, keras.layers.MaxPooling2D)
        )
    )


@ON_TORCH
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_gradients_are_those_of_keras(window, padding, trained):
    (ours,), (expected,) = (
        trained(layer(*window, padding), images(2, 7, 8, 9))
        for layer in (MaxPooling2D, keras.layers.MaxPooling2D)
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_precision(dtype):
    outputs = MaxPooling2D(3, 2, dtype=dtype)(images(2, 9, 9, 4))
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")),
        keras.ops.convert_to_numpy(keras.layers.MaxPooling2D(3, 2)(images(2, 9, 9, 4))),
    )


@ON_TORCH
def test_images_are_read_where_they_are(operations):
    assert "CloneBackward0" in operations(
        keras.layers.MaxPooling2D(2), images(2, 4, 4, 3)
    )
    assert "CloneBackward0" not in operations(MaxPooling2D(2), images(2, 4, 4, 3))
