"""The convolutions and normalizations of a block, made with the block's settings."""

import keras

from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D

KERNELS = {"basic": (3, 3), "bottleneck": (1, 3, 1)}  # their sides, input first


def check_settings(block):
    """Raises a ValueError where settings contradict each other."""
    grouped = block.groups != 1 or block.width_per_group != 64
    if grouped and block.block_type == "basic":
        raise ValueError(
            "`groups` and `width_per_group` must be 1 and 64 with "
            "block_type='basic', which has no narrow 3x3 convolution. "
            f"Received: groups={block.groups}, "
            f"width_per_group={block.width_per_group}"
        )
    if block.dilation > 1 and block.strides > 1 and strided_side(block) > 1:
        raise ValueError(
            "`dilation` must be 1 where a 3x3 convolution has the stride. "
            f"Received: dilation={block.dilation}, strides={block.strides}"
        )
    if block.normalization == "group" and not block.use_batch_norm:
        raise ValueError(
            "`use_batch_norm` must be True with normalization='group': False is "
            "for blocks without any normalization. Received: use_batch_norm=False"
        )


def make_steps(block):
    """The branch of a block: pairs of a convolution and its normalization or None."""
    kernels = KERNELS[block.block_type]
    strided = kernels.index(strided_side(block))
    norm_is_last = block.use_batch_norm and not block.preactivation
    steps = []
    for place, (filters, side) in enumerate(
        zip(branch_widths(block), kernels, strict=True)
    ):
        zero = block.zero_init and place == len(kernels) - 1
        convolution = make_convolution(
            block,
            filters,
            side,
            strides=block.strides if place == strided else 1,
            zero=zero and not norm_is_last,
            name=f"conv{place + 1}",
        )
        norm = make_normalization(
            block, zero=zero and norm_is_last, name=f"bn{place + 1}"
        )
        steps.append((convolution, norm))
    return steps


def branch_widths(block):
    """The filters of each convolution of the branch."""
    if block.block_type == "basic":
        return block.filters, block.filters
    inner = block.groups * max(block.filters * block.width_per_group // 64, 1)
    return inner, inner, 4 * block.filters


def strided_side(block):
    """The side of the kernel that has the stride; the first such kernel has it."""
    on_first = block.block_type == "bottleneck" and block.stride_on == "1x1"
    return 1 if on_first else 3


def make_convolution(block, filters, kernel_size, *, name, strides=1, zero=False):
    """A convolution of a block; `zero` starts its kernel at zero."""
    wide = kernel_size > 1
    initializer = block.kernel_initializer
    if isinstance(initializer, keras.Initializer):
        # A shared random initializer would draw equal kernels for equal shapes.
        initializer = initializer.clone()
    return Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="valid" if strides > 1 else "same",
        dilation_rate=block.dilation if wide else 1,
        groups=block.groups if wide else 1,
        use_bias=not block.use_batch_norm if block.use_bias is None else block.use_bias,
        kernel_initializer="zeros" if zero else initializer,
        kernel_regularizer=block.kernel_regularizer,
        data_format=block.data_format,
        dtype=block.dtype_policy,
        name=name,
    )


def needs_padding(convolution):
    """Whether a padding layer comes before it: Keras's "same" pads on one side only."""
    return max(convolution.strides) > 1 and max(convolution.kernel_size) > 1


def make_normalization(block, *, name, zero=False):
    """The normalization of a block, or None; `zero` starts its scale at zero.

    Group normalizations are also named `bn1` and so on, as in PyTorch's networks.
    """
    if not block.use_batch_norm:
        return None
    settings = {
        "axis": -1 if block.data_format == "channels_last" else 1,
        "epsilon": block.batch_norm_epsilon,
        "gamma_initializer": "zeros" if zero else "ones",
        "dtype": block.dtype_policy,
        "name": name,
    }
    if block.normalization == "group":
        return keras.layers.GroupNormalization(**settings)
    return BatchNormalization(momentum=block.batch_norm_momentum, **settings)


def build_normalization(norm, shape):
    """Builds what `make_normalization` returned, with the groups of its channels."""
    if norm is None:
        return
    if isinstance(norm, keras.layers.GroupNormalization):
        norm.groups = group_count(shape[norm.axis])
    norm.build(shape)


def group_count(channels):
    """32 groups (Wu and He 2018), or as many as leave two channels to each."""
    fitting = (
        groups
        for groups in (32, 16, 8, 4, 2)
        if channels % groups == 0 and channels >= 2 * groups
    )
    return next(fitting, 1)


def normalize(norm, inputs, training):
    if norm is None:
        return inputs
    if isinstance(norm, keras.layers.BatchNormalization):
        return norm(inputs, training=training)
    return norm(inputs)
