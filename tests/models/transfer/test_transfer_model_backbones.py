import importlib

import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel
from keras_residual._leaves import leaves
from keras_residual.models.transfer import _blocks

# Where each network's own preprocess_input lives, typed by hand.
MODULES = {
    "ConvNeXtTiny": "convnext",
    "DenseNet121": "densenet",
    "EfficientNetB0": "efficientnet",
    "EfficientNetV2B0": "efficientnet_v2",
    "InceptionResNetV2": "inception_resnet_v2",
    "InceptionV3": "inception_v3",
    "MobileNet": "mobilenet",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3",
    "NASNetMobile": "nasnet",
    "ResNet152": "resnet",
    "ResNet50": "resnet50",
    "ResNet50V2": "resnet_v2",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "Xception": "xception",
}
WEIGHTS = "mobilenet_v2_imagenet.weights.h5"
ONCE = [pytest.mark.once, pytest.mark.slow]


def tiny():
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 1)])


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1)])
@pytest.mark.parametrize("name", MODULES)
def test_preprocessing_is_that_of_the_network(name, value_range, monkeypatch):
    # The network itself is slow to build and has no part in this. It stays what the
    # name stands for: only its result is another.
    from keras_residual.models.transfer import _backbones

    monkeypatch.setattr(_backbones, "_named", lambda *_, **__: tiny())
    model = TransferModel(name, 2, mode="scratch", value_range=value_range)
    layer = keras.Model(model.input, model.get_layer("preprocessing").output)
    images = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype("float32")
    module = importlib.import_module(f"keras.applications.{MODULES[name]}")
    expected = module.preprocess_input(images.copy(), data_format="channels_last")
    given = images * value_range[1] / 255
    outputs = keras.ops.convert_to_numpy(layer(given))
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.once
@pytest.mark.parametrize(
    ("network", "blocks", "stages"),
    [
        # Blocks and stages as the papers count them, and the stem.
        ("ResNet50", 16 + 1, 4 + 1),
        pytest.param("ResNet50V2", 16 + 1, 4 + 1, marks=ONCE),
        pytest.param("DenseNet121", 6 + 12 + 24 + 16 + 1, 4 + 1, marks=ONCE),
        ("EfficientNetB0", 16 + 1, 7 + 1),
        pytest.param("EfficientNetV2B0", 21 + 1, 6 + 1, marks=ONCE),
        pytest.param("ConvNeXtTiny", 18 + 3 + 1, 7 + 1, marks=ONCE),
        ("VGG16", 5, 5),
        pytest.param("MobileNet", 13 + 1, 5 + 1, marks=ONCE),
        ("MobileNetV2", 17 + 1, 5 + 1),
        pytest.param("MobileNetV3Small", 11 + 1, 4 + 1, marks=ONCE),
        pytest.param("InceptionV3", 11 + 1, 3 + 1, marks=ONCE),
        # 5b, 10 of 35 x 35, 6a, 20 of 17 x 17, 7a, 10 of 8 x 8.
        pytest.param(
            "InceptionResNetV2",
            3 + 10 + 20 + 10 + 1,
            3 + 1,
            marks=ONCE,
        ),
        # Two reducing cells in the stem, three times four cells, two between them.
        pytest.param("NASNetMobile", 2 + 3 * 4 + 2 + 1, 4 + 1, marks=pytest.mark.slow),
        # By image size; the first two convolutions are the stem, called block1.
        pytest.param("Xception", 14, 5, marks=ONCE),
    ],
)
def test_blocks_and_stages(network, blocks, stages):
    if network.startswith("NASNet") and keras.backend.backend() == "torch":
        pytest.skip("Keras 3.15.1 refuses to build NASNet on PyTorch")
    backbone = getattr(keras.applications, network)(
        weights=None, include_top=False, input_shape=(75, 75, 3)
    )
    table = [_blocks.row(part) for part in _blocks.blocks(backbone)]
    assert len(table) == blocks
    assert len({row["stage"] for row in table}) == stages
    assert sum(row["parameters"] for row in table) == backbone.count_params()
    layers = [layer for part in _blocks.blocks(backbone) for layer in part.layers]
    assert len(layers) == len(set(map(id, layers))) == len(leaves(backbone))
    # What the paper repeats has as many parameters each time.
    sizes = {row["block"]: row["parameters"] for row in table}
    repeated = {
        "InceptionResNetV2": [f"block17_{number}" for number in range(1, 21)],
        "InceptionV3": ["mixed5", "mixed6"],
        "MobileNet": [f"conv_{number}" for number in range(7, 12)],
        "NASNetMobile": ["cell_7", "cell_8"],
        "Xception": [f"block{number}" for number in range(5, 13)],
    }
    assert len({sizes[block] for block in repeated.get(network, list(sizes)[:1])}) == 1


@pytest.mark.slow
def test_this_librarys_networks_by_name(tmp_path):
    network = ResNet(18, 10, input_shape=(64, 64, 3))
    network.save_weights(tmp_path / "whole.weights.h5")
    model = TransferModel("resnet18", 3, weights=tmp_path / "whole.weights.h5")
    assert model.preprocessing == "torch"
    for ours, theirs in zip(
        model.backbone.get_weights(), network.get_weights(), strict=False
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert len(model.backbone.weights) == len(network.weights) - 2
    assert model.predict(np.full((1, 48, 80, 3), 99.0), verbose=0).shape == (1, 3)


@pytest.mark.slow
def test_weights_of_the_whole_network_and_another_size(tmp_path):
    whole = keras.applications.MobileNetV2(weights=None, input_shape=(96, 96, 3))
    whole.save_weights(tmp_path / "whole.weights.h5")
    model = TransferModel(
        "MobileNetV2", 2, weights=tmp_path / "whole.weights.h5", input_shape=(64, 64, 3)
    )
    theirs = whole.get_weights()[:-2]
    for a, b in zip(model.backbone.get_weights(), theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.once
def test_weights_of_another_network(tmp_path):
    ResNet(8, variant="cifar").save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(ValueError, match="does not fit the model 'resnet18'"):
        TransferModel("resnet18", 2, weights=tmp_path / "other.weights.h5")
    message = "`weights` must be a file with the weights of mobilenet"
    with pytest.raises(ValueError, match=message):
        TransferModel(
            "MobileNetV2",
            2,
            weights=tmp_path / "other.weights.h5",
            input_shape=(32, 32, 3),
        )


def test_model_from_a_file(tmp_path):
    backbone = ResNet(8, variant="cifar", include_top=False)
    backbone.save(tmp_path / "backbone.keras")
    model = TransferModel(tmp_path / "backbone.keras", 2, preprocessing="torch")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(
        model.backbone.predict(images, verbose=0), backbone.predict(images, verbose=0)
    )
    again = TransferModel(
        str(tmp_path / "backbone.keras"), 2, mode="scratch", preprocessing="torch"
    )
    kernel = again.backbone.get_layer("stem_conv").kernel
    assert not np.array_equal(kernel, backbone.get_layer("stem_conv").kernel)


def test_offline(monkeypatch):
    def unreachable(**arguments):
        assert arguments["weights"] == "imagenet"
        raise Exception("URL fetch failure on https://example.org: None")

    monkeypatch.setattr(keras.applications, "MobileNetV2", unreachable)
    monkeypatch.setattr("inspect.isfunction", callable)
    with pytest.raises(ConnectionError, match=r"file as `weights`.*URL fetch failure"):
        TransferModel("MobileNetV2", 2, preprocessing="tf")


@pytest.mark.slow
def test_real_photos_with_real_weights(shared_data, tmp_path):
    photos, weights = shared_data("cats_dogs"), shared_data("weights") / WEIGHTS

    def read(numbers):
        files = [(n, k) for n in numbers for k in ("cat", "dog")]
        images = [
            keras.utils.img_to_array(
                keras.utils.load_img(photos / f"{k}.{n}.jpg", target_size=(160, 160))
            )
            for n, k in files
        ]
        return np.stack(images), np.array([k == "dog" for _, k in files], "int32")

    model = TransferModel("MobileNetV2", 2, weights=weights)
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    features = model.cache_features(*read(range(20)), batch_size=10, verbose=0)
    model.fit(features, batch_size=10, epochs=6, verbose=0)
    test = read(range(100, 115))
    accuracy = model.evaluate(*test, verbose=0)[1]
    # By chance 80 % of 30 would be right once in 1,400 times.
    assert accuracy >= 0.8
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(*test, verbose=0)[1] == accuracy


# --- what cannot be


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "ResNet5O"}, "`backbone` .*Near names: ResNet50"),
        ({"backbone": "mobilenet_v2"}, "`backbone` .*Near names: .*MobileNetV2"),
        # Not another network than ResNet50.
        (
            {"backbone": "resnet50"},
            r"Near names: ResNet50.*is a model: ResNet\(50, inc",
        ),
        ({"backbone": "nothing.keras"}, "that exists. Received: backbone='nothing"),
        ({"backbone": 50}, "`backbone` must be a name, a keras.Model, or"),
        ({"num_classes": 1}, "`num_classes` must be at least 2"),
        ({"num_classes": 2.5}, "`num_classes` must be a positive integer"),
        ({"mode": "frozen"}, "`mode` must be one of 'feature_extraction'"),
        ({"unfreeze": 30}, "must be left out unless mode='fine_tuning'"),
        ({"unfreeze_unit": "block"}, "must be left out unless mode='fine_tuning'"),
        ({"mode": "fine_tuning", "unfreeze": 0}, "`unfreeze` must be a positive"),
        ({"mode": "fine_tuning", "unfreeze": "most"}, "positive integer or 'all'"),
        ({"mode": "fine_tuning", "unfreeze_unit": "unit"}, "`unfreeze_unit` must be"),
        ({"train_batch_norm": True}, "`train_batch_norm` must be False"),
        ({"weights": None}, "new ResNet50 are random. mode='scratch' trains"),
        ({"mode": "scratch", "weights": "imagenet"}, "`weights` must be None with"),
        ({"weights": "nothing.h5"}, "`weights` must be 'auto', .*path of a file"),
        (
            {"backbone": "resnet18", "weights": "nothing.h5"},
            "`weights` must be None or the path of a file of weights that exists",
        ),
        ({"hidden_units": 0}, "`hidden_units` must be a positive integer"),
        ({"dropout": 1}, "`dropout` must be a number in"),
        ({"pooling": "mean"}, "`pooling` must be one of 'avg', 'max', None"),
        ({"preprocessing": "caffee"}, "`preprocessing` must be 'auto', None, an Im"),
        ({"value_range": (-1, 1)}, "`value_range` must be one of"),
        ({"value_range": None}, "`value_range` must be .* for a model that prep"),
        ({"input_shape": (32, 32, 1)}, "must have 3 channels for the ImageNet weights"),
        ({"input_shape": (32, 32)}, r"`input_shape` must be \(height, width, ch"),
        ({"input_shape": (0, 32, 3)}, r"`input_shape` must be \(height, width, ch"),
    ],
)
def test_refused_before_anything_is_built(arguments, message, monkeypatch):
    from keras_residual.models.transfer import _backbones

    def built(*_, **__):
        raise AssertionError("the network was built before the arguments were checked")

    monkeypatch.setattr(_backbones, "make_backbone", built)
    arguments = {"backbone": "ResNet50", "num_classes": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        TransferModel(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`preprocessing` must be given for a backbone that is a model"),
        ({"weights": "imagenet"}, "`weights` must be a file or None for a backbone"),
        ({"input_shape": (32, 32, 1)}, "`input_shape` must fit the backbone"),
        ({"pooling": None}, "needs an `input_shape`"),
        (
            {"mode": "fine_tuning", "unfreeze": 2},
            "`unfreeze` must be at most 1, the number of units of",
        ),
        (
            {"mode": "fine_tuning", "unfreeze": 1, "unfreeze_unit": "block"},
            "`unfreeze_unit` must be 'layer' or 'conv' for this backbone",
        ),
    ],
)
def test_refused_for_a_model(arguments, message):
    if arguments:
        arguments = {"preprocessing": "tf", **arguments}
    with pytest.raises(ValueError, match=message):
        TransferModel(tiny(), 2, **arguments)


def test_models_that_are_no_backbones():
    top = ResNet(8, 10, variant="cifar", classifier_activation="softmax")
    with pytest.raises(ValueError, match="must be a network without top"):
        TransferModel(top, 2, preprocessing="tf")
    with pytest.raises(ValueError, match="must be a model of known input shape"):
        TransferModel(keras.Sequential(), 2, preprocessing="tf")
    vectors = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="takes one batch of images"):
        TransferModel(vectors, 2, preprocessing="tf")
    pooled_away = keras.Sequential([keras.Input((0, 4, 3)), keras.layers.Identity()])
    with pytest.raises(ValueError, match=r"must be large enough for the backbone"):
        TransferModel(pooled_away, 2, preprocessing="tf")


def test_methods_refuse_as_well(make_model):
    model = make_model()
    with pytest.raises(ValueError, match=r"`count` must be at most 4, .*unit='stage'"):
        model.unfreeze(5, "stage")
    with pytest.raises(ValueError, match="`unit` must be one of"):
        model.unfreeze(1, "unit")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="`loss` must not have from_logits=True"):
        model.compile("sgd", loss)
