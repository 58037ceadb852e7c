"""Batch normalization as each backend does it fastest."""

import functools

import keras

_FLOATS = ("float32", "float16", "bfloat16")


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
