"""Against Keras's own layer, which asks the backend for the same convolution."""

import itertools

import keras
import numpy as np
import pytest

from keras_residual.layers import Conv2D, DepthwiseConv2D

BACKEND = keras.backend.backend()
NO_FLOAT64 = pytest.mark.skipif(
    BACKEND == "jax", reason="JAX has no float64 by default"
)
# Kernel size, strides, dilation rate.
WINDOWS = [
    (1, 1, 1),
    (1, 2, 1),
    (1, (3, 2), 1),
    (2, 1, 1),
    (2, 2, 1),
    (3, 1, 1),
    (3, 1, 2),
    (3, 2, 1),
    ((3, 5), (2, 1), 1),
    (4, 3, 1),
]


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def assert_same(layer, inputs, tolerance=1e-5):
    expected = getattr(keras.layers, type(layer).__name__).from_config(
        layer.get_config()
    )
    targets = expected(inputs)
    layer.build(inputs.shape)
    layer.set_weights(expected.get_weights())
    outputs = layer(inputs)
    assert outputs.shape == targets.shape
    np.testing.assert_allclose(
        *(
            keras.ops.convert_to_numpy(keras.ops.cast(x, "float32"))
            for x in (outputs, targets)
        ),
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_outputs_are_those_of_keras(window, padding, groups):
    kernel_size, strides, dilation_rate = window
    # Sizes that the strides divide, and sizes that they do not.
    for height, width in itertools.product((8, 9), (7, 12)):
        layer = Conv2D(
            6, kernel_size, strides, padding, None, dilation_rate, groups=groups
        )
        assert_same(layer, images(2, height, width, 4))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    "window", [window for window in WINDOWS if isinstance(window[1], int)], ids=str
)
def test_depthwise_outputs_are_those_of_keras(window, padding):
    kernel_size, strides, dilation_rate = window
    for multiplier, use_bias in ((1, True), (2, False)):
        layer = DepthwiseConv2D(
            kernel_size,
            strides,
            padding,
            multiplier,
            dilation_rate=dilation_rate,
            use_bias=use_bias,
            activation="relu",
            bias_initializer="ones",
        )
        assert_same(layer, images(2, 9, 12, 4))


@pytest.mark.parametrize("window", WINDOWS[::3], ids=str)
def test_channels_first(window):
    kernel_size, strides, dilation_rate = window
    layer = Conv2D(
        6,
        kernel_size,
        strides,
        "same",
        "channels_first",
        dilation_rate,
        activation="relu",
    )
    assert_same(layer, images(2, 4, 8, 9))
    if isinstance(strides, int):
        layer = DepthwiseConv2D(
            kernel_size,
            strides,
            "same",
            data_format="channels_first",
            dilation_rate=dilation_rate,
            bias_initializer="ones",
        )
        assert_same(layer, images(2, 4, 8, 9))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_one_pixel(kernel_size):
    assert_same(Conv2D(6, kernel_size, padding="same"), images(1, 1, 1, 4))


@pytest.mark.skipif(
    BACKEND == "tensorflow",
    reason="oneDNN gives it the channels of its input, in Keras's own layer too",
)
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_empty_batch(kernel_size):
    assert_same(Conv2D(6, kernel_size, padding="same"), images(0, 8, 8, 4))


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        pytest.param("float64", 1e-12, marks=NO_FLOAT64),
        ("mixed_bfloat16", 2**-7),
        ("mixed_float16", 2**-9),
    ],
)
def test_precision(kernel_size, dtype, tolerance):
    layer = Conv2D(6, kernel_size, dtype=dtype)
    inputs = images(2, 8, 8, 4).astype("float64" if dtype == "float64" else "float32")
    assert_same(layer, inputs, tolerance)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1, "strides": 2},
        {"kernel_size": 3, "padding": "same"},
        {"kernel_size": 3, "strides": 2, "padding": "same"},
    ],
    ids=str,
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_gradients_are_those_of_keras(depthwise, arguments, trained):
    kernel = keras.initializers.RandomNormal(seed=1)
    if depthwise:
        arguments = {**arguments, "depthwise_initializer": kernel}
    else:
        arguments = {**arguments, "kernel_initializer": kernel, "filters": 6}
    pairs = {
        False: (Conv2D, keras.layers.Conv2D),
        True: (DepthwiseConv2D, keras.layers.DepthwiseConv2D),
    }
    ours, keras_own = (
        trained(lambda x, c=layer: c(**arguments)(x), images(2, 8, 8, 8))
        for layer in pairs[depthwise]
    )
    assert len(ours) == 1 + 2
    for gradient, expected in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="a matrix product on JAX alone")
def test_a_matrix_product_where_the_kernel_is_one_pixel(operations):
    names = operations(Conv2D(6, 1, 2), images(2, 8, 8, 4))
    assert "dot_general" in names
    assert "conv_general_dilated" not in names
    assert "conv_general_dilated" in operations(Conv2D(6, 3), images(2, 8, 8, 4))


@pytest.mark.skipif(BACKEND != "torch", reason="an error of oneDNN in PyTorch")
def test_few_channels_with_strides_do_not_reach_onednn(operations):
    names = operations(Conv2D(8, 1, 2), images(4, 8, 8, 4))
    assert "SliceBackward0" in names
    assert "SliceBackward0" not in operations(Conv2D(8, 1, 2), images(4, 8, 8, 8))


@pytest.mark.skipif(BACKEND != "torch", reason="Keras copies on PyTorch alone")
def test_images_are_read_where_they_are(monkeypatch):
    import torch

    read = []
    convolve = torch.nn.functional.conv2d

    def spy(images, *arguments, **keywords):
        read.append(images)
        return convolve(images, *arguments, **keywords)

    monkeypatch.setattr(torch.nn.functional, "conv2d", spy)
    inputs = torch.from_numpy(images(2, 8, 8, 4))
    Conv2D(6, 3, padding="same")(inputs)
    assert read[-1].data_ptr() == inputs.data_ptr()


def test_lora_and_weight_files(tmp_path):
    ours, keras_own = (
        keras.Sequential([keras.Input((8, 8, 4)), layer(6, 3)])
        for layer in (Conv2D, keras.layers.Conv2D)
    )
    ours.save_weights(tmp_path / "one.weights.h5")
    keras_own.load_weights(tmp_path / "one.weights.h5")
    for model in (ours, keras_own):
        model.layers[0].enable_lora(2)
        model.layers[0].lora_kernel_b.assign(images(2, 6))
        model.layers[0].lora_kernel_a.assign(images(3, 3, 4, 2))
    inputs = images(2, 8, 8, 4)
    np.testing.assert_allclose(
        ours.predict(inputs, verbose=0),
        keras_own.predict(inputs, verbose=0),
        rtol=1e-5,
        atol=1e-5,
    )
