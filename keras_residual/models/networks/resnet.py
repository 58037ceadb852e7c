"""Residual networks."""

import os

import keras

from keras_residual.layers._checks import check_choice, check_fraction
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models.networks._builder import build_network


def ResNet(
    depth: int,
    num_classes: int = 1000,
    *,
    variant: str = "torchvision",
    input_shape: tuple | None = None,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    classifier_activation: str | None = "auto",
    shortcut: str | None = None,
    use_batch_norm: bool = True,
    zero_init: bool = False,
    drop_path_rate: float = 0.0,
    data_format: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a residual network as a functional model.

    Each block is one [`ResidualBlock`][keras_residual.ResidualBlock] layer, named
    `stage1_block1`, `stage1_block2` and so on. The variants are four published
    implementations:

    | variant | stride on | shortcut | BN momentum, epsilon | biases | outputs |
    |---|---|---|---|---|---|
    | `"torchvision"` | 3x3 ("v1.5") | projection | 0.9, 1e-5 | no | logits |
    | `"keras"` | 1x1 | projection | 0.99, 1.001e-5 | yes | probabilities |
    | `"paper"` | 1x1 | pad (18, 34), projection | 0.9, 1e-5 | no | logits |
    | `"cifar"` | - | pad (option A) | 0.9, 1e-5 | no | logits |

    "stride on" is the convolution of a bottleneck that has the stride. The first three
    have the 7x7 stem with max pooling and stages of 64, 128, 256 and 512 filters;
    `"cifar"` has a 3x3 stem and stages of 16, 32 and 64 filters.

    Args:
        depth: 18, 34, 50, 101, 152 or 200; `6n + 2` (20, 32, 44, 56, 110, ...) for
            `variant="cifar"`.
        num_classes: Positive integer. Number of classes.
        variant: `"torchvision"`, `"keras"`, `"paper"` or `"cifar"`.
        input_shape: Shape of one image, `(height, width, channels)`, or `(channels,
            height, width)` with `data_format="channels_first"`; height and width may be
            None. None: 224 x 224 x 3, and 32 x 32 x 3 for `"cifar"`.
        weights: None for new weights, or what
            [`load_pretrained`][keras_residual.load_pretrained] takes: the path of a
            file of torchvision, timm, keras.applications or this library, or a name
            such as `"torchvision"`, `"timm:resnet18.a1_in1k"` or `"imagenet"`.
        include_top: Whether the network ends in global average pooling and the
            classifier. False: it outputs the last stage's feature map.
        classifier_activation: Activation of the classifier, `"linear"` for logits;
            `"auto"` is the variant's.
        shortcut: `"auto"` (projection where the shape changes), `"projection"`
            everywhere or `"pad"` (option A). None is the variant's.
        use_batch_norm: Whether convolutions are followed by batch normalization. False:
            they have biases instead.
        zero_init: Whether each branch starts at zero (Goyal et al. 2017, section 5.1).
        drop_path_rate: Float in `[0, 1)`. Stochastic depth of the last block; it grows
            linearly from 0 at the first block.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        name: Name of the model, `"resnet18"` for depth 18 if None.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` of floating-point
        numbers to `(batch, num_classes)`.

    Raises:
        ValueError: If an argument is outside its range, or the weights do not fit; the
            message names it.
        ImportError: If the weights need a package that is not installed.
        ConnectionError: If the weights must be downloaded and cannot be.

    Example:
        ```python
        import keras
        from keras_residual import ResNet

        model = ResNet(20, num_classes=10, variant="cifar")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        print(model.count_params())
        ```

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1
        and section 4.2. <https://arxiv.org/abs/1512.03385>
    """
    if shortcut is not None:
        check_choice("shortcut", shortcut, ("auto", "projection", "pad"))
    check_fraction("drop_path_rate", drop_path_rate)
    return build_network(
        ResidualBlock,
        depth,
        num_classes,
        variant=variant,
        input_shape=input_shape,
        weights=weights,
        include_top=include_top,
        classifier_activation=classifier_activation,
        use_batch_norm=use_batch_norm,
        data_format=data_format,
        name=name or f"resnet{depth}",
        shortcut=shortcut,
        zero_init=zero_init,
        drop_path_rate=drop_path_rate,
    )
