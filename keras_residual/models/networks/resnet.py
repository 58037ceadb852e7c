"""Residual networks."""

import os
from typing import Any

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
    pooling: str | None = None,
    outputs: tuple[str, ...] | None = None,
    output_stride: int | None = None,
    classifier_activation: str | None = "auto",
    preactivation: bool | None = None,
    widen_factor: int = 1,
    groups: int = 1,
    width_per_group: int = 64,
    shortcut: str | None = None,
    use_batch_norm: bool = True,
    normalization: str = "batch",
    squeeze_excitation: int | None = None,
    dropout_rate: float = 0.0,
    kernel_regularizer: Any = None,
    zero_init: bool = False,
    drop_path_rate: float = 0.0,
    data_format: str | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a residual network as a functional model.

    Each block is one [`ResidualBlock`][keras_residual.ResidualBlock] layer, named
    `stage1_block1`, `stage1_block2` and so on. The variants are published
    implementations:

    | variant | stride on | shortcut | BN momentum, epsilon | biases | ends in |
    |---|---|---|---|---|---|
    | `"torchvision"` | 3x3 ("v1.5") | projection | 0.9, 1e-5 | no | logits |
    | `"resnet_d"` | 3x3 | average, projection | 0.9, 1e-5 | no | logits |
    | `"keras"` | 1x1 | projection | 0.99, 1.001e-5 | yes | probabilities |
    | `"paper"` | 1x1 | pad (18, 34), projection | 0.9, 1e-5 | no | logits |
    | `"cifar"` | 1x1 | pad, projection (bottleneck) | 0.9, 1e-5 | no | logits |
    | `"wide"` | - | projection, preactivated | 0.9, 1e-5 | no | logits |

    "stride on" is the convolution of a bottleneck that has the stride. The first four
    variants have a stem of a 7x7 convolution (`"resnet_d"`: three of 3x3) and max
    pooling, and stages of 64, 128, 256 and 512 filters. `"cifar"` and `"wide"` have a
    3x3 stem and stages of 16, 32 and 64 filters.

    Args:
        depth: 18, 34, 50, 101, 152 or 200. For `variant="cifar"`: `6n + 2` (20, 32, 44,
            56, 110, ...) with basic blocks; 164, and each `9n + 2` that is no `6n + 2`
            (1001, ...), with bottlenecks. For `variant="wide"`: `6n + 4` (16, 28, ...).
        num_classes: Positive integer. Number of classes.
        variant: `"torchvision"`, `"resnet_d"`, `"keras"`, `"paper"`, `"cifar"` or
            `"wide"`.
        input_shape: Shape of one image, `(height, width, channels)`, or `(channels,
            height, width)` with `data_format="channels_first"`; height and width may be
            None. None: 224 x 224 x 3, and 32 x 32 x 3 for `"cifar"` and `"wide"`.
        weights: None for new weights, or what
            [`load_pretrained`][keras_residual.load_pretrained] takes: the path of a
            file of torchvision, timm, keras.applications or this library, or a name
            such as `"torchvision"`, `"timm:resnet18.a1_in1k"` or `"imagenet"`.
        include_top: Whether the network ends in global average pooling and the
            classifier. False: it outputs the last stage's feature map.
        pooling: With `include_top=False`: `"avg"` or `"max"` over the feature map, or
            None.
        outputs: Names out of `"stem"`, `"stage1"`, `"stage2"` and so on. The network
            then outputs a dictionary of their feature maps, for detection and
            segmentation. None: one output, see `include_top`.
        output_stride: 8, 16 or 32 (1, 2 or 4 for `"cifar"` and `"wide"`): ratio of the
            image's size to that of the last feature map. Further strides become
            dilation, as in torchvision's `replace_stride_with_dilation`. None: 32 (4).
        classifier_activation: Activation of the classifier, `"linear"` for logits, or
            `"auto"` for that of the variant.
        preactivation: Whether normalization and activation come before each convolution
            (He et al. 2016), and once more after the last block. None: only for
            `"wide"`.
        widen_factor: Positive integer. Multiplies the filters of all stages, as in Wide
            ResNet-28-10.
        groups: Positive integer. Groups of a bottleneck's 3x3 convolution: 32 in
            ResNeXt-50 32x4d.
        width_per_group: Positive integer. Filters in each group in the first stage: 4
            in ResNeXt-50 32x4d, 128 (with `groups=1`) in Wide ResNet-50-2.
        shortcut: `"auto"` (projection where the shape changes), `"average"` (the same
            after average pooling), `"projection"` everywhere or `"pad"` (option A).
            None: that of the variant.
        use_batch_norm: Whether convolutions have a normalization. Without it they have
            biases.
        normalization: `"batch"` or `"group"`, see
            [`PlainBlock`][keras_residual.PlainBlock].
        squeeze_excitation: Reduction of
            [`SqueezeExcitation`][keras_residual.layers.SqueezeExcitation] at the end of
            each branch (16 in SE-ResNet), or None.
        dropout_rate: Float in `[0, 1)`. Dropout within each block, between its first
            two convolutions: 0.3 in Wide ResNet-28-10 for CIFAR.
        kernel_regularizer: Regularizer of all kernels, or None.
        zero_init: Whether each branch starts at zero (Goyal et al. 2017, section 5.1).
        drop_path_rate: Float in `[0, 1)`. Stochastic depth of the last block; it grows
            linearly from 0 at the first block.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        dtype: Dtype or dtype policy of all layers, None for
            `keras.config.dtype_policy()`. The classifier computes in the dtype of its
            variables.
        name: Name of the model, `"resnet18"` for depth 18 if None.

    Returns:
        A `keras.Model` from floating-point images `(batch, height, width, channels)` to
        `(batch, num_classes)`, or to the features that `include_top`, `pooling` and
        `outputs` select.

    Raises:
        ValueError: If an argument is outside its range, or the weights do not fit.
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
        and section 4.2. <https://arxiv.org/abs/1512.03385>; Xie et al., CVPR 2017
        (ResNeXt). <https://arxiv.org/abs/1611.05431>; Zagoruyko and Komodakis, "Wide
        Residual Networks", BMVC 2016. <https://arxiv.org/abs/1605.07146>; He et al.,
        "Bag of Tricks", CVPR 2019 (ResNet-D). <https://arxiv.org/abs/1812.01187>
    """
    if shortcut is not None:
        check_choice("shortcut", shortcut, ("auto", "projection", "average", "pad"))
    check_fraction("drop_path_rate", drop_path_rate)
    return build_network(
        ResidualBlock,
        depth,
        num_classes,
        variant=variant,
        input_shape=input_shape,
        weights=weights,
        include_top=include_top,
        pooling=pooling,
        outputs=outputs,
        output_stride=output_stride,
        classifier_activation=classifier_activation,
        preactivation=preactivation,
        widen_factor=widen_factor,
        groups=groups,
        width_per_group=width_per_group,
        use_batch_norm=use_batch_norm,
        normalization=normalization,
        squeeze_excitation=squeeze_excitation,
        dropout_rate=dropout_rate,
        kernel_regularizer=kernel_regularizer,
        data_format=data_format,
        dtype=dtype,
        name=name or f"resnet{depth}",
        shortcut=shortcut,
        zero_init=zero_init,
        drop_path_rate=drop_path_rate,
    )
