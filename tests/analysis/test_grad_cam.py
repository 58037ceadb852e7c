"""Heat maps against those of a network whose gradients are known by hand."""

import keras
import numpy as np
import pytest

from keras_residual import ResidualBlock, ResNet, TransferModel
from keras_residual._leaves import all_layers
from keras_residual.analysis import grad_cam

GENERATOR = np.random.default_rng(0)
MIX = GENERATOR.normal(size=(1, 1, 2, 3)).astype("float32")
HEAD = GENERATOR.normal(size=(3, 4)).astype("float32")
IMAGES = GENERATOR.normal(size=(5, 4, 6, 2)).astype("float32")


def linear_network(*end, activation=None):
    """Maps that mix channels, their means, and a dense layer."""
    inputs = keras.Input((4, 6, 2))
    x = keras.layers.Conv2D(3, 1, use_bias=False, name="maps")(inputs)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="means")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(4, use_bias=False, activation=activation)(x)
    for layer in end:
        x = layer(x)
    model = keras.Model(inputs, x)
    model.set_weights([MIX, HEAD])
    return model


def expected(classes):
    """The gradient of a score with respect to a map is its weight in the head."""
    maps = IMAGES @ MIX[0, 0]
    heat = np.maximum(np.einsum("nhwk,kn->nhw", maps, HEAD[:, classes]), 0)
    largest = heat.max(axis=(1, 2), keepdims=True)
    return heat / np.where(largest > 0, largest, 1)


SLOW = pytest.mark.slow
NETWORKS = {
    "scores": lambda: linear_network(),
    "softmax": lambda: linear_network(activation="softmax"),
    "sigmoid": lambda: linear_network(activation="sigmoid"),
    "activation": lambda: linear_network(keras.layers.Activation("softmax")),
    "layer": lambda: linear_network(keras.layers.Softmax()),
}


@pytest.mark.parametrize(
    "network",
    [
        name if name in ("scores", "softmax") else pytest.param(name, marks=SLOW)
        for name in NETWORKS
    ],
)
def test_maps_of_a_linear_network(network):
    model = NETWORKS[network]()
    before = keras.ops.convert_to_numpy(model(IMAGES))
    classes = [3, 0, 1, 2, 2]
    # Batches of two, the last of one.
    heat = grad_cam(model, IMAGES, classes, batch_size=2)
    assert heat.dtype == "float32"
    np.testing.assert_allclose(heat, expected(classes), atol=1e-5)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(IMAGES)), before)


def test_one_class_for_all_and_the_predicted_class():
    model = linear_network()
    np.testing.assert_allclose(grad_cam(model, IMAGES, 1), expected([1] * 5), atol=1e-5)
    predicted = keras.ops.convert_to_numpy(model(IMAGES)).argmax(axis=1)
    assert len(set(predicted)) > 1
    np.testing.assert_allclose(grad_cam(model, IMAGES), expected(predicted), atol=1e-5)


def test_small_maps_come_in_the_size_of_the_images():
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.AveragePooling2D(4)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(x))
    images = np.zeros((1, 16, 16, 1), "float32")
    images[0, 8:12, 4:8] = 1
    (heat,) = grad_cam(model, images)
    assert heat.shape == (16, 16)
    assert heat.max() == 1
    assert heat[8:12, 4:8].min() > 0.4
    assert heat[:4].max() == heat[:, 12:].max() == 0


def test_nothing_that_speaks_for_the_class():
    model = linear_network()
    heat = grad_cam(model, np.zeros((1, 4, 6, 2)))
    np.testing.assert_array_equal(heat, np.zeros((1, 4, 6)))


def test_channels_first():
    inputs = keras.Input((3, 4, 6))
    x = keras.layers.Activation("linear")(inputs)
    x = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    model = keras.Model(inputs, keras.layers.Dense(4, use_bias=False)(x))
    model.set_weights([HEAD])
    maps = np.moveaxis(IMAGES @ MIX[0, 0], -1, 1)
    np.testing.assert_allclose(grad_cam(model, maps, 2), expected([2] * 5), atol=1e-5)


@pytest.mark.slow
def test_the_last_map_is_found_inside_a_transfer_model():
    backbone = ResNet(8, variant="cifar", include_top=False, input_shape=(32, 32, 3))
    model = TransferModel(
        backbone, 3, mode="feature_extraction", preprocessing=None, value_range=(0, 255)
    )
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
    heat = grad_cam(model, images)
    assert heat.shape == (2, 32, 32)
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1)
    last = backbone.get_layer("stage3_block1")
    np.testing.assert_allclose(grad_cam(model, images, layer=last), heat, atol=1e-6)
    earlier = grad_cam(model, images, layer="stage1_block1")
    assert np.abs(earlier - heat).max() > 0.1


def test_a_layer_inside_a_block():
    inputs = keras.Input((6, 6, 2))
    x = ResidualBlock(4, name="block")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 2))
    block = model.get_layer("block")
    inner = all_layers(block)[0]
    assert isinstance(inner, keras.layers.Conv2D)
    by_path = grad_cam(model, images, layer=inner.path)
    np.testing.assert_array_equal(by_path, grad_cam(model, images, layer=inner))
    assert "call" not in vars(inner)


def test_bad_arguments():
    model = linear_network()
    for change, message in (
        ({"images": IMAGES[0]}, "`images` must have the shape"),
        ({"images": IMAGES[:0]}, "`images` must have the shape"),
        ({"class_index": 4}, "`class_index` must be None, an integer from 0 to 3"),
        ({"class_index": [0, 1]}, "`class_index` must be None, an integer"),
        ({"class_index": 1.0}, "`class_index` must be None, an integer"),
        ({"layer": "nowhere"}, "`layer` must be a layer of the model, or the name"),
        ({"layer": keras.layers.ReLU()}, "`layer` must be a layer of the model"),
        ({"layer": "flatten"}, "`layer` must be called once and output maps"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
    ):
        arguments = {"images": IMAGES, "layer": "maps"} | change
        if arguments["layer"] == "flatten":
            arguments["layer"] = model.layers[3]
        with pytest.raises(ValueError, match=message):
            grad_cam(model, **arguments)


def test_models_without_maps_or_without_classes():
    dense = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="`layer` must be given: the model has no"):
        grad_cam(dense, IMAGES)
    maps = keras.Sequential([keras.Input((4, 6, 2)), keras.layers.Conv2D(3, 1)])
    with pytest.raises(ValueError, match="`model` must have one output of the shape"):
        grad_cam(maps, IMAGES)
