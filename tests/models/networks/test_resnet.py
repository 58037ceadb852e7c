import keras
import numpy as np
import pytest

from keras_residual import ResidualBlock, ResNet


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@pytest.mark.once
@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        # torchvision's documentation of its models.
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        pytest.param(101, 44_549_160, marks=pytest.mark.slow),
        pytest.param(152, 60_192_808, marks=pytest.mark.slow),
        # timm's resnet200 (without its deep stem): results/model_metadata-in1k.csv.
        pytest.param(200, 64_673_832, marks=pytest.mark.slow),
    ],
)
def test_torchvision_parameters(depth, parameters):
    assert trainable_parameters(ResNet(depth)) == parameters


@pytest.mark.once
@pytest.mark.parametrize("depth", [18, 50])
def test_paper_variant_has_torchvisions_size_but_for_option_a(depth):
    model = ResNet(depth, variant="paper")
    projections = 0 if depth == 50 else 64 * 128 + 128 * 256 + 256 * 512 + 2 * 896
    torchvision = {18: 11_689_512, 50: 25_557_032}[depth]
    assert trainable_parameters(model) == torchvision - projections


@pytest.mark.slow
@pytest.mark.once
def test_keras_variant_equals_keras_applications():
    ours = ResNet(50, variant="keras")
    theirs = keras.applications.ResNet50(weights=None)
    assert ours.count_params() == theirs.count_params() == 25_636_712
    assert trainable_parameters(ours) == trainable_parameters(theirs)
    shapes = [
        sorted(tuple(weight.shape) for weight in model.weights)
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.once
@pytest.mark.parametrize(
    ("depth", "parameters"),
    # He et al. 2015, table 6, in millions; exactly: akamaster/pytorch_resnet_cifar10.
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
def test_cifar_parameters(depth, parameters):
    model = ResNet(depth, num_classes=10, variant="cifar")
    assert trainable_parameters(model) == parameters
    convolutions = [layer for layer in model._flatten_layers() if "conv" in layer.name]
    assert len(convolutions) == depth - 1  # and the classifier


@pytest.mark.slow
@pytest.mark.once
def test_projections_exist_only_where_the_shape_changes():
    model = ResNet(34)
    with_projection = [
        layer.name
        for layer in model.layers
        if isinstance(layer, ResidualBlock) and layer.projection is not None
    ]
    assert with_projection == ["stage2_block1", "stage3_block1", "stage4_block1"]
    bottleneck = ResNet(50).get_layer("stage1_block1")
    assert bottleneck.projection is not None


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (None, 5)),
        ({"input_shape": (64, 96, 3)}, (None, 5)),
        ({"input_shape": (None, None, 1)}, (None, 5)),
        ({"include_top": False, "input_shape": (64, 96, 3)}, (None, 2, 3, 512)),
        ({"include_top": False, "input_shape": (33, 65, 3)}, (None, 2, 3, 512)),
    ],
)
def test_output_shapes(arguments, shape):
    assert ResNet(18, num_classes=5, **arguments).output_shape == shape


def test_unknown_spatial_size_takes_any_image():
    model = ResNet(8, 4, variant="cifar", input_shape=(None, None, 3))
    for size in ((32, 32), (17, 40), (1, 1)):
        assert model.predict(np.ones((1, *size, 3)), verbose=0).shape == (1, 4)


@pytest.mark.slow
def test_classifier_activation():
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    probabilities = ResNet(18, 7, variant="keras", input_shape=(32, 32, 3))
    np.testing.assert_allclose(
        probabilities.predict(images, verbose=0).sum(axis=1), 1.0, rtol=1e-5
    )
    assert ResNet(8, 7, variant="cifar").layers[-1].activation.__name__ == "linear"
    sigmoid = ResNet(8, 7, variant="cifar", classifier_activation="sigmoid")
    assert sigmoid.layers[-1].activation.__name__ == "sigmoid"


def test_drop_path_grows_linearly():
    model = ResNet(14, 10, variant="cifar", drop_path_rate=0.5)
    rates = [
        layer.drop_path for layer in model.layers if isinstance(layer, ResidualBlock)
    ]
    np.testing.assert_allclose(rates, [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_save_and_load(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    model = ResNet(8, 10, variant="cifar", shortcut="projection", drop_path_rate=0.1)
    expected = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), expected)
    model.save_weights(tmp_path / "model.weights.h5")
    again = ResNet(
        8,
        10,
        variant="cifar",
        shortcut="projection",
        weights=tmp_path / "model.weights.h5",
    )
    np.testing.assert_array_equal(again.predict(images, verbose=0), expected)


def test_channels_first_equals_channels_last():
    images = np.random.default_rng(0).normal(size=(2, 33, 40, 3)).astype("float32")
    last = ResNet(8, 10, variant="cifar", input_shape=(33, 40, 3))
    first = ResNet(
        8,
        10,
        variant="cifar",
        input_shape=(3, 33, 40),
        data_format="channels_first",
    )
    first.set_weights(last.get_weights())
    np.testing.assert_allclose(
        first.predict(images.transpose(0, 3, 1, 2), verbose=0),
        last.predict(images, verbose=0),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_logits_in_float32(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = ResNet(8, 10, variant="cifar")
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images = np.random.default_rng(0).normal(size=(4, 32, 32, 3))
    history = model.fit(images, np.arange(4), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert model.output.dtype == "float32"
    assert model.get_layer("stage3_block1").compute_dtype == policy[6:]


def test_without_batch_norm_there_are_biases_instead():
    model = ResNet(8, 10, variant="cifar", use_batch_norm=False)
    names = {weight.name for weight in model.weights}
    assert names == {"kernel", "bias"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 19}, r"`depth` must be one of 18, 34, 50, 101, 152, 200 .*depth=19"),
        ({"depth": 21, "variant": "cifar"}, r"`depth` must be 6n \+ 2 .*depth=21"),
        ({"depth": 2, "variant": "cifar"}, r"Received: depth=2"),
        ({"depth": 18.0}, r"`depth` must be a positive integer. Received: depth=18.0"),
        ({"depth": [18]}, r"Received: depth=\[18\]"),
        ({"input_shape": 32}, r"Received: input_shape=32"),
        ({"input_shape": ("a", 2, 3)}, r"Received: input_shape=\('a', 2, 3\)"),
        ({"weights": 3}, r"Received: weights=3"),
        ({"variant": "pytorch"}, r"`variant` must be one of .*variant='pytorch'"),
        ({"num_classes": 0}, r"`num_classes` must be a positive integer"),
        (
            {"input_shape": (32, 32)},
            r"`input_shape` must be \(height, width, channels\)",
        ),
        ({"input_shape": (32, 32, None)}, r"Received: input_shape=\(32, 32, None\)"),
        ({"input_shape": (0, 32, 3)}, r"Received: input_shape=\(0, 32, 3\)"),
        ({"shortcut": "identity"}, r"`shortcut` must be one of 'auto', 'projection'"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` must be a number in \[0, 1\)"),
        ({"weights": "nowhere.h5"}, r"`weights` must be None .*nowhere.h5"),
        ({"data_format": "NHWC"}, r"`data_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**{"depth": 18, **arguments})
