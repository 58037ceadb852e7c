import re

import keras
import numpy as np
import pytest

from keras_residual import (
    PlainNet,
    ResidualBlock,
    ResNet,
    TransferModel,
    describe,
    fold_batch_norm,
    preprocessing_for,
)

pytestmark = pytest.mark.once


def text_of(model, **arguments):
    texts = []
    describe(model, print_fn=texts.append, **arguments)
    (text,) = texts
    return text


def lines_of(model, **arguments):
    title, *lines = text_of(model, **arguments).splitlines()
    pairs = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines]
    return {"title": title, **dict(pairs)}


@pytest.mark.parametrize(
    ("depth", "giga"),
    # torchvision's documentation of its models prints two digits, its metadata three.
    [
        (18, 1.814),
        (50, 4.089),
        *(
            pytest.param(depth, giga, marks=[pytest.mark.once, pytest.mark.slow])
            for depth, giga in [(34, 3.664), (101, 7.801), (152, 11.514)]
        ),
    ],
)
def test_multiply_adds_are_those_of_torchvision(depth, giga):
    lines = lines_of(ResNet(depth))
    count = int(lines["multiply-adds"].split(" ")[0].replace(",", ""))
    assert round(count / 1e9, 3) == giga
    assert lines["title"] == f'ResNet-{depth}, variant "torchvision"'


@pytest.mark.slow
@pytest.mark.once
def test_multiply_adds_of_keras_applications():
    """He et al. 2015, table 1: 3.8 billion for 50 layers, the stride on 1x1."""
    lines = lines_of(keras.applications.ResNet50(weights=None))
    assert "(3.86 G) for 224 x 224 x 3" in lines["multiply-adds"]
    ours = lines_of(ResNet(50, variant="keras"))
    assert ours == lines
    # Sandler et al. 2018, table 4: 300 million.
    mobile = lines_of(keras.applications.MobileNetV2(weights=None))
    assert "(0.30 G)" in mobile["multiply-adds"]
    assert "no network that this library knows" in mobile["title"]
    assert mobile["residual additions"] == "10"
    assert mobile["padding"] == "asymmetric, same, where strided"


def counted_by_torch(model, shape):
    """PyTorch's own counter, on the operations that ran."""
    torch = pytest.importorskip("torch")
    flop_counter = pytest.importorskip("torch.utils.flop_counter")
    with flop_counter.FlopCounterMode(display=False) as counter, torch.no_grad():
        model(np.zeros((1, *shape), "float32"))
    return counter.get_total_flops() // 2


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="PyTorch counts its own operations"
)
@pytest.mark.parametrize(
    "build",
    [
        lambda: ResNet(50, input_shape=(47, 61, 3)),
        lambda: ResNet(14, variant="cifar", shortcut="projection"),
        lambda: ResNet(
            11, variant="cifar", groups=2, squeeze_excitation=4, shortcut="average"
        ),
        lambda: ResNet(
            50, variant="keras", input_shape=(3, 47, 61), data_format="channels_first"
        ),
        lambda: keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3)),
        lambda: keras.Sequential(
            [
                keras.Input((9, 8, 4)),
                keras.layers.SeparableConv2D(6, 3),
                keras.layers.Conv2D(8, 3, groups=2),
                keras.layers.Conv2DTranspose(3, 3, strides=2),
                keras.layers.Dense(5),
            ]
        ),
    ],
    ids=[
        "ResNet-50",
        "ResNet-14",
        "options",
        "channels first",
        "MobileNetV2",
        "layers",
    ],
)
def test_multiply_adds_are_those_that_run(build):
    model = build()
    lines = lines_of(model)
    expected = counted_by_torch(model, model.input_shape[1:])
    assert lines["multiply-adds"].startswith(f"{expected:,} (")


@pytest.mark.slow
@pytest.mark.once
def test_every_line_of_a_network():
    assert lines_of(ResNet(50, variant="paper", num_classes=7)) == {
        "title": 'ResNet-50, variant "paper"',
        "input": "224 x 224 x 3",
        "stem": "7x7 convolution, stride 2, max pooling",
        "blocks": "3, 4, 6, 3, bottleneck",
        "widths": "64, 128, 256, 512",
        "stride": "on the 1x1 convolution",
        "shortcuts": "12 identity, 4 projection",
        "convolutions": "53",
        "padding": "symmetric, where strided",
        "convolution biases": "no",
        "batch normalization": "momentum 0.9, epsilon 1e-05",
        "classifier": "7 classes, linear",
        "parameters": "23,575,495, of them trainable 23,522,375",
        "multiply-adds": "3,855,939,584 (3.86 G) for 224 x 224 x 3",
    }


@pytest.mark.parametrize(
    ("model", "title"),
    [
        (lambda: ResNet(20, variant="cifar"), 'ResNet-20, variant "cifar"'),
        (lambda: ResNet(8, variant="cifar"), 'ResNet-8, variant "cifar"'),
        (lambda: PlainNet(14, variant="cifar"), 'PlainNet-14, variant "cifar"'),
        (lambda: ResNet(18, variant="paper"), 'ResNet-18, variant "paper"'),
        (lambda: ResNet(18, variant="keras"), 'ResNet-18, variant "keras"'),
        (lambda: ResNet(18, variant="resnet_d"), 'ResNet-18, variant "resnet_d"'),
        (lambda: ResNet(11, variant="cifar"), 'ResNet-11, variant "cifar"'),
        (
            lambda: ResNet(50, groups=32, width_per_group=4, output_stride=16),
            'ResNet-50 (groups=32, width_per_group=4), variant "torchvision"',
        ),
        (
            lambda: ResNet(10, variant="wide", widen_factor=2),
            'ResNet-10 (widen_factor=2), variant "wide"',
        ),
        (
            lambda: ResNet(8, variant="cifar", preactivation=True),
            'ResNet-8, nearest to variant "cifar": preactivated blocks',
        ),
        (
            lambda: ResNet(
                8, variant="cifar", normalization="group", squeeze_excitation=4
            ),
            'ResNet-8, nearest to variant "cifar": squeeze-and-excitation; group '
            "normalization",
        ),
        (lambda: PlainNet(18), 'PlainNet-18, variant "torchvision" or "paper"'),
        (
            lambda: keras.applications.ResNet101(
                weights=None, include_top=False, input_shape=(64, 64, 3)
            ),
            'ResNet-101, variant "keras"',
        ),
        (
            lambda: ResNet(18, shortcut="projection"),
            'ResNet-18, nearest to variant "torchvision": shortcuts projection in place'
            " of identity, projection",
        ),
        (
            lambda: ResNet(18, use_batch_norm=False),
            'ResNet-18, nearest to variant "torchvision" or "keras": no batch '
            "normalization",
        ),
        (
            lambda: fold_batch_norm(ResNet(8, variant="cifar")),
            'ResNet-8, nearest to variant "cifar": no batch normalization',
        ),
    ],
)
def test_variants(model, title):
    assert lines_of(model())["title"] == title


@pytest.mark.slow
@pytest.mark.once
def test_lines_of_wide_networks():
    lines = lines_of(ResNet(50, groups=32, width_per_group=4, output_stride=8))
    assert lines["widths"] == "64, 128, 256, 512"
    assert lines["dilation"] == "1, 2, 4"
    # torchvision's metadata of resnext50_32x4d: 4.23.
    lines = lines_of(ResNet(50, groups=32, width_per_group=4))
    assert "(4.23 G)" in lines["multiply-adds"]
    assert "dilation" not in lines
    lines = lines_of(ResNet(18, variant="resnet_d", normalization="group"))
    assert lines["stem"] == "3 of 3x3 convolution, stride 2, max pooling"
    assert lines["group normalization"] == "epsilon 1e-05"


def test_changed_layers_are_described_as_they_are():
    model = ResNet(8, variant="cifar", name="resnet50")
    block = model.get_layer("stage2_block1")
    block.bn2.epsilon = 0.25
    block.bn1.momentum = 0.75
    lines = lines_of(model)
    assert lines["title"] == (
        'ResNet-8, nearest to variant "cifar": batch normalization momentum 0.75, 0.9 '
        "in place of 0.9; batch normalization epsilon 0.25, 1e-05 in place of 1e-05"
    )
    assert "momentum 0.75, epsilon 1e-05" in lines["batch normalization"]
    assert "momentum 0.9, epsilon 0.25" in lines["batch normalization"]
    model.trainable = False
    assert lines_of(model)["parameters"].endswith("of them trainable 0")


def test_second_version_of_keras_applications():
    model = keras.applications.ResNet50V2(weights=None)
    lines = lines_of(model)
    assert lines["title"].startswith("ResNet-50, nearest to variant")
    assert "preactivated blocks" in lines["title"]
    assert lines["stride"] == "on the 3x3 convolution"
    assert lines["shortcuts"] == "9 identity, 3 pooling, 4 projection"
    assert lines["convolution biases"] == "some"


def by_hand(padding, stride_on_first):
    """A bottleneck network in layers of Keras, with a choice of its padding."""
    layers = keras.layers
    x = images = keras.Input((64, 64, 3))
    x = layers.Conv2D(64, 7, strides=2, padding=padding)(x)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, 2)(x)
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for number in range(count):
            stride = 2 if width > 64 and not number else 1
            strides = (stride, 1) if stride_on_first else (1, stride)
            y = layers.Conv2D(width, 1, strides=strides[0])(x)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.Conv2D(width, 3, strides=strides[1], padding="same")(y)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            y = layers.BatchNormalization()(layers.Conv2D(4 * width, 1)(y))
            if not number:
                x = layers.Conv2D(4 * width, 1, strides=stride)(x)
                x = layers.BatchNormalization()(x)
            x = layers.ReLU()(layers.Add()([y, x]))
    return keras.Model(images, x)


@pytest.mark.slow
@pytest.mark.once
def test_network_in_layers_of_keras():
    assert lines_of(by_hand("same", stride_on_first=False))["title"] == (
        'ResNet-50, nearest to variant "keras": stride on 3x3 in place of 1x1; padding '
        "same in place of symmetric; batch normalization epsilon 0.001 in place of "
        "1.001e-05"
    )
    lines = lines_of(by_hand("valid", stride_on_first=True))
    assert lines["padding"] == "none, where strided"
    assert lines["stride"] == "on the 1x1 convolution"


def test_input_shape():
    model = ResNet(18, input_shape=(None, None, 3))
    unknown = lines_of(model)
    assert unknown["multiply-adds"] == ("depend on the image size: give `input_shape`")
    assert unknown["input"] == "? x ? x 3"
    given = lines_of(model, input_shape=(224, 224, 3))
    assert given["multiply-adds"].startswith("1,814,073,344 (1.81 G)")
    # 40.55 M at 32 x 32, of which 640 are the classifier's.
    small = ResNet(20, 10, variant="cifar")
    counts = [
        int(
            lines_of(small, input_shape=(size, size, 3))["multiply-adds"]
            .split()[0]
            .replace(",", "")
        )
        for size in (32, 64)
    ]
    assert counts[1] - 640 == 4 * (counts[0] - 640)


def test_model_around_a_network():
    network = ResNet(18, input_shape=(None, None, 3))
    model = keras.Sequential(
        [keras.Input((48, 64, 3), dtype="uint8"), preprocessing_for(network), network]
    )
    lines = lines_of(model)
    assert lines["title"] == 'ResNet-18, variant "torchvision"'
    assert lines["input"] == "48 x 64 x 3"
    # The preprocessing makes 224 x 224 of any image.
    assert lines["multiply-adds"].startswith("1,814,073,344 ")


def test_transfer_model():
    backbone = ResNet(8, variant="cifar", include_top=False)
    model = TransferModel(backbone, 3, preprocessing="torch", hidden_units=5)
    alone, lines = lines_of(backbone), lines_of(model)
    assert lines["title"] == alone["title"] == 'ResNet-8, variant "cifar"'
    assert lines["classifier"] == "3 classes, softmax"
    head = (64 + 1) * 5 + (5 + 1) * 3
    total = f"{model.count_params():,}"
    assert lines["parameters"] == f"{total}, of them trainable {head}"
    counts = [
        int(x["multiply-adds"].split()[0].replace(",", "")) for x in (lines, alone)
    ]
    assert counts[0] - counts[1] == 64 * 5 + 5 * 3


def test_transfer_model_on_a_network_without_blocks():
    backbone = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    lines = lines_of(TransferModel(backbone, 3, preprocessing="caffe"))
    assert lines["convolutions"] == "13"
    assert lines["classifier"] == "3 classes, softmax"


class Unknown(keras.layers.Layer):
    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(input_shape[-1], 2))

    def call(self, inputs):
        return inputs @ self.matrix


def test_layers_that_cannot_be_counted_are_named():
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4), Unknown(name="odd")]
    )
    assert lines_of(model)["multiply-adds"] == (
        "32 (0.00 G) for 8, without those of odd"
    )


def test_one_block_alone():
    model = keras.Sequential([keras.Input((8, 8, 4)), ResidualBlock(4)])
    assert lines_of(model)["residual additions"] == "1"


def test_prints(capsys):
    describe(ResNet(8, variant="cifar"))
    assert capsys.readouterr().out.startswith('ResNet-8, variant "cifar"\n  input')


@pytest.mark.parametrize(
    "model", [None, keras.layers.Dense(1), keras.Sequential()], ids=str
)
def test_not_a_model(model):
    with pytest.raises(ValueError, match=r"`model` must be a functional .*model="):
        describe(model)


@pytest.mark.parametrize(
    "shape", [32, (32, 32), (32, 32, 4), ("a", 32, 3), (-1, 32, 3)], ids=str
)
def test_bad_input_shape(shape):
    with pytest.raises(ValueError, match=r"`input_shape` must be .*input_shape="):
        describe(ResNet(8, variant="cifar"), input_shape=shape)


def test_size_that_the_weights_do_not_allow():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match="`input_shape` must be the shape of one"):
        describe(model, input_shape=(16, 16, 3))
