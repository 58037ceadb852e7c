"""The convolutions and normalizations of a block, made with the block's settings."""

import keras

from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D


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
    """Whether a layer pads for it: it has a stride, and kernels of many taps.

    Keras's "same" pads even sizes on one side only.
    """
    return max(convolution.strides) > 1 and max(convolution.kernel_size) > 1


def make_normalization(block, *, name, zero=False):
    """The normalization of a block, or None; `zero` starts its scale at zero.

    A group normalization is called `bn1` and so on too, as in PyTorch's networks.
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
    """Builds what `make_normalization` made; the channels decide on the groups."""
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
