"""Batches for TensorFlow that no thread tunes.

The thread that tunes a `tf.data` data set sleeps for 10 ms, then twice as long each
time, and the end of `fit` waits until it wakes up (TensorFlow 2.21.0): a training of
six seconds then lasts ten.
"""

import random
from typing import Any

import numpy as np


def untuned_batches(batches: Any) -> Any:
    """The batches of a `PyDataset` in each epoch, in the order that Keras gives them.

    Args:
        batches: The `keras.utils.PyDataset`. Its `on_epoch_end` is for the caller.
    """
    import tensorflow as tf

    def epoch() -> Any:
        # As Keras does for `fit(shuffle=True)`, with the same random numbers.
        order = list(range(len(batches)))
        random.shuffle(order)
        yield from (batches[place] for place in order)

    specs = tuple(
        tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in batches[0]
    )
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=specs)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(batches)))
    return _untuned(dataset.prefetch(2))


def untuned_arrays(arrays: tuple[np.ndarray, ...], batch_size: int) -> Any:
    """The batches of arrays, in their order."""
    import tensorflow as tf

    return _untuned(tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size))


def _untuned(dataset: Any) -> Any:
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
