"""Feature maps and filters as Keras itself shows them."""

import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel
from keras_residual.analysis import feature_maps, first_filters, first_maps

IMAGE = np.random.default_rng(0).uniform(0, 1, (32, 32, 3))


@pytest.fixture(scope="module")
def backbone():
    return ResNet(8, variant="cifar", include_top=False, input_shape=(32, 32, 3))


def test_equal_what_a_functional_model_of_the_layer_puts_out(backbone):
    layer = backbone.get_layer("stage2_block1")
    part = keras.Model(backbone.input, layer.output)
    maps = feature_maps(backbone, IMAGE, "stage2_block1")
    assert maps.shape == (32, 16, 16)
    expected = part.predict(IMAGE[None], verbose=0)[0]
    np.testing.assert_allclose(maps, expected.transpose(2, 0, 1), rtol=1e-4, atol=1e-4)


def test_inside_a_transfer_model(backbone):
    model = TransferModel(backbone, 2, mode="feature_extraction", preprocessing=None)
    maps = feature_maps(model, IMAGE, "stage3_block1")
    expected = backbone.predict(IMAGE[None], verbose=0)[0]
    np.testing.assert_allclose(maps, expected.transpose(2, 0, 1), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(first_filters(model), first_filters(backbone))


def test_layers_that_put_out_something_else(backbone):
    model = TransferModel(backbone, 2, mode="feature_extraction", preprocessing=None)
    with pytest.raises(ValueError, match="`layer` must be called once and output"):
        feature_maps(model, IMAGE, model.layers[-1])
    with pytest.raises(ValueError, match="`image` must be one image"):
        feature_maps(model, IMAGE[None], "stage3_block1")


def test_a_layer_that_is_called_twice():
    layer = keras.layers.Conv2D(3, 1, name="shared")
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, layer(layer(inputs)))
    with pytest.raises(ValueError, match="`layer` must be called once and output"):
        feature_maps(model, np.zeros((4, 4, 3)), "shared")


def test_names_that_two_layers_have():
    def tower():
        features = keras.Input((4, 4, 3))
        return keras.Model(features, keras.layers.Conv2D(3, 1, name="same")(features))

    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, tower()(tower()(inputs)))
    with pytest.raises(ValueError, match="which fits 2 layers"):
        feature_maps(model, np.zeros((4, 4, 3)), "same")


def test_first_maps_are_those_that_vary_most():
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(name="padding")(inputs)
    x = layers.Conv2D(32, 3, activation="relu", name="first")(x)
    x = layers.Conv2D(12, 4, strides=4, name="last")(x)
    model = keras.Model(inputs, layers.GlobalAveragePooling2D()(x))
    image = np.random.default_rng(0).uniform(0, 1, (16, 16, 3))

    found = first_maps(model, image, most=5)

    assert list(found) == ["first", "quarter"]
    for maps, name in zip(found.values(), ("first", "last"), strict=True):
        part = keras.Model(inputs, model.get_layer(name).output)
        expected = part.predict(image[None], verbose=0)[0].transpose(2, 0, 1)
        order = sorted(range(len(expected)), key=lambda i: expected[i].std())
        chosen = expected[sorted(order[-5:])]
        np.testing.assert_allclose(maps, chosen, rtol=1e-4, atol=1e-5)
    whole = TransferModel(keras.Model(inputs, x), 2, preprocessing=None)
    assert list(first_maps(whole, image)) == ["first", "quarter"]


def test_first_filters():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(5, (2, 3)),
            keras.layers.Conv2D(7, 1),
        ]
    )
    kernel = np.random.default_rng(0).normal(size=(2, 3, 3, 5)).astype("float32")
    model.layers[0].set_weights([kernel, np.zeros(5)])
    filters = first_filters(model)
    assert filters.shape == (5, 2, 3, 3)
    np.testing.assert_array_equal(filters[4], kernel[..., 4])


def test_no_convolution():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="`model` must have a Conv2D layer"):
        first_filters(model)
