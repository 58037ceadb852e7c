"""Backbones of KerasHub and KerasCV, small and with new weights."""

import keras
import numpy as np
import pytest

from keras_residual import TransferModel
from keras_residual._leaves import batch_norms


def hub_resnet():
    return library("keras_hub").ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
    )


def hub_mobilenet():
    return library("keras_hub").MobileNetBackbone(
        stackwise_expansion=[[24], [32, 48]],
        stackwise_num_blocks=[1, 2],
        stackwise_num_filters=[[16], [24, 24]],
        stackwise_kernel_size=[[3], [5, 5]],
        stackwise_num_strides=[[2], [2, 1]],
        stackwise_se_ratio=[[None], [0.25, None]],
        stackwise_activation=[["relu"], ["hard_swish", "hard_swish"]],
        stackwise_padding=[[1], [2, 2]],
        output_num_filters=32,
        input_num_filters=16,
        input_activation="hard_swish",
        output_activation="hard_swish",
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=None,
        last_layer_filter=32,
    )


def cv_resnet():
    return library("keras_cv").ResNetBackbone(
        stackwise_filters=[8, 16],
        stackwise_blocks=[1, 2],
        stackwise_strides=[1, 2],
        include_rescaling=False,
    )


def library(name):
    return pytest.importorskip(name, reason=f"{name} is not installed").models


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def equal(ours, theirs):
    return [np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "blocks", "stages"),
    [
        (hub_resnet, ["stack0_block0", "stack1_block0", "stack1_block1"], 2),
        (hub_mobilenet, ["block_0_0", "block_1_0", "block_2_0", "block_2_1"], 3),
        (
            cv_resnet,
            ["v2_stack_0_block1", "v2_stack_1_block1", "v2_stack_1_block2"],
            2,
        ),
    ],
)
def test_the_whole_way(make, blocks, stages, images, labels, tmp_path):
    backbone = make()
    model = TransferModel(backbone, 2, hidden_units=None, preprocessing="tf")
    model.compile("adam", "sparse_categorical_crossentropy")
    frozen = values(backbone.weights)
    model.fit(images, labels, batch_size=8, verbose=0)
    path = tmp_path / "features.h5"
    cache = model.cache_features(images, labels, filepath=path, verbose=0)
    model.fit(cache, batch_size=8, verbose=0)
    assert all(equal(frozen, values(backbone.weights)))
    np.testing.assert_allclose(
        model.evaluate(cache, verbose=0),
        model.evaluate(images, labels, verbose=0),
        rtol=1e-4,
    )

    model.unfreeze(1, "block")
    table = model.trainable_table()
    found = [row["block"] for row in table if row["block"] not in ("stem", "head")]
    # KerasHub's MobileNet ends in a block of one convolution.
    assert found[: len(blocks)] == blocks
    assert len({row["stage"] for row in table[1 : len(blocks) + 1]}) == stages
    assert [row["trainable_parameters"] > 0 for row in table] == [False] * (
        len(table) - 2
    ) + [True] * 2
    statistics = values(backbone.non_trainable_variables)
    model.fit(images, labels, batch_size=8, verbose=0)
    assert all(equal(statistics, values(backbone.non_trainable_variables)))
    assert model.check_batch_norm() == []
    assert not all(equal(frozen, values(backbone.weights)))

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert loaded.trainable_table() == table
    model.freeze()
    assert model.cache_features(images, labels, filepath=path, verbose=0)
    loaded.freeze()
    loaded.fit(loaded.cache_features(None, filepath=path), verbose=0)


@pytest.mark.slow
def test_scratch(images, labels):
    backbone = hub_resnet()
    model = TransferModel(backbone, 2, mode="scratch", preprocessing="tf")
    assert not all(equal(values(backbone.weights), values(model.backbone.weights)))
    assert len(model.check_batch_norm()) == len(batch_norms(backbone))


@pytest.mark.slow
def test_feature_maps_of_many_sizes():
    backbone = cv_resnet()
    inputs = keras.Input((32, 32, 3))
    features = {"P2": keras.layers.Conv2D(4, 3)(inputs)}
    features["P3"] = keras.layers.Conv2D(4, 3, strides=2)(features["P2"])
    pyramid = keras.Model(inputs, features)
    message = (
        r"must output one feature map: pass keras\.Model\(backbone\.input, "
        r"backbone\.output\['P3'\]\), say\. Received: a model that outputs 'P2', 'P3'"
    )
    with pytest.raises(ValueError, match=message):
        TransferModel(pyramid, 2, preprocessing="tf")
    with pytest.raises(ValueError, match=r"output\[1\]\), say\. .* outputs 0, 1"):
        TransferModel(
            keras.Model(inputs, list(features.values())), 2, preprocessing="tf"
        )
    part = keras.Model(pyramid.input, pyramid.output["P3"])
    assert TransferModel(part, 2, preprocessing="tf").head.input_shape == (None, 4)
    # One that a library's backbone has inside.
    name = backbone.pyramid_level_inputs["P2"]
    part = keras.Model(backbone.input, backbone.get_layer(name).output)
    TransferModel(part, 2, preprocessing="tf")


@pytest.mark.slow
@pytest.mark.once
def test_presets_by_name(images, tmp_path):
    """A folder is a preset as well: the reference is KerasHub's own way."""
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    backbone = hub_resnet()
    backbone.save_to_preset(tmp_path)
    converter = hub.layers.ResNetImageConverter(
        scale=[1 / 58.0, 1 / 57.0, 1 / 56.0], offset=[-2.0, -1.9, -1.8]
    )
    converter.save_to_preset(tmp_path)
    model = TransferModel(f"keras_hub:{tmp_path}", 2)
    expected = backbone.predict(converter(images), verbose=0).mean((1, 2))
    np.testing.assert_allclose(model.features(images), expected, rtol=1e-3, atol=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.features(images), model.features(images))
    scratch = TransferModel(f"keras_hub:{tmp_path}", 2, mode="scratch")
    assert not all(equal(values(backbone.weights), values(scratch.backbone.weights)))
    with pytest.raises(ValueError, match="the preset does not define one"):
        TransferModel("keras_hub:no_such_preset", 2)
    with pytest.raises(ValueError, match="`backbone` must be 'keras_hub:<preset>'"):
        TransferModel("keras_hub:no_such_preset", 2, preprocessing="tf")
