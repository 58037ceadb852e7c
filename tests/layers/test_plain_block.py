import h5py
import keras
import numpy as np
import pytest

from keras_residual import PlainBlock

ARGUMENTS = [
    {},
    {"strides": 2},
    {"strides": 3},
    {"block_type": "bottleneck"},
    {"block_type": "bottleneck", "strides": 2},
    {"block_type": "bottleneck", "strides": 2, "stride_on": "1x1"},
    {"preactivation": True, "strides": 2},
    {"preactivation": True, "block_type": "bottleneck", "strides": 2},
    {"use_batch_norm": False, "strides": 2},
    {"activation": "silu", "use_bias": True},
    {"block_type": "bottleneck", "groups": 3, "width_per_group": 32, "strides": 2},
    {"block_type": "bottleneck", "width_per_group": 128, "dilation": 2},
    {"dilation": 3, "preactivation": True},
    {"block_type": "bottleneck", "stride_on": "1x1", "strides": 2, "dilation": 2},
    {"block_type": "bottleneck", "normalization": "group", "strides": 2},
    {"normalization": "group", "preactivation": True},
    {"squeeze_excitation": 2, "strides": 2},
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_output_equals_pytorch(arguments, training, randomize, reference_block):
    images = np.random.default_rng(1).normal(size=(3, 9, 12, 4)).astype("float32")
    block = PlainBlock(5, **arguments)
    block.build(images.shape)
    randomize(block)
    expected = reference_block(block, images, training=training, residual=False)
    outputs = keras.ops.convert_to_numpy(block(images, training=training))
    np.testing.assert_allclose(outputs, expected, rtol=2e-4, atol=2e-4)
    assert outputs.shape == block.compute_output_shape(images.shape)


@pytest.mark.parametrize("preactivation", [False, True])
def test_dropout_is_before_the_second_convolution(preactivation):
    block = PlainBlock(
        4, dropout=0.75, use_batch_norm=False, preactivation=preactivation
    )
    images = np.random.default_rng(0).uniform(1, 2, (8, 6, 6, 4)).astype("float32")
    block.build(images.shape)
    same = np.zeros((3, 3, 4, 4))
    same[1, 1] = np.eye(4)  # the convolutions return what they are given
    for convolution in (block.conv1, block.conv2):
        convolution.kernel.assign(same)
    outputs = keras.ops.convert_to_numpy(block(images))
    np.testing.assert_allclose(outputs, images, rtol=1e-6)
    outputs = keras.ops.convert_to_numpy(block(images, training=True))
    kept = outputs > 0
    np.testing.assert_allclose(outputs[kept], 4 * images[kept], rtol=1e-5)
    assert 0.15 < kept.mean() < 0.35


def test_weights_are_in_forward_order():
    block = PlainBlock(4, block_type="bottleneck")
    block.build((None, 8, 8, 3))
    assert [w.path.split("/", 1)[1] for w in block.trainable_weights] == [
        "conv1/kernel",
        "bn1/gamma",
        "bn1/beta",
        "conv2/kernel",
        "bn2/gamma",
        "bn2/beta",
        "conv3/kernel",
        "bn3/gamma",
        "bn3/beta",
    ]


def test_convolutions_are_the_pairs_of_the_paper():
    block = PlainBlock(4, block_type="bottleneck", preactivation=True)
    assert block.convolutions() == [
        (block.conv1, block.bn1),
        (block.conv2, block.bn2),
        (block.conv3, block.bn3),
    ]
    block.build((None, 8, 8, 3))
    names = [w.path.split("/", 1)[1] for w in block.trainable_weights]
    assert names[:4] == ["bn1/gamma", "bn1/beta", "conv1/kernel", "bn2/gamma"]
    without = PlainBlock(4, use_batch_norm=False).convolutions()
    assert [norm for _, norm in without] == [None, None]


@pytest.mark.once
def test_names_in_files_of_weights_stay(tmp_path):
    """Files of older versions have these names; the values lie under "vars"."""
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), PlainBlock(4, strides=2, block_type="bottleneck")]
    )
    model.save_weights(tmp_path / "model.weights.h5")
    found = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(
            lambda name, item: (
                found.append(name) if isinstance(item, h5py.Dataset) else None
            )
        )
    norms = [f"bn{number}/vars/{i}" for number in (1, 2, 3) for i in range(4)]
    kernels = [f"conv{number}/vars/0" for number in (1, 2, 3)]
    assert sorted(found) == [f"layers/plain_block/{name}" for name in norms + kernels]


def test_config_of_an_older_version():
    config = PlainBlock(4, name="block").get_config()
    for name in (
        "groups",
        "width_per_group",
        "dilation",
        "normalization",
        "squeeze_excitation",
    ):
        del config[name]
    restored = PlainBlock.from_config(config).get_config()
    assert restored == PlainBlock(4, name="block").get_config()


def test_width_of_a_group_is_that_of_torchvision():
    """ResNeXt-50 32x4d, Wide ResNet-50-2: `int(planes * base_width / 64) * groups`."""
    for groups, width_per_group, inner in ((32, 4, 256), (1, 128, 256), (64, 4, 512)):
        block = PlainBlock(
            128,
            block_type="bottleneck",
            groups=groups,
            width_per_group=width_per_group,
        )
        block.build((None, 8, 8, 16))
        assert block.conv2.kernel.shape == (3, 3, inner // groups, inner)
        assert block.conv3.kernel.shape == (1, 1, inner, 512)


def test_group_normalization_takes_32_groups():
    block = PlainBlock(64, normalization="group")
    block.build((None, 8, 8, 16))
    assert block.bn1.groups == 32
    assert block.get_config()["normalization"] == "group"
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 16)).astype("float32")
    # One image does not depend on the other, in training neither.
    both = keras.ops.convert_to_numpy(block(images, training=True))
    one = keras.ops.convert_to_numpy(block(images[:1], training=True))
    np.testing.assert_allclose(both[:1], one, rtol=1e-4, atol=1e-5)


def test_kernels_of_equal_shape_differ_for_every_form_of_initializer():
    for initializer in ("he_normal", keras.initializers.HeNormal()):
        block = PlainBlock(4, kernel_initializer=initializer)
        block.build((None, 8, 8, 4))
        assert np.abs(np.array(block.conv1.kernel) - np.array(block.conv2.kernel)).max()


def test_zero_init_silences_the_branch():
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
    for arguments in ({}, {"use_batch_norm": False}, {"preactivation": True}):
        block = PlainBlock(4, zero_init=True, **arguments)
        assert np.abs(keras.ops.convert_to_numpy(block(images))).max() == 0.0


def test_channels_first_equals_channels_last(randomize):
    images = np.random.default_rng(0).normal(size=(2, 7, 10, 3)).astype("float32")
    last = PlainBlock(4, strides=2, block_type="bottleneck")
    first = PlainBlock(
        4, strides=2, block_type="bottleneck", data_format="channels_first"
    )
    last.build(images.shape)
    first.build((2, 3, 7, 10))
    randomize(last)
    first.set_weights(last.get_weights())
    outputs = _compiled_prediction(first, images.transpose(0, 3, 1, 2))
    assert outputs.shape == first.compute_output_shape((2, 3, 7, 10))
    np.testing.assert_allclose(
        outputs.transpose(0, 2, 3, 1),
        _compiled_prediction(last, images),
        rtol=1e-5,
        atol=1e-5,
    )


def _compiled_prediction(layer, images):
    model = keras.Sequential([keras.Input(images.shape[1:]), layer])
    model.compile()
    return model.predict(images, verbose=0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_dtype_policies(policy):
    block = PlainBlock(4, strides=2, dtype=policy)
    outputs = block(np.ones((2, 6, 6, 3), "float32"))
    compute = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(outputs.dtype) == compute
    variable = "float32" if policy.startswith("mixed") else policy
    assert {weight.dtype for weight in block.weights} == {variable}


def test_unknown_spatial_size():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, PlainBlock(4, strides=2)(inputs))
    assert model.output_shape == (None, None, None, 4)
    assert model.predict(np.ones((1, 5, 8, 3)), verbose=0).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, r"`filters` must be a positive integer. Received: filters=0"),
        ({"filters": -3}, r"Received: filters=-3"),
        ({"filters": 2.0}, r"Received: filters=2.0"),
        ({"filters": True}, r"Received: filters=True"),
        ({"strides": 0}, r"`strides` must be a positive integer. Received: strides=0"),
        ({"strides": (2, 2)}, r"Received: strides=\(2, 2\)"),
        ({"block_type": "wide"}, r"`block_type` must be one of 'basic', 'bottleneck'"),
        ({"stride_on": "5x5"}, r"`stride_on` must be one of '3x3', '1x1'"),
        ({"data_format": "NCHW"}, r"`data_format` must be one of 'channels_last'"),
        ({"batch_norm_momentum": 1.5}, r"Received: batch_norm_momentum=1.5"),
        ({"batch_norm_epsilon": 0.0}, r"Received: batch_norm_epsilon=0.0"),
        ({"batch_norm_epsilon": "x"}, r"Received: batch_norm_epsilon='x'"),
        ({"groups": 0}, r"`groups` must be a positive integer. Received: groups=0"),
        ({"groups": 2}, r"`groups` and .* with block_type='basic'.*groups=2, width"),
        ({"width_per_group": 4}, r"Received: groups=1, width_per_group=4"),
        ({"dilation": 2, "strides": 2}, r"`dilation` must be 1 .*=2, strides=2"),
        ({"normalization": "layer"}, r"`normalization` must be one of 'batch', 'group"),
        (
            {"normalization": "group", "use_batch_norm": False},
            r"`use_batch_norm` must be True with .*Received: use_batch_norm=False",
        ),
        ({"squeeze_excitation": 0}, r"Received: squeeze_excitation=0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PlainBlock(**{"filters": 4, **arguments})


def test_wrong_rank():
    with pytest.raises(ValueError, match=r"rank 4.*Received: input_shape=\(2, 8, 3\)"):
        PlainBlock(4)(np.ones((2, 8, 3), "float32"))


def test_unknown_channels():
    with pytest.raises(ValueError, match="known number of channels"):
        PlainBlock(4).build((None, 8, 8, None))


def test_numpy_integers_are_integers(tmp_path):
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), PlainBlock(np.int64(4), strides=np.int32(2))]
    )
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").output_shape[-1] == 4
