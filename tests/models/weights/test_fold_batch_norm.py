import keras
import numpy as np
import pytest
from keras import layers

from keras_residual import (
    PlainBlock,
    PlainNet,
    ResidualBlock,
    ResNet,
    StochasticDepth,
    TransferModel,
    fold_batch_norm,
)


def some_images(model, count=2):
    shape = [size or 33 for size in model.input_shape[1:]]
    images = np.random.default_rng(1).normal(size=(count, *shape))
    return images.astype("float32")


def norms(model):
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, layers.BatchNormalization)
    ]


def assert_same_outputs(folded, model, tolerance=1e-4):
    images = some_images(model)
    expected = model.predict(images, verbose=0)
    actual = folded.predict(images, verbose=0)
    assert np.abs(expected).max() > 0.01
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)


SMALL = {"input_shape": (40, 32, 3)}


@pytest.mark.parametrize(
    ("network", "depth", "arguments"),
    [
        pytest.param(
            ResNet, 18, {"variant": "torchvision", **SMALL}, marks=pytest.mark.slow
        ),
        pytest.param(
            ResNet,
            50,
            {"variant": "torchvision", **SMALL},
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        pytest.param(
            ResNet,
            50,
            {"variant": "keras", **SMALL},
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        pytest.param(
            ResNet,
            18,
            {"variant": "paper", **SMALL},
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        (ResNet, 8, {"variant": "cifar", "include_top": False}),
        pytest.param(
            PlainNet,
            18,
            {"variant": "torchvision", "input_shape": (None, None, 3)},
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        (PlainNet, 14, {"variant": "cifar"}),
    ],
)
def test_networks(network, depth, arguments, random_statistics):
    model = random_statistics(network(depth, num_classes=10, **arguments))
    before = model.get_weights()
    folded = fold_batch_norm(model)
    assert_same_outputs(folded, model)
    assert norms(folded) == []
    assert [layer.name for layer in folded.layers] == [
        layer.name for layer in model.layers if layer.name != "stem_bn"
    ]
    assert folded.name == model.name
    assert norms(model)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize(
    "arguments",
    [
        {"shortcut": "projection"},
        {"shortcut": "pad"},
        {"shortcut": "average", "squeeze_excitation": 4},
    ],
)
def test_shortcuts(arguments, random_statistics):
    model = ResNet(8, 4, variant="cifar", **arguments)
    assert_same_outputs(fold_batch_norm(random_statistics(model)), model)


def test_transfer_model(random_statistics):
    backbone = ResNet(8, variant="cifar", include_top=False)
    model = TransferModel(backbone, 3, preprocessing="torch")
    config = model.get_config()
    folded = fold_batch_norm(random_statistics(model))
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3))
    expected = model.predict(images, verbose=0)
    actual = folded.predict(images, verbose=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    assert norms(folded) == []
    assert len(norms(model)) == 1 + 3 * 2
    assert model.get_config() == config


def test_stochastic_depth_and_zero_init(random_statistics):
    model = ResNet(8, 4, variant="cifar", drop_path_rate=0.5, zero_init=True)
    assert_same_outputs(fold_batch_norm(random_statistics(model)), model)


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow has no channels-first convolution on the CPU",
)
def test_channels_first(random_statistics):
    model = ResNet(8, 4, variant="cifar", data_format="channels_first")
    assert_same_outputs(fold_batch_norm(random_statistics(model)), model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "build", [keras.applications.ResNet50, keras.applications.MobileNetV2]
)
def test_keras_applications(build, random_statistics):
    model = build(weights=None, input_shape=(32, 32, 3), classes=10)
    folded = fold_batch_norm(
        random_statistics(keras.Model(model.input, model.layers[-2].output))
    )
    assert norms(folded) == []
    assert_same_outputs(folded, keras.Model(model.input, model.layers[-2].output))


@pytest.mark.parametrize(
    "convolution",
    [
        layers.Conv2D(4, 3, groups=2, use_bias=False),
        layers.Conv2D(4, 3),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
        layers.SeparableConv2D(4, 3, use_bias=False),
        layers.Conv2DTranspose(4, 3, strides=2, use_bias=False),
        layers.Dense(4, use_bias=False),
    ],
    ids=lambda layer: f"{layer.name}",
)
@pytest.mark.parametrize("arguments", [{}, {"center": False}, {"scale": False}])
def test_layers_of_keras(convolution, arguments, random_statistics):
    convolution = type(convolution).from_config(convolution.get_config())
    model = keras.Sequential(
        [
            keras.Input((9, 8, 4)),
            convolution,
            layers.BatchNormalization(epsilon=0.01, **arguments),
            layers.ReLU(),
        ]
    )
    folded = fold_batch_norm(random_statistics(model))
    assert_same_outputs(folded, model, 1e-5)
    assert norms(folded) == []


@pytest.mark.parametrize("rank", [1, 3])
def test_other_ranks(rank, random_statistics):
    convolution = {1: layers.Conv1D, 3: layers.Conv3D}[rank](4, 2)
    model = keras.Sequential(
        [keras.Input((6,) * rank + (3,)), convolution, layers.BatchNormalization()]
    )
    folded = fold_batch_norm(random_statistics(model))
    assert_same_outputs(folded, model, 1e-5)
    assert norms(folded) == []


def one_foldable(between=None, after=None, **arguments):
    """A convolution with its normalization, and another pair that is different."""
    images = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="kept_first")(images)
    x = layers.BatchNormalization(name="gone")(layers.Conv2D(4, 3)(x))
    convolution = layers.Conv2D(4, 3, padding="same", name="conv", **arguments)
    y = convolution(x)
    norm = layers.BatchNormalization(name="kept")
    z = norm(between(y) if between else y)
    outputs = after(x, y, z, convolution, norm) if after else z
    return keras.Model(images, outputs)


@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "relu"},
        {"between": layers.ReLU()},
        {"between": layers.ZeroPadding2D(1)},
        {"after": lambda x, y, z, conv, norm: y + z},
        {"after": lambda x, y, z, conv, norm: z + conv(z)},
        {"after": lambda x, y, z, conv, norm: norm(z)},
        {"dtype": "mixed_bfloat16"},
    ],
    ids=[
        "activation",
        "relu",
        "padding",
        "output used twice",
        "convolution called twice",
        "normalization called twice",
        "another dtype",
    ],
)
def test_what_cannot_be_folded_stays(arguments, random_statistics):
    model = random_statistics(one_foldable(**arguments))
    folded = fold_batch_norm(model)
    assert [layer.name for layer in norms(folded)] == ["kept_first", "kept"]
    assert_same_outputs(folded, model)


def test_output_of_the_model_before_the_normalization_stays(random_statistics):
    model = one_foldable(after=lambda x, y, z, conv, norm: [y, z])
    folded = fold_batch_norm(random_statistics(model))
    assert "kept" in [layer.name for layer in norms(folded)]
    images = some_images(model)
    for actual, expected in zip(
        folded.predict(images, verbose=0),
        model.predict(images, verbose=0),
        strict=True,
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_training_statistics_and_other_axes_stay():
    images = keras.Input((8, 4, 4))
    x = layers.BatchNormalization(axis=1, name="rows")(layers.Conv2D(4, 1)(images))
    x = layers.BatchNormalization(name="batch")(layers.Conv2D(4, 1)(x), training=True)
    x = layers.BatchNormalization(name="gone")(layers.Conv2D(4, 1)(x))
    folded = fold_batch_norm(keras.Model(images, x))
    assert [layer.name for layer in norms(folded)] == ["rows", "batch"]


class Unusual(layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) + 1.0


def test_subclass_of_a_convolution_stays():
    images = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="kept")(Unusual(4, 3)(images))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    folded = fold_batch_norm(keras.Model(images, x))
    assert [layer.name for layer in norms(folded)] == ["kept"]


def test_preactivated_blocks_stay_as_they_are(random_statistics):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(),
            ResidualBlock(4, preactivation=True),
            PlainBlock(8, strides=2),
            StochasticDepth(0.5),
        ]
    )
    folded = fold_batch_norm(random_statistics(model))
    assert len(norms(folded)) == 2
    assert_same_outputs(folded, model)


def test_nested_models_and_dictionaries(random_statistics):
    base = ResNet(8, variant="cifar", include_top=False, name="base")
    head = keras.Sequential(
        [layers.Dense(8), layers.BatchNormalization(), layers.Dense(2)], name="head"
    )
    inputs = {
        "image": keras.Input((32, 32, 3), name="image"),
        "factor": keras.Input((1,), name="factor"),
    }
    x = layers.GlobalAveragePooling2D()(base(inputs["image"], training=False))
    outputs = {"scores": head(x) * inputs["factor"], "features": x}
    model = random_statistics(keras.Model(inputs, outputs))
    folded = fold_batch_norm(model)
    assert norms(folded) == []
    data = {
        "image": np.random.default_rng(0).normal(size=(2, 32, 32, 3)),
        "factor": np.ones((2, 1)),
    }
    expected = model.predict(data, verbose=0)
    actual = folded.predict(data, verbose=0)
    assert set(actual) == {"scores", "features"}
    for name in actual:
        np.testing.assert_allclose(actual[name], expected[name], atol=1e-4)


@pytest.mark.slow
def test_save_and_load(tmp_path, random_statistics):
    model = random_statistics(ResNet(8, 4, variant="cifar"))
    model.compile("sgd", "mse")
    folded = fold_batch_norm(model)
    assert not folded.compiled
    folded.save(tmp_path / "folded.keras")
    restored = keras.saving.load_model(tmp_path / "folded.keras")
    images = some_images(model)
    np.testing.assert_array_equal(
        restored.predict(images, verbose=0), folded.predict(images, verbose=0)
    )
    assert_same_outputs(restored, model)


def test_other_layers_still_work(random_statistics):
    """Looking up the output of a layer needs that no layer is called anew."""
    model = random_statistics(ResNet(8, 4, variant="cifar"))
    fold_batch_norm(model)
    features = keras.Model(model.input, model.get_layer("stage1_block1").output)
    assert features.output_shape == (None, 32, 32, 16)


def test_mixed_precision(random_statistics):
    reference = random_statistics(ResNet(8, 4, variant="cifar"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = ResNet(8, 4, variant="cifar")
    model.set_weights(reference.get_weights())
    folded = fold_batch_norm(model)
    assert folded.get_layer("stage1_block1").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in folded.weights} == {"float32"}
    # Exact where nothing is rounded to bfloat16, and as near as the model elsewhere.
    keras.config.set_dtype_policy("float32")
    exact = ResNet(8, 4, variant="cifar", use_batch_norm=False)
    exact.set_weights(folded.get_weights())
    assert_same_outputs(exact, reference)
    assert_same_outputs(folded, reference, 0.05)


def test_large_statistics_are_folded_in_double_precision():
    """beta - mean * s cancels: in float32 the constant alone would be off by 1e-2."""
    model = keras.Sequential(
        [keras.Input((1, 1, 1)), layers.Conv2D(1, 1), layers.BatchNormalization()]
    )
    mean, variance, gamma = 123.456, 1e-4, 7.0
    scale = gamma / np.sqrt(variance + 1e-3)
    beta = mean * scale
    model.layers[1].set_weights(
        [np.array([value]) for value in (gamma, beta, mean, variance)]
    )
    folded = fold_batch_norm(model)
    (norm,) = norms(model)
    mean64, beta64 = (
        float(keras.ops.convert_to_numpy(w)[0]) for w in (norm.moving_mean, norm.beta)
    )
    variance64 = float(keras.ops.convert_to_numpy(norm.moving_variance)[0])
    expected = beta64 - mean64 * gamma / np.sqrt(variance64 + 1e-3)
    bias = keras.ops.convert_to_numpy(folded.layers[-1].bias)[0]
    np.testing.assert_allclose(bias, expected, rtol=1e-6)


def test_nothing_to_fold():
    model = ResNet(8, 4, variant="cifar")
    folded = fold_batch_norm(model)
    for nothing in (folded, keras.Sequential([keras.Input((2,)), layers.Dense(1)])):
        with pytest.raises(ValueError, match="`model` must have a batch norm"):
            fold_batch_norm(nothing)


class Subclass(keras.Model):
    def call(self, inputs):
        return inputs


class Doubled(keras.Model):
    """A functional model whose outputs are not those of its layers."""

    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def doubled():
    inputs = keras.Input((4, 4, 3))
    outputs = layers.BatchNormalization()(layers.Conv2D(2, 3)(inputs))
    return Doubled(inputs, outputs)


@pytest.mark.parametrize(
    "model",
    [None, "model.keras", layers.Dense(1), Subclass(), keras.Sequential(), doubled()],
    ids=["None", "path", "layer", "subclass", "not built", "own call"],
)
def test_not_a_model(model):
    message = r"`model` must be a functional or sequential .* Received: model="
    with pytest.raises(ValueError, match=message):
        fold_batch_norm(model)
