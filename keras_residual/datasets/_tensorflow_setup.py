"""TensorFlow as a reader of files, under every backend."""

import contextlib

import keras


def prepare_tensorflow() -> None:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "Reading image files during training needs TensorFlow's tf.data, under "
            "every backend: pip install tensorflow"
        ) from error
    if keras.backend.backend() != "tensorflow":
        # TensorFlow would take all memory of the accelerators, and reading needs none.
        # A program that uses or divides them already has decided itself.
        for device in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError, ValueError):
                tf.config.experimental.set_memory_growth(device, True)
