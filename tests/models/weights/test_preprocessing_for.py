import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_residual import (
    PlainNet,
    ResNet,
    TransferModel,
    fold_batch_norm,
    preprocessing_for,
)


def run(layer, images):
    return keras.ops.convert_to_numpy(layer(images))


def some_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("uint8")


def test_torchvision():
    """Against the transforms that torchvision's weights come with."""
    layer = preprocessing_for("torchvision")
    config = layer.get_config()
    assert (config["resize"], config["crop"]) == (256, 224)
    assert config["interpolation"] == "bilinear"
    images = some_images(1, 256, 300, 3)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = (images[:, 16:240, 38:262] / 255 - mean) / std
    np.testing.assert_allclose(run(layer, images), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", ["keras", "paper"])
def test_keras(variant):
    images = some_images(1, 256, 256, 3)
    expected = keras.applications.resnet.preprocess_input(images.astype("float32"))
    np.testing.assert_array_equal(
        run(preprocessing_for(variant), images), expected[:, 16:240, 16:240]
    )


def test_cifar():
    images = some_images(2, 32, 32, 3)
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    actual = run(preprocessing_for("cifar"), images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


def test_wide():
    """uoguelph-mlrg/Cutout, train.py: mean and deviation of CIFAR-10 over 255."""
    images = some_images(2, 32, 32, 3)
    mean, std = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])
    expected = (images / 255 - mean / 255) / (std / 255)
    actual = run(preprocessing_for("wide"), images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize(
    ("network", "arguments", "variant"),
    [
        (ResNet, {"depth": 18}, "torchvision"),
        (ResNet, {"depth": 50, "variant": "keras"}, "keras"),
        (ResNet, {"depth": 18, "variant": "paper"}, "paper"),
        (ResNet, {"depth": 8, "variant": "cifar"}, "cifar"),
        (ResNet, {"depth": 10, "variant": "wide", "widen_factor": 2}, "wide"),
        (ResNet, {"depth": 18, "variant": "resnet_d"}, "resnet_d"),
        (PlainNet, {"depth": 50, "num_classes": 3}, "torchvision"),
        (PlainNet, {"depth": 8, "variant": "cifar", "include_top": False}, "cifar"),
    ],
)
def test_of_a_network(network, arguments, variant):
    expected = preprocessing_for(variant).get_config()
    actual = preprocessing_for(network(**arguments)).get_config()
    assert {**actual, "name": ""} == {**expected, "name": ""}


def test_of_a_transfer_model():
    backbone = ResNet(8, variant="cifar", include_top=False)
    layer = preprocessing_for(TransferModel(backbone, 2, preprocessing="torch"))
    assert {**layer.get_config(), "name": ""} == {
        **preprocessing_for(backbone).get_config(),
        "name": "",
    }


@pytest.fixture(scope="module")
def any_size():
    return ResNet(18, input_shape=(None, None, 3))


@pytest.fixture(scope="module")
def fixed_size():
    return ResNet(18)


@pytest.mark.once
@pytest.mark.parametrize(
    ("weights", "resize", "crop", "interpolation"),
    [
        ("torchvision", 256, 224, "bilinear"),
        ("torchvision:v2", 232, 224, "bilinear"),
        ("timm:resnet50.a1_in1k", 288, 288, "bicubic"),
        ("timm:resnet152.a2_in1k", 288, 288, "bicubic"),
        ("timm:resnet18.a3_in1k", 235, 224, "bicubic"),
    ],
)
def test_of_other_weights(weights, resize, crop, interpolation, any_size, fixed_size):
    for network in ("torchvision", any_size):
        layer = preprocessing_for(network, weights=weights)
        assert (layer.resize, layer.crop) == (resize, crop)
        assert layer.interpolation == interpolation
        assert layer.std == (0.229, 0.224, 0.225)
    layer = preprocessing_for(fixed_size, weights=weights)
    assert layer.crop in (224, (224, 224))
    assert layer.resize == min(resize, 256 if interpolation == "bilinear" else 235)


def test_weights_of_another_variant_are_refused():
    with pytest.raises(ValueError, match=r"`weights` must be one of 'imagenet'\. Rec"):
        preprocessing_for("keras", weights="timm:resnet50.a1_in1k")


@pytest.mark.slow
@pytest.mark.once
def test_of_keras_applications():
    layer = preprocessing_for(keras.applications.ResNet50(weights=None))
    assert layer.channel_order == "bgr"
    assert layer.crop == 224


@pytest.mark.once
def test_input_size_and_data_format_of_the_network():
    network = ResNet(18, input_shape=(3, 112, 96), data_format="channels_first")
    layer = preprocessing_for(network)
    assert layer.compute_output_shape((None, 3, 500, 400)) == (None, 3, 112, 96)
    assert layer.resize == 128
    unknown = preprocessing_for(ResNet(18, input_shape=(None, None, 3)))
    assert (unknown.resize, unknown.crop) == (256, 224)


SERVE = """
import sys
import keras
import keras_residual
import numpy as np
folder = sys.argv[1]
model = keras.saving.load_model(folder + "/model.keras")
np.save(folder + "/loaded.npy", model.predict(np.load(folder + "/in.npy"), verbose=0))
"""


@pytest.mark.slow
def test_saved_with_the_model_and_loaded_in_another_process(tmp_path):
    network = ResNet(18, 5, input_shape=(48, 48, 3))
    model = keras.Sequential(
        [
            keras.Input((None, None, 3), dtype="uint8"),
            preprocessing_for(network),
            network,
        ]
    )
    images = some_images(2, 60, 75, 3)
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "in.npy", images)
    subprocess.run([sys.executable, "-c", SERVE, str(tmp_path)], check=True)
    actual = np.load(tmp_path / "loaded.npy")
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)
    # It is the preprocessing that makes photographs and the network meet.
    prepared = run(preprocessing_for(network), images)
    np.testing.assert_allclose(
        network.predict(prepared, verbose=0), expected, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    "network", ["resnet", None, keras.layers.Dense(1)], ids=["name", "None", "layer"]
)
def test_unknown_network(network):
    with pytest.raises(ValueError, match=r"`network` must be .*'cifar'.*network="):
        preprocessing_for(network)


@pytest.mark.slow
@pytest.mark.once
def test_changed_network_is_not_guessed():
    network = ResNet(8, variant="cifar")
    network.get_layer("stage1_block1").bn1.epsilon = 0.01
    with pytest.raises(
        ValueError, match=r"cifar, but: batch normalization epsilon 0\."
    ):
        preprocessing_for(network)
    with pytest.raises(ValueError, match="but: no batch normalization"):
        preprocessing_for(fold_batch_norm(ResNet(8, variant="cifar")))
    with pytest.raises(ValueError, match="`network` must be a network of one known"):
        preprocessing_for(keras.applications.MobileNetV2(weights=None))


def test_variants_that_are_one_network_are_not_guessed():
    """Without shortcuts a net of 18 layers is torchvision's as well as the paper's."""
    with pytest.raises(ValueError, match="which is PlainNet-18, torchvision or paper"):
        preprocessing_for(PlainNet(18))
