"""TensorFlow as a reader of files, under every backend."""

import contextlib

import keras


def prepare_tensorflow() -> None:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "Reading image files as they are needed takes TensorFlow's tf.data, under "
            "every backend: pip install tensorflow"
        ) from error
    if keras.backend.backend() != "tensorflow":
        # TensorFlow would take all memory of the accelerators, of which reading needs
        # none. Where a program uses them already, or divided them, it has decided.
        for device in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError, ValueError):
                tf.config.experimental.set_memory_growth(device, True)
