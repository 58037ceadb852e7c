"""Widths, groups, preactivation, dilation and outputs of the networks."""

import keras
import numpy as np
import pytest

from keras_residual import PlainNet, ResidualBlock, ResNet, load_pretrained
from keras_residual.models._variants import find_blocks, find_depth

SMALL = {"depth": 8, "num_classes": 10, "variant": "cifar"}


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def random_images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.once
@pytest.mark.parametrize(
    ("depth", "arguments", "parameters"),
    [
        # torchvision's documentation of its models.
        (50, {"groups": 32, "width_per_group": 4}, 25_028_904),
        pytest.param(
            101,
            {"groups": 32, "width_per_group": 8},
            88_791_336,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            101,
            {"groups": 64, "width_per_group": 4},
            83_455_272,
            marks=pytest.mark.slow,
        ),
        pytest.param(50, {"width_per_group": 128}, 68_883_240, marks=pytest.mark.slow),
        pytest.param(
            101, {"width_per_group": 128}, 126_886_696, marks=pytest.mark.slow
        ),
        # timm's results/model_metadata-in1k.csv: 44.18 and 25.58 and 28.09 million.
        pytest.param(
            101,
            {"groups": 32, "width_per_group": 4},
            44_177_704,
            marks=pytest.mark.slow,
        ),
        pytest.param(50, {"variant": "resnet_d"}, 25_576_264, marks=pytest.mark.slow),
        pytest.param(
            50, {"squeeze_excitation": 16}, 28_088_024, marks=pytest.mark.slow
        ),
    ],
)
def test_imagenet_parameters(depth, arguments, parameters):
    assert trainable_parameters(ResNet(depth, **arguments)) == parameters


@pytest.mark.once
@pytest.mark.parametrize(
    ("depth", "widen_factor", "millions"),
    # Zagoruyko and Komodakis 2016, table 4; the last is the Cutout paper's network.
    [
        (40, 1, 0.6),
        (40, 2, 2.2),
        (16, 8, 11.0),
        pytest.param(28, 10, 36.5, marks=pytest.mark.slow),
    ],
)
def test_wide_parameters(depth, widen_factor, millions):
    model = ResNet(depth, 10, variant="wide", widen_factor=widen_factor)
    assert round(trainable_parameters(model) / 1e6, 1) == millions
    kinds = [layer for layer in model._flatten_layers() if _is_convolution(layer)]
    # Three projections count as layers; a network of width 1 needs two.
    assert len(kinds) == depth - (widen_factor == 1)


@pytest.mark.once
@pytest.mark.parametrize(
    ("depth", "block_type", "blocks"),
    [
        (20, "basic", 3),
        (110, "basic", 18),
        (164, "bottleneck", 18),
        (1001, "bottleneck", 111),
        (29, "bottleneck", 3),
    ],
)
def test_rules_of_cifar(depth, block_type, blocks):
    """He et al. 2016: 110 layers are 6n + 2, 164 and 1001 are 9n + 2."""
    assert find_blocks(depth, "cifar") == (block_type, (blocks,) * 3)
    assert find_depth("cifar", block_type, (blocks,) * 3) == depth


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "parameters"),
    # He et al. 2016, table 4, prints 1.7 and 10.2 million.
    [(164, 1_703_258), (1001, 10_327_706)],
)
def test_preactivated_parameters(depth, parameters):
    model = ResNet(depth, 10, variant="cifar", preactivation=True)
    assert trainable_parameters(model) == parameters
    blocks = [layer for layer in model.layers if isinstance(layer, ResidualBlock)]
    assert len(blocks) == (depth - 2) // 3
    assert {block.block_type for block in blocks} == {"bottleneck"}


def _is_convolution(layer):
    return isinstance(layer, keras.layers.Conv2D)


def wide_network_in_torch(torch, weights, images):
    """szagoruyko/wide-residual-networks, written with PyTorch's functions."""
    functional = torch.nn.functional

    def convolve(name, x, stride=1):
        kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
        padding = kernel.shape[-1] // 2
        return functional.conv2d(x, kernel, stride=stride, padding=padding)

    def activate(name, x):
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        values = [weights[f"{name}/{value}"] for value in names]
        return functional.relu(functional.batch_norm(x, *values, eps=1e-5))

    x = convolve("stem_conv", torch.tensor(images.transpose(0, 3, 1, 2)))
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        block = f"stage{stage}_block1"
        activated = activate(f"{block}/bn1", x)
        shortcut = convolve(f"{block}/projection", activated, stride)
        x = activate(f"{block}/bn2", convolve(f"{block}/conv1", activated, stride))
        x = convolve(f"{block}/conv2", x) + shortcut
    x = activate("post_bn", x).mean((2, 3))
    return (x @ weights["classifier/kernel"] + weights["classifier/bias"]).numpy()


@pytest.mark.slow
def test_wide_network_equals_its_definition(random_statistics):
    torch = pytest.importorskip("torch")
    model = random_statistics(ResNet(10, 10, variant="wide", widen_factor=2))
    weights = {
        weight.path: torch.tensor(keras.ops.convert_to_numpy(weight))
        for weight in model.weights
    }
    images = random_images(2, 32, 32, 3)
    expected = wide_network_in_torch(torch, weights, images)
    assert expected.std() > 0.01
    outputs = keras.ops.convert_to_numpy(model(images))
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"output_stride": 8}, (8, 12)),
        ({"output_stride": 16}, (4, 6)),
        ({"output_stride": 32}, (2, 3)),
    ],
)
@pytest.mark.once
def test_output_stride(arguments, shape):
    model = ResNet(18, include_top=False, input_shape=(64, 96, 3), **arguments)
    assert model.output_shape == (None, *shape, 512)
    assert trainable_parameters(model) == 11_689_512 - 513_000


@pytest.mark.once
def test_output_stride_of_a_small_network():
    for stride, side in ((1, 32), (2, 16), (4, 8)):
        model = PlainNet(**SMALL, include_top=False, output_stride=stride)
        assert model.output_shape == (None, side, side, 64)
    dilations = [
        layer.dilation
        for layer in ResNet(
            14, variant="cifar", output_stride=1, include_top=False
        ).layers
        if isinstance(layer, ResidualBlock)
    ]
    # The first block of a stage still sees its input at the old distances.
    assert dilations == [1, 1, 1, 2, 2, 4]


def test_outputs_are_those_of_the_stages(tmp_path):
    whole = ResNet(**SMALL)
    whole.save_weights(tmp_path / "whole.weights.h5")
    model = ResNet(
        **SMALL, outputs=("stage1", "stem"), weights=tmp_path / "whole.weights.h5"
    )
    assert "stage3_block1" not in [layer.name for layer in model.layers]
    images = random_images(2, 32, 32, 3)
    maps = model.predict(images, verbose=0)
    assert {name: value.shape for name, value in maps.items()} == {
        "stem": (2, 32, 32, 16),
        "stage1": (2, 32, 32, 16),
    }
    inner = keras.Model(whole.inputs, whole.get_layer("stage1_block1").output)
    np.testing.assert_allclose(
        maps["stage1"], inner.predict(images, verbose=0), rtol=1e-5, atol=1e-5
    )
    with pytest.raises(ValueError, match="with all its stages, not a model around"):
        load_pretrained(model, tmp_path / "whole.weights.h5")


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling(pooling):
    keras.utils.set_random_seed(0)
    pooled = ResNet(**SMALL, include_top=False, pooling=pooling)
    keras.utils.set_random_seed(0)
    maps = ResNet(**SMALL, include_top=False)
    images = random_images(2, 32, 32, 3)
    features = maps.predict(images, verbose=0)
    reduce = {"avg": np.mean, "max": np.max}[pooling]
    np.testing.assert_allclose(
        pooled.predict(images, verbose=0),
        reduce(features, axis=(1, 2)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_dtype():
    model = ResNet(**SMALL, dtype="mixed_bfloat16")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert model.get_layer("stage3_block1").conv1.compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.once
def test_kernel_regularizer():
    model = ResNet(**SMALL, kernel_regularizer=keras.regularizers.L2(0.5))
    kernels = [weight for weight in model.weights if weight.name == "kernel"]
    values = map(keras.ops.convert_to_numpy, kernels)
    expected = sum(0.5 * np.square(value).sum() for value in values)
    assert len(model.losses) == len(kernels) == 8
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(sum(model.losses)), expected, rtol=1e-5
    )


@pytest.mark.slow
def test_group_normalization():
    model = ResNet(**SMALL, normalization="group")
    assert {weight.name for weight in model.weights} == {
        "kernel",
        "gamma",
        "beta",
        "bias",  # of the classifier alone
    }
    assert model.get_layer("stem_bn").groups == 8
    images = random_images(2, 32, 32, 3)
    both = keras.ops.convert_to_numpy(model(images, training=True))
    one = keras.ops.convert_to_numpy(model(images[:1], training=True))
    np.testing.assert_allclose(both[:1], one, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_saved_network_with_every_option(tmp_path):
    model = ResNet(
        11,
        variant="cifar",
        preactivation=True,
        widen_factor=2,
        groups=2,
        width_per_group=32,
        normalization="group",
        squeeze_excitation=4,
        dropout_rate=0.3,
        kernel_regularizer="l2",
        shortcut="average",
        output_stride=2,
        outputs=("stage2", "stage3"),
    )
    images = random_images(1, 32, 32, 3)
    expected = model.predict(images, verbose=0)
    assert expected["stage3"].shape == (1, 16, 16, 512)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    outputs = loaded.predict(images, verbose=0)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.once
def test_stem_of_resnet_d():
    """He et al. 2019, figure 2: three 3x3 convolutions, the first with the stride."""
    model = ResNet(18, variant="resnet_d", include_top=False, input_shape=(64, 64, 3))
    stem = [layer for layer in model.layers if "stem_conv" in layer.name]
    assert [(c.filters, c.kernel_size, c.strides) for c in stem] == [
        (32, (3, 3), (2, 2)),
        (32, (3, 3), (1, 1)),
        (64, (3, 3), (1, 1)),
    ]
    block = model.get_layer("stage2_block1")
    assert block.built_shortcut == "average"
    assert block.projection.strides == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pooling": "mean"}, r"`pooling` must be one of None, 'avg', 'max'"),
        ({"pooling": "avg"}, r"`pooling` must be None unless include_top=False"),
        ({"outputs": "stage1"}, r"`outputs` must be a tuple .*outputs='stage1'"),
        ({"outputs": ("stage5",)}, r"out of 'stem', 'stage1'.*\('stage5',\)"),
        ({"outputs": ()}, r"Received: outputs=\(\)"),
        ({"output_stride": 4}, r"`output_stride` must be one of 8, 16, 32.*stride=4"),
        ({"widen_factor": 0}, r"`widen_factor` must be a positive integer"),
        ({"dropout_rate": 1}, r"`dropout_rate` must be a number in \[0, 1\)"),
        ({"groups": 32}, r"with block_type='basic'.*groups=32"),
        ({"normalization": "layer"}, r"`normalization` must be one of"),
        ({"depth": 26, "variant": "wide"}, r"`depth` must be 6n \+ 4 .*depth=26"),
    ],
)
@pytest.mark.once
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"depth": 18, **arguments})
