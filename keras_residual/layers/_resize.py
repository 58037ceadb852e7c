"""Resizing with antialiasing, also to a size that is known only in the graph."""

import keras


def xla_can_resize():
    """TensorFlow has no XLA kernel for resizing with antialiasing."""
    return keras.backend.backend() != "tensorflow"


def resize_images(images, size, interpolation, data_format):
    """As `keras.ops.image.resize`, which refuses sizes that are tensors.

    Only TensorFlow's graphs have those.
    """
    if not any(keras.ops.is_tensor(side) for side in size):
        return keras.ops.image.resize(
            images,
            size,
            interpolation=interpolation,
            antialias=True,
            data_format=data_format,
        )
    import tensorflow as tf

    if data_format == "channels_first":
        images = tf.transpose(images, (0, 2, 3, 1))
    images = tf.image.resize(images, tf.stack(size), interpolation, antialias=True)
    if data_format == "channels_first":
        images = tf.transpose(images, (0, 3, 1, 2))
    return images
