import keras
import numpy as np
import pytest
from keras import layers

from keras_residual import ResidualBlock, ResNet, TransferModel, accelerate
from keras_residual.layers import BatchNormalization, Conv2D, MaxPooling2D

BACKEND = keras.backend.backend()
# What is faster than Keras's own layer, on a machine without an accelerator.
NORM = BatchNormalization if BACKEND != "jax" else layers.BatchNormalization
WIDE = Conv2D if BACKEND == "torch" else layers.Conv2D  # 3x3
MAXIMA = MaxPooling2D if BACKEND == "torch" else layers.MaxPooling2D
POINT = Conv2D if BACKEND != "tensorflow" else layers.Conv2D  # 1x1


class OwnConv2D(layers.Conv2D):
    """A subclass may compute something else."""


def network(dropout=0.0):
    images = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(8, 3, padding="same", name="wide")(images)
    x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = x + layers.Conv2D(8, 1, name="point")(x)
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 8)),
            layers.Conv2D(8, 1, strides=2, name="inner_point"),
            layers.BatchNormalization(name="inner_norm", trainable=False),
        ],
        name="inner",
    )
    x = layers.DepthwiseConv2D(3, name="depthwise")(inner(x))
    x = layers.MaxPooling2D(2, name="maxima")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(images, layers.Dense(3, name="logits")(x), name="small")


def data():
    images = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype("float32")
    return images, np.arange(6) % 3


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss, metrics=["accuracy"])
    return model


def fit(model):
    return model.fit(*data(), batch_size=3, shuffle=False, verbose=0).history


def assert_equal_weights(model, other, tolerance=0.0):
    for weight, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=tolerance, atol=tolerance)


def test_layers_names_flags_and_outputs():
    model = network(dropout=0.5)
    faster = accelerate(model, verbose=False)

    assert type(faster.get_layer("wide")) is WIDE
    assert type(faster.get_layer("point")) is POINT
    assert type(faster.get_layer("norm")) is NORM
    assert type(faster.get_layer("maxima")) is MAXIMA
    inner = faster.get_layer("inner")
    assert type(inner.get_layer("inner_point")) is POINT
    assert type(inner.get_layer("inner_norm")) is NORM
    assert not inner.get_layer("inner_norm").trainable
    assert faster.name == model.name
    assert not faster.compiled
    assert [w.path for w in faster.weights] == [w.path for w in model.weights]
    for ours, theirs in zip(faster.variables, model.variables, strict=True):
        assert ours.trainable == theirs.trainable
        np.testing.assert_array_equal(  # the state of dropout is one too
            *map(keras.ops.convert_to_numpy, (ours, theirs))
        )
    images, _ = data()
    np.testing.assert_allclose(
        faster.predict(images, verbose=0),
        model.predict(images, verbose=0),
        rtol=1e-5,
        atol=1e-5,
    )


def test_a_compiled_model_trains_on_as_the_model_does():
    model = compiled(network())
    fit(model)

    faster = accelerate(model, verbose=False)

    assert int(faster.optimizer.iterations) == 2
    assert fit(faster) == {
        name: pytest.approx(values, rel=1e-4) for name, values in fit(model).items()
    }
    assert_equal_weights(faster, model, 1e-5)


@pytest.mark.slow
def test_weights_are_not_shared():
    model = compiled(network())
    before = model.get_weights()
    fit(accelerate(model, verbose=False))
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.slow
def test_files_fit_in_both_directions(tmp_path):
    model = network()
    faster = accelerate(model, verbose=False)
    fit(compiled(faster))
    faster.save_weights(tmp_path / "small.weights.h5")
    model.load_weights(tmp_path / "small.weights.h5")
    assert_equal_weights(model, faster)
    faster.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    assert type(loaded.get_layer("norm")) is NORM
    assert_equal_weights(loaded, faster)


def test_the_report(capsys):
    accelerate(network())
    out = capsys.readouterr().out.splitlines()
    replaced = {
        "tensorflow": "2 BatchNormalization",
        "jax": "2 Conv2D",
        "torch": "2 BatchNormalization, 3 Conv2D, 1 DepthwiseConv2D, 1 MaxPooling2D",
    }[BACKEND]
    assert out[0] == f"accelerate: {replaced} replaced on {BACKEND}"
    assert out[1:] == []


def test_what_a_subclass_or_a_layer_of_layers_owns_is_named(capsys):
    class Pair(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.convolution = layers.Conv2D(4, 1, name="convolution")
            self.norm = layers.BatchNormalization(name="norm")

        def build(self, input_shape):
            self.convolution.build(input_shape)
            self.norm.build((*input_shape[:-1], 4))

        def call(self, inputs):
            return self.norm(self.convolution(inputs))

    model = keras.Sequential(
        [keras.Input((4, 4, 3)), OwnConv2D(4, 1, name="own"), Pair(name="pair")]
    )
    accelerate(model)
    out = capsys.readouterr().out
    assert f"accelerate: nothing replaced on {BACKEND}" in out
    assert "left as they are: 1 Pair (pair)" in out
    assert ("left as they are: 1 OwnConv2D (own)" in out) == (BACKEND != "tensorflow")


def test_low_rank_kernels_stay():
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(4, 1)])
    model.layers[0].enable_lora(2)
    faster = accelerate(model, verbose=False)
    assert type(faster.layers[-1]) is layers.Conv2D
    assert_equal_weights(faster, model)


def test_networks_of_this_library_have_these_layers():
    model = ResNet(8, 4, variant="cifar")
    assert type(model.get_layer("stem_conv")) is Conv2D
    block = model.get_layer("stage1_block1")
    assert type(block.conv1) is Conv2D
    assert type(block.bn1) is BatchNormalization


@pytest.mark.once
def test_what_is_refused():
    backbone = ResNet(8, variant="cifar", include_top=False)
    model = TransferModel(backbone, num_classes=2, preprocessing="torch")
    with pytest.raises(ValueError, match="accelerate its backbone"):
        accelerate(model)
    for wrong in (keras.Sequential([ResidualBlock(4)]), ResidualBlock(4), None):
        with pytest.raises(ValueError, match="`model` must be a functional"):
            accelerate(wrong)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ResNet50",
        "MobileNetV2",
        *(
            pytest.param(name, marks=pytest.mark.once)
            for name in ("EfficientNetB0", "DenseNet121", "ConvNeXtTiny")
        ),
    ],
)
def test_networks_of_keras(name):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(64, 64, 3), classes=5)
    faster = accelerate(model, verbose=False)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3))
    np.testing.assert_allclose(
        outputs(faster, images), outputs(model, images), rtol=1e-5, atol=1e-5
    )


def outputs(model, images):
    if BACKEND == "jax":  # which compiles each operation where nothing is compiled
        return model.predict(images, verbose=0)
    return keras.ops.convert_to_numpy(model(images, training=False))
