"""Convolution and batch normalization as each backend does them fastest."""

import functools

import keras

_FLOATS = ("float32", "float16", "bfloat16")


def has_direct_convolution(kernel_size, data_format):
    """Whether `convolve` is faster than Keras's own operation."""
    if keras.backend.backend() == "jax":
        return (
            tuple(kernel_size) == (1, 1)
            and data_format == "channels_last"
            and _jax_runs_on_cpu()
        )
    return keras.backend.backend() == "torch"


def convolve(layer, inputs, kernel):
    """Convolution of a batch of images with the settings of a layer, or None."""
    if len(inputs.shape) != 4 or not has_direct_convolution(
        layer.kernel_size, layer.data_format
    ):
        return None
    if keras.backend.backend() == "jax":
        return _multiply_pixels(inputs, kernel, layer.strides)
    return _convolve_torch(
        inputs,
        kernel,
        layer.strides,
        layer.padding,
        layer.dilation_rate,
        layer.data_format,
    )


def has_fused_normalization():
    """Whether the backend normalizes in one operation, faster than Keras's several."""
    if keras.backend.backend() == "tensorflow":
        return _tensorflow_gains()
    return keras.backend.backend() == "torch"


def can_normalize(inputs, axis):
    """Whether `normalize` and `normalize_batch` take these inputs."""
    return (
        has_fused_normalization()
        and len(inputs.shape) == 4
        and axis in (-1, 1, 3)
        and keras.backend.standardize_dtype(inputs.dtype) in _FLOATS
        and 0 not in tuple(inputs.shape)  # of which PyTorch has no statistics
    )


def normalize(inputs, gamma, beta, mean, variance, *, epsilon, axis):
    """Batch normalization of images with the given statistics."""
    if keras.backend.backend() == "torch":
        return _normalize_torch(inputs, gamma, beta, mean, variance, epsilon, axis)
    return _fused_tensorflow(
        inputs, gamma, beta, mean, variance, epsilon, axis, is_training=False
    )[0]


def normalize_batch(inputs, gamma, beta, *, epsilon, axis):
    """Batch normalization of images with their own statistics.

    Returns:
        The outputs, and mean and (biased) variance of the inputs by channel.
    """
    if keras.backend.backend() == "torch":
        return _normalize_batch_torch(inputs, gamma, beta, epsilon, axis)
    return _normalize_batch_tensorflow(inputs, gamma, beta, epsilon, axis)


def _convolve_torch(inputs, kernel, strides, padding, dilation_rate, data_format):
    import torch

    if torch.compiler.is_compiling():
        # The compiler chooses layouts itself, and PyTorch 2.13's fails on the view
        # below where height and width are unknown.
        return None
    inputs = keras.ops.convert_to_tensor(inputs)
    kernel = keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1)
    memory_format = torch.contiguous_format
    if data_format == "channels_last":
        # A view. PyTorch reads from its strides that the channels come last.
        inputs = inputs.permute(0, 3, 1, 2)
        memory_format = torch.channels_last
    # Otherwise the forward pass copies the kernel, and the backward pass again.
    kernel = kernel.contiguous(memory_format=memory_format)
    channels, per_group = inputs.shape[1], kernel.shape[1]
    if per_group == 0 or channels % per_group:
        return None
    if kernel.shape[2:] == (1, 1) and channels < 8 and max(strides) > 1:
        # Here oneDNN (in PyTorch 2.13, on CPUs without AVX-512, in a single thread)
        # writes beyond its memory, and the process aborts.
        rows, columns = strides
        inputs, strides = inputs[:, :, ::rows, ::columns], (1, 1)
    pads = (0, 0)
    if padding == "same":
        sizes = zip(
            inputs.shape[2:], kernel.shape[2:], strides, dilation_rate, strict=True
        )
        before, after = zip(*(_same_padding(*axis) for axis in sizes), strict=True)
        if before == after:
            pads = before
        else:
            sides = (before[1], after[1], before[0], after[0])
            inputs = torch.nn.functional.pad(inputs, sides)
    outputs = torch.nn.functional.conv2d(
        inputs,
        kernel,
        stride=strides,
        padding=pads,
        dilation=dilation_rate,
        groups=channels // per_group,
    )
    return outputs.permute(0, 2, 3, 1) if data_format == "channels_last" else outputs


def _same_padding(size, kernel_size, stride, dilation_rate):
    """Pixels before and after, as TensorFlow defines `padding="same"`."""
    reach = dilation_rate * (kernel_size - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def _multiply_pixels(inputs, kernel, strides):
    """A 1x1 convolution of `channels_last` images as a matrix product."""
    if inputs.shape[-1] != kernel.shape[2]:
        return None  # in groups
    rows, columns = strides
    return keras.ops.matmul(inputs[:, ::rows, ::columns], kernel[0, 0])


@functools.cache
def _jax_runs_on_cpu():
    import jax

    return jax.default_backend() == "cpu"


def _normalize_torch(inputs, gamma, beta, mean, variance, epsilon, axis):
    import torch

    outputs = torch.nn.functional.batch_norm(
        _channels_second(inputs, axis),
        _tensor_or_none(mean),
        _tensor_or_none(variance),
        _tensor_or_none(gamma),
        _tensor_or_none(beta),
        eps=epsilon,
    )
    return outputs if axis == 1 else outputs.permute(0, 2, 3, 1)


def _normalize_batch_torch(inputs, gamma, beta, epsilon, axis):
    import torch

    outputs, mean, inverse = torch.native_batch_norm(
        _channels_second(inputs, axis),
        _tensor_or_none(gamma),
        _tensor_or_none(beta),
        running_mean=None,
        running_var=None,
        training=True,
        momentum=0.0,
        eps=epsilon,
    )
    variance = inverse.detach().pow(-2).sub_(epsilon).clamp_(min=0.0)
    if axis != 1:
        outputs = outputs.permute(0, 2, 3, 1)
    return outputs, mean.detach(), variance


def _channels_second(inputs, axis):
    inputs = keras.ops.convert_to_tensor(inputs)
    return inputs if axis == 1 else inputs.permute(0, 3, 1, 2)


def _tensor_or_none(variable):
    return None if variable is None else keras.ops.convert_to_tensor(variable)


@functools.cache
def _tensorflow_gains():
    """Whether TensorFlow has a GPU, or normalizes with oneDNN.

    Its own kernel for CPUs takes as long as Keras's operations. TensorFlow does not say
    which of the two it uses, but the last output of its own has no dimension.
    """
    import tensorflow as tf

    if any(device.device_type != "CPU" for device in tf.config.list_physical_devices()):
        return True
    with tf.init_scope():
        one = tf.ones([1])
        *_, reserved = tf.raw_ops.FusedBatchNormV3(
            x=tf.ones([1, 1, 1, 1]), scale=one, offset=one, mean=[], variance=[]
        )
    return reserved.shape.rank == 1


def _normalize_batch_tensorflow(inputs, gamma, beta, epsilon, axis):
    import tensorflow as tf

    outputs, mean, variance = _fused_tensorflow(
        inputs, gamma, beta, [], [], epsilon, axis, is_training=True
    )
    count = tf.cast(tf.size(inputs) // inputs.shape[axis], variance.dtype)
    # The kernel's variance is the unbiased one, with count - 1 below the line.
    return outputs, mean, variance * ((count - 1.0) / count)


def _fused_tensorflow(
    inputs, gamma, beta, mean, variance, epsilon, axis, *, is_training
):
    import tensorflow as tf

    channels = inputs.shape[axis]
    outputs = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.ones([channels]) if gamma is None else tf.convert_to_tensor(gamma),
        offset=tf.zeros([channels]) if beta is None else tf.convert_to_tensor(beta),
        mean=tf.convert_to_tensor(mean, "float32"),
        variance=tf.convert_to_tensor(variance, "float32"),
        epsilon=epsilon,
        data_format="NCHW" if axis == 1 else "NHWC",
        is_training=is_training,
    )
    return outputs[:3]
