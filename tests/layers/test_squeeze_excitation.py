import keras
import numpy as np
import pytest

from keras_residual.layers import SqueezeExcitation


def test_output_equals_the_formula():
    images = np.random.default_rng(0).normal(size=(2, 5, 7, 6)).astype("float32")
    layer = SqueezeExcitation(3)
    layer.build(images.shape)
    generator = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(generator.normal(size=weight.shape))
    kernel1, bias1, kernel2, bias2 = (np.array(w) for w in layer.get_weights())
    assert kernel1.shape == (1, 1, 6, 2)
    hidden = np.maximum(images.mean(axis=(1, 2)) @ kernel1[0, 0] + bias1, 0)
    weights = 1 / (1 + np.exp(-(hidden @ kernel2[0, 0] + bias2)))
    expected = images * weights[:, None, None]
    outputs = keras.ops.convert_to_numpy(layer(images))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    first = SqueezeExcitation(3, data_format="channels_first")
    first.build((2, 6, 5, 7))
    first.set_weights(layer.get_weights())
    model = keras.Sequential([keras.Input((6, 5, 7)), first])
    outputs = model.predict(images.transpose(0, 3, 1, 2), verbose=0)
    np.testing.assert_allclose(
        outputs.transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-5
    )


def test_few_channels_and_unknown_size_and_files(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), SqueezeExcitation(16)])
    assert model.layers[0].fc1.filters == 1
    images = np.ones((1, 4, 4, 3), "float32")
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reduction": 0}, "`reduction` must be a positive integer.*reduction=0"),
        ({"data_format": "NHWC"}, "`data_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        SqueezeExcitation(**arguments)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 8, 3), "must have rank 4"), ((2, 8, 8, None), "known number of channels")],
)
def test_bad_inputs(shape, message):
    with pytest.raises(ValueError, match=f"`inputs` of SqueezeExcitation .*{message}"):
        SqueezeExcitation().build(shape)
