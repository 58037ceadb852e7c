"""Plain networks: residual networks without their shortcuts."""

import os

import keras

from keras_residual.layers.plain_block import PlainBlock
from keras_residual.models.networks._builder import build_network


def PlainNet(
    depth: int,
    num_classes: int = 1000,
    *,
    variant: str = "torchvision",
    input_shape: tuple | None = None,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    classifier_activation: str | None = "auto",
    use_batch_norm: bool = True,
    data_format: str | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds the plain twin of [`ResNet`][keras_residual.ResNet]: no shortcuts.

    The same arguments give the same layers in the same order, with
    [`PlainBlock`][keras_residual.PlainBlock] in place of `ResidualBlock`. It has the
    parameters of the residual network less those of its projections. Where the
    residual network has none (`variant="cifar"`, `shortcut="pad"`, depths 18 and 34 of
    `variant="paper"`) both have equally many and, with the same random seed, the same
    initial weights, unless stochastic depth draws seeds in between. What belongs to
    the shortcut (`shortcut`, `drop_path_rate`, `zero_init`) has no meaning here and is
    no argument.

    Args:
        depth: 18, 34, 50, 101, 152 or 200; `6n + 2` (20, 32, 44, 56, 110, ...) for
            `variant="cifar"`.
        num_classes: Positive integer. Number of classes.
        variant: `"torchvision"`, `"keras"`, `"paper"` or `"cifar"`.
        input_shape: Shape of one image, `(height, width, channels)`, or `(channels,
            height, width)` with `data_format="channels_first"`; height and width may be
            None. None: 224 x 224 x 3, and 32 x 32 x 3 for `"cifar"`.
        weights: Path of a `.weights.h5` or `.keras` file of such a network, or None for
            new weights.
        include_top: Whether the network ends in global average pooling and the
            classifier. False: it outputs the last stage's feature map.
        classifier_activation: Activation of the classifier, `"linear"` for logits;
            `"auto"` is the variant's.
        use_batch_norm: Whether convolutions are followed by batch normalization. False:
            they have biases instead.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        name: Name of the model, `"plainnet18"` for depth 18 if None.

    Returns:
        A `keras.Model` from images `(batch, height, width, channels)` of floating-point
        numbers to `(batch, num_classes)`.

    Raises:
        ValueError: If an argument is outside its range, or the weights do not fit; the
            message names it.

    Example:
        ```python
        from keras_residual import PlainNet, ResNet

        plain = PlainNet(20, num_classes=10, variant="cifar")
        residual = ResNet(20, num_classes=10, variant="cifar")
        print(plain.count_params() == residual.count_params())  # True
        ```

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section
        3.3 (plain network). <https://arxiv.org/abs/1512.03385>
    """
    return build_network(
        PlainBlock,
        depth,
        num_classes,
        variant=variant,
        input_shape=input_shape,
        weights=weights,
        include_top=include_top,
        classifier_activation=classifier_activation,
        use_batch_norm=use_batch_norm,
        data_format=data_format,
        name=name or f"plainnet{depth}",
    )
