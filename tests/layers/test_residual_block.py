import keras
import numpy as np
import pytest

from keras_residual import PlainBlock, ResidualBlock

CASES = [
    (4, {}),
    (5, {}),
    (5, {"strides": 2}),
    (5, {"strides": 3, "shortcut": "pad"}),
    (7, {"shortcut": "pad"}),
    (4, {"shortcut": "identity"}),
    (4, {"shortcut": "projection"}),
    (2, {"block_type": "bottleneck", "strides": 2}),
    (2, {"block_type": "bottleneck", "strides": 2, "stride_on": "1x1"}),
    (1, {"block_type": "bottleneck"}),
    (5, {"preactivation": True, "strides": 2}),
    (5, {"preactivation": True, "strides": 2, "shortcut": "pad"}),
    (4, {"preactivation": True}),
    (2, {"preactivation": True, "block_type": "bottleneck"}),
    (5, {"use_batch_norm": False, "strides": 2}),
    (5, {"strides": 2, "shortcut": "average"}),
    (5, {"strides": 3, "shortcut": "average", "preactivation": True}),
    (5, {"shortcut": "average"}),
    (4, {"shortcut": "average"}),
    (4, {"shortcut": "pad"}),
    (2, {"block_type": "bottleneck", "groups": 2, "dilation": 2}),
    (5, {"normalization": "group", "strides": 2}),
    (2, {"block_type": "bottleneck", "squeeze_excitation": 4}),
]


@pytest.fixture
def images():
    return np.random.default_rng(1).normal(size=(3, 9, 12, 4)).astype("float32")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("filters", "arguments"), CASES)
def test_output_equals_pytorch(
    images, filters, arguments, training, randomize, reference_block
):
    block = ResidualBlock(filters, **arguments)
    block.build(images.shape)
    randomize(block)
    expected = reference_block(block, images, training=training, residual=True)
    outputs = keras.ops.convert_to_numpy(block(images, training=training))
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-4)
    assert outputs.shape == block.compute_output_shape(images.shape)


@pytest.mark.parametrize(
    ("filters", "arguments"),
    [
        (4, {}),
        (4, {"shortcut": "identity", "preactivation": True}),
        (8, {"shortcut": "pad", "strides": 2}),
        (1, {"block_type": "bottleneck"}),
        (4, {"use_batch_norm": False}),
    ],
)
def test_control_has_the_same_initial_weights(filters, arguments):
    shortcut_free = {k: v for k, v in arguments.items() if k != "shortcut"}
    keras.utils.set_random_seed(7)
    plain = PlainBlock(filters, **shortcut_free)
    plain.build((None, 8, 8, 4))
    keras.utils.set_random_seed(7)
    residual = ResidualBlock(filters, **arguments)
    residual.build((None, 8, 8, 4))
    assert residual.count_params() == plain.count_params()
    assert len(residual.weights) == len(plain.weights)
    for ours, control in zip(residual.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(np.array(ours), np.array(control))


def test_projection_is_the_only_additional_parameter():
    plain = PlainBlock(8, strides=2)
    plain.build((None, 8, 8, 4))
    residual = ResidualBlock(8, strides=2)
    residual.build((None, 8, 8, 4))
    # A 4 x 8 kernel and the four vectors of its batch normalization.
    assert residual.count_params() - plain.count_params() == 4 * 8 + 4 * 8


def test_zero_init_starts_as_the_activated_shortcut(images):
    for arguments in ({}, {"use_batch_norm": False}):
        block = ResidualBlock(4, zero_init=True, **arguments)
        outputs = keras.ops.convert_to_numpy(block(images))
        np.testing.assert_array_equal(outputs, np.maximum(images, 0))
    preactivated = ResidualBlock(4, zero_init=True, preactivation=True)
    outputs = keras.ops.convert_to_numpy(preactivated(images))
    np.testing.assert_array_equal(outputs, images)


def test_drop_path_drops_the_branch_of_whole_samples(images):
    batch = np.repeat(images[:1], 64, axis=0)
    keras.utils.set_random_seed(0)
    block = ResidualBlock(4, drop_path=0.5, preactivation=True, use_batch_norm=False)
    outputs = keras.ops.convert_to_numpy(block(batch, training=True))
    branch = keras.ops.convert_to_numpy(block(batch, training=False)) - batch
    kept = np.abs(outputs - batch).max(axis=(1, 2, 3)) > 1e-6
    assert 16 < kept.sum() < 48
    np.testing.assert_allclose(
        outputs[kept] - batch[kept], 2 * branch[kept], rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("shortcut", ["auto", "pad"])
def test_channels_first_equals_channels_last(images, shortcut, randomize):
    last = ResidualBlock(5, strides=2, shortcut=shortcut)
    first = ResidualBlock(5, strides=2, shortcut=shortcut, data_format="channels_first")
    transposed = images.transpose(0, 3, 1, 2)
    last.build(images.shape)
    first.build(transposed.shape)
    randomize(last)
    first.set_weights(last.get_weights())
    models = [
        keras.Sequential([keras.Input(shape[1:]), layer])
        for shape, layer in ((images.shape, last), (transposed.shape, first))
    ]
    expected = models[0].predict(images, verbose=0)
    outputs = models[1].predict(transposed, verbose=0)
    assert outputs.shape == first.compute_output_shape(transposed.shape)
    np.testing.assert_allclose(
        outputs.transpose(0, 2, 3, 1), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("shortcut", ["auto", "pad"])
def test_mixed_precision_trains(images, policy, shortcut):
    inputs = keras.Input(images.shape[1:])
    block = ResidualBlock(6, strides=2, shortcut=shortcut, drop_path=0.1, dtype=policy)
    x = keras.layers.GlobalAveragePooling2D(dtype="float32")(block(inputs))
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    before = np.array(block.conv1.kernel)
    history = model.fit(images, np.ones((3, 6)), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert np.abs(np.array(block.conv1.kernel) - before).max() > 0
    assert keras.backend.standardize_dtype(block(images).dtype) == policy[6:]


def fitted_losses(model, images, weights=None, jit_compile="auto"):
    model(images)
    model.set_weights(weights or model.get_weights())
    model.compile("sgd", "mse", jit_compile=jit_compile)
    targets = np.zeros((3, 5, 6, 5))
    return model.fit(images, targets, epochs=3, verbose=0).history["loss"]


@pytest.mark.slow
def test_functional_sequential_and_subclassed_models_agree(images):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = ResidualBlock(5, strides=2)

        def call(self, inputs, training=None):
            return self.block(inputs, training=training)

    inputs = keras.Input((None, None, 4))
    functional = keras.Model(inputs, ResidualBlock(5, strides=2)(inputs))
    weights = functional.get_weights()
    expected = fitted_losses(functional, images)
    assert expected[-1] < expected[0]
    for model in (Subclassed(), keras.Sequential([ResidualBlock(5, strides=2)])):
        losses = fitted_losses(model, images, weights)
        np.testing.assert_allclose(losses, expected, rtol=1e-5)


# 2026-11: torch.compile sets off warnings inside PyTorch 2.13.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_compiled_training_equals_uncompiled(images):
    inputs = keras.Input(images.shape[1:])
    model = keras.Model(inputs, ResidualBlock(5, strides=2)(inputs))
    weights = model.get_weights()
    expected = fitted_losses(model, images, weights, jit_compile=False)
    losses = fitted_losses(model, images, weights, jit_compile=True)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.slow
def test_saved_model_weights_and_config_give_the_same_outputs(images, tmp_path):
    def build():
        inputs = keras.Input(images.shape[1:])
        x = ResidualBlock(6, strides=2, drop_path=0.1)(inputs)
        x = ResidualBlock(2, block_type="bottleneck", shortcut="pad")(x)
        return keras.Model(inputs, x)

    model = build()
    model.compile("adam", "mse")
    model.fit(images, np.zeros((3, 5, 6, 8)), verbose=0)
    expected = model.predict(images, verbose=0)

    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), expected)

    model.save_weights(tmp_path / "model.weights.h5")
    other = build()
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(images, verbose=0), expected)

    from_config = keras.Model.from_config(model.get_config())
    from_config.set_weights(model.get_weights())
    np.testing.assert_array_equal(from_config.predict(images, verbose=0), expected)


@pytest.mark.parametrize(
    ("filters", "arguments", "built"),
    [
        (4, {}, "identity"),
        (4, {"shortcut": "pad"}, "identity"),
        (4, {"shortcut": "average"}, "identity"),
        (4, {"shortcut": "projection"}, "projection"),
        (5, {}, "projection"),
        (5, {"shortcut": "pad"}, "pad"),
        (4, {"shortcut": "average", "strides": 2}, "average"),
    ],
)
def test_built_shortcut(filters, arguments, built):
    block = ResidualBlock(filters, **arguments)
    assert block.built_shortcut is None
    block.build((None, 8, 8, 4))
    assert block.built_shortcut == built
    pairs = block.convolutions()
    assert pairs[:2] == [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    projected = [] if built in ("identity", "pad") else [block.projection]
    assert [convolution for convolution, _ in pairs[2:]] == projected


def test_pad_pads_only_where_the_shape_changes(images, monkeypatch):
    block = ResidualBlock(4, shortcut="pad")
    block.build(images.shape)
    monkeypatch.setattr(keras.ops, "pad", None)
    assert block(images).shape == images.shape


def test_seed_of_drop_path(images):
    def outputs(seed):
        keras.utils.set_random_seed(0)
        block = ResidualBlock(4, drop_path=0.5, seed=seed)
        batch = np.repeat(images, 8, axis=0)
        return keras.ops.convert_to_numpy(block(batch, training=True))

    np.testing.assert_array_equal(outputs(3), outputs(3))
    assert np.abs(outputs(3) - outputs(4)).max() > 0


def test_batch_of_one():
    image = np.ones((1, 5, 7, 3), "float32")
    block = ResidualBlock(4, strides=2)
    assert np.isfinite(keras.ops.convert_to_numpy(block(image, training=True))).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, r"`filters` must be a positive integer. Received: filters=0"),
        ({"shortcut": "concat"}, r"`shortcut` must be one of .*shortcut='concat'"),
        ({"drop_path": 1.0}, r"`drop_path` must be a number in \[0, 1\)"),
        ({"drop_path": -0.1}, r"Received: drop_path=-0.1"),
        ({"seed": True}, r"`seed` must be an integer of 0 or greater.*seed=True"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualBlock(**{"filters": 4, **arguments})


@pytest.mark.parametrize("arguments", [{"filters": 8}, {"filters": 4, "strides": 2}])
def test_identity_on_a_changed_shape(images, arguments):
    with pytest.raises(ValueError, match="Received: shortcut='identity', strides="):
        ResidualBlock(shortcut="identity", **arguments)(images)


def test_pad_cannot_remove_channels(images):
    with pytest.raises(ValueError, match="shortcut='pad', 4 channels in and 2 out"):
        ResidualBlock(2, shortcut="pad")(images)


def test_wrong_rank():
    with pytest.raises(ValueError, match=r"rank 4.*Received: input_shape=\(2, 8\)"):
        ResidualBlock(4)(np.ones((2, 8), "float32"))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="on PyTorch alone")
@pytest.mark.parametrize("filters", [4, 6])
def test_a_sum_that_relu_writes_over(filters, randomize):
    """Against the same ReLU under another name, which gets a tensor of its own."""
    import torch

    data = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype("float32")
    found = []
    for activation in ("relu", lambda x: torch.relu(x)):
        block = ResidualBlock(filters, activation=activation)
        images = torch.tensor(data, requires_grad=True)
        block.build(images.shape)
        randomize(block)
        outputs = block(images, training=True)
        (first,) = torch.autograd.grad((outputs**3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), images)
        assert (images.detach().numpy() == data).all()
        found.append([x.detach().numpy() for x in (outputs, first, second)])
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, expected)
