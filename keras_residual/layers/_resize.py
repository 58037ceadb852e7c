"""Checks and changes of image sizes, some known only when a TensorFlow graph runs."""

import keras


def check_sides(sides, least, message):
    """Raises the message for an image that is smaller than `least`.

    Within a graph, the error is raised when the graph runs.
    """
    for side, size in zip(sides, least, strict=True):
        if keras.ops.is_tensor(side):
            import tensorflow as tf

            tf.debugging.assert_greater_equal(side, size, message)
        elif isinstance(side, int) and side < size:
            raise ValueError(f"{message}, an image of {sides[0]} x {sides[1]}")


def xla_can_resize():
    """TensorFlow has no XLA kernel for resizing with antialiasing."""
    return keras.backend.backend() != "tensorflow"


def resize_images(images, size, interpolation, data_format):
    """`keras.ops.image.resize`, also with tensors of a TensorFlow graph as sizes."""
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
