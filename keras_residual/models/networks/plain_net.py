"""Plain networks: residual networks without their shortcuts."""

import os
from typing import Any

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
    pooling: str | None = None,
    outputs: tuple[str, ...] | None = None,
    output_stride: int | None = None,
    classifier_activation: str | None = "auto",
    preactivation: bool | None = None,
    widen_factor: int = 1,
    groups: int = 1,
    width_per_group: int = 64,
    use_batch_norm: bool = True,
    normalization: str = "batch",
    squeeze_excitation: int | None = None,
    dropout_rate: float = 0.0,
    kernel_regularizer: Any = None,
    data_format: str | None = None,
    dtype: Any = None,
    name: str | None = None,
) -> keras.Model:
    """Builds the plain twin of [`ResNet`][keras_residual.ResNet]: no shortcuts.

    The same arguments give the same layers in the same order, with
    [`PlainBlock`][keras_residual.PlainBlock] in place of `ResidualBlock`. The network
    has the parameters of the residual one but for the projections. If there are none
    (`variant="cifar"` with basic blocks, `shortcut="pad"`, depths 18 and 34 of
    `variant="paper"`), both have the same number of parameters and, with the same
    random seed, the same initial weights, unless stochastic depth draws seeds in
    between. There are no arguments for the shortcut (`shortcut`, `drop_path_rate`,
    `zero_init`).

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
        weights: Path of a `.weights.h5` or `.keras` file of the same network, or None
            for new weights.
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
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        dtype: Dtype or dtype policy of all layers, None for
            `keras.config.dtype_policy()`. The classifier computes in the dtype of its
            variables.
        name: Name of the model, `"plainnet18"` for depth 18 if None.

    Returns:
        A `keras.Model` from floating-point images `(batch, height, width, channels)` to
        `(batch, num_classes)`, or to the features that `include_top`, `pooling` and
        `outputs` select.

    Raises:
        ValueError: If an argument is outside its range, or the weights do not fit.

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
        name=name or f"plainnet{depth}",
    )
