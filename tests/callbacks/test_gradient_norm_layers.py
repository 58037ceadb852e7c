"""Which layers are measured, and layers and weights that occur several times."""

import keras
import numpy as np
import pytest
from training import fit

from keras_residual import ResNet
from keras_residual.callbacks import GradientNormCallback


@pytest.fixture
def small_resnet():
    """A function that compiles a residual network of three blocks."""

    def make():
        keras.utils.set_random_seed(1)
        model = ResNet(8, num_classes=3, variant="cifar", input_shape=(8, 8, 3))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss)
        # TensorFlow traces a step twice where the step creates variables.
        model.optimizer.build(model.trainable_variables)
        return model

    return make


@pytest.fixture
def small_images():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 8, 8, 3)).astype("float32")
    return x, generator.integers(0, 3, 8)


@pytest.mark.slow
def test_only_matching_layers_are_measured(small_resnet, small_images):
    patterns = [
        ("stage2_block1", lambda name: name.startswith("stage2_block1/")),
        ("stage[12]*", lambda name: name.startswith(("stage1", "stage2"))),
        (
            ["stage3_block1/conv1", "*_block1/conv2"],
            lambda name: (
                name.startswith("stage3_block1/conv1") or name.split("/")[1] == "conv2"
            ),
        ),
        ("conv1", lambda name: name.split("/")[1] == "conv1"),
        ("*", lambda name: True),
    ]
    everything = GradientNormCallback()
    callbacks = [GradientNormCallback(layers=layers) for layers, _ in patterns]
    # Apart: among several callbacks one may measure what another asks for.
    alone = GradientNormCallback(layers=patterns[0][0])
    fit(small_resnet(), *small_images, everything, *callbacks)
    fit(small_resnet(), *small_images, alone)
    for some, (_, chosen) in zip(
        [alone, *callbacks], [patterns[0], *patterns], strict=True
    ):
        columns = [i for i, name in enumerate(everything.names) if chosen(name)]
        assert some.names == [everything.names[i] for i in columns]
        assert columns
        np.testing.assert_allclose(some.norms, everything.norms[:, columns], rtol=1e-4)


def test_what_is_not_measured_is_not_in_the_step(small_resnet, small_images):
    callback = GradientNormCallback(layers="stage2*")
    fit(small_resnet(), *small_images, callback)
    recorder = callback._recorder
    assert [v.path for v in recorder.variables] == callback.names
    assert recorder.buffers[2].shape[1] == len(callback.names)


def test_a_nested_model_stands_for_its_layers():
    features = keras.Input((4,))
    hidden = keras.layers.Dense(4, name="inner")(features)
    backbone = keras.Model(features, hidden, name="backbone")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(backbone(inputs)))
    model.compile("sgd", "mse")
    callback = GradientNormCallback(by="layer", layers="backbone")

    fit(model, np.ones((4, 4)), np.ones((4, 2)), callback)

    assert [name.split("/")[-1] for name in callback.names] == ["inner"]


@pytest.mark.parametrize(
    ("layers", "near"),
    [
        ("stage2_blok1", "stage2_block1"),
        pytest.param(["stage1*", "classified"], "classifier", marks=pytest.mark.slow),
        # A layer without variables of its own.
        pytest.param(
            *("pool", "Received: layers with the pattern 'pool'"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_pattern_that_matches_nothing(small_resnet, small_images, layers, near):
    model = small_resnet()
    x, y = small_images
    with pytest.raises(ValueError, match=f"`layers` must match.*{near}"):
        fit(model, x, y, GradientNormCallback(layers=layers))
    # Nothing was trained, and nothing stays behind.
    assert int(model.optimizer.iterations) == 0
    fit(model, x, y)


def test_frozen_layer_cannot_be_matched(convolutional_model, image_data):
    model = convolutional_model()
    model.get_layer("convolution").trainable = False
    model.compile("sgd", model.loss)
    with pytest.raises(ValueError, match=r"trainable variables.*'convolution'"):
        fit(model, *image_data(steps=1), GradientNormCallback(layers="convolution"))


def test_layers_of_a_model_built_by_its_first_batch(linear_data):
    x, y, _ = linear_data(steps=2)
    layers = [keras.layers.Dense(3, name="a"), keras.layers.Dense(2, name="b")]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse")
    callback = GradientNormCallback(by="layer", layers="b")
    fit(model, x, y, callback)
    assert [name.split("/")[-1] for name in callback.names] == ["b"]
    assert callback.norms.shape == (2, 1)


@pytest.mark.parametrize("layers", [(), "", 3, ["a", 1], [""], {"a"}])
def test_bad_layers(layers):
    with pytest.raises(ValueError, match=r"`layers` must be None.*Received: layers="):
        GradientNormCallback(layers=layers)


class Tied(keras.layers.Layer):
    """Multiplies by the transposed kernel of another layer, and has a bias."""

    def __init__(self, other, **kwargs):
        super().__init__(**kwargs)
        self.other = other

    def build(self, input_shape):
        units = self.other.kernel.shape[0]
        self.bias = self.add_weight(shape=(units,), name="bias", initializer="zeros")

    def call(self, inputs):
        kernel = keras.ops.transpose(self.other.kernel)
        return keras.ops.matmul(inputs, kernel) + self.bias


def shared_layer():
    inputs = keras.Input((3,))
    twice = keras.layers.Dense(3, activation="tanh", name="twice")
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(twice(twice(inputs))))


def shared_weight():
    inputs = keras.Input((3,))
    encoder = keras.layers.Dense(2, use_bias=False, name="encoder")
    hidden = encoder(inputs)
    return keras.Model(inputs, Tied(encoder, name="decoder")(hidden))


@pytest.mark.parametrize(
    ("build", "names", "layers"),
    [
        (
            shared_layer,
            ["twice/kernel", "twice/bias", "head/kernel", "head/bias"],
            ["twice", "head"],
        ),
        (shared_weight, ["encoder/kernel", "decoder/bias"], ["encoder", "decoder"]),
    ],
)
def test_shared_weights_have_one_gradient(
    build, names, layers, independent_norms, weight_recorder
):
    """Of all uses together, in the column of the layer that comes first."""
    model = build()
    model.compile("sgd", keras.losses.MeanSquaredError())
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 3)).astype("float32")
    y = generator.normal(size=(4, *model.output_shape[1:])).astype("float32")
    by_variable = GradientNormCallback(ratios=True)
    by_layer = GradientNormCallback(by="layer")
    by_block = GradientNormCallback(by="block")

    fit(model, x, y, by_variable, by_layer, by_block, weight_recorder)

    expected = independent_norms(model, weight_recorder.weights[0], x, y)
    assert by_variable.names == names
    assert by_layer.names == by_block.names == layers
    np.testing.assert_allclose(by_variable.norms, [expected], rtol=1e-5)
    groups = [name.split("/")[0] for name in names]
    squares = [
        sum(v**2 for v, g in zip(expected, groups, strict=True) if g == layer)
        for layer in layers
    ]
    for callback in (by_layer, by_block):
        np.testing.assert_allclose(callback.norms, [np.sqrt(squares)], rtol=1e-5)
