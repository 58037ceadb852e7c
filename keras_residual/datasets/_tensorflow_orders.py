"""Which image of a split is the next one, in TensorFlow's graphs.

The module imports TensorFlow: it is imported where images are read, under every
backend.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Of the numbers of passes, so that the orders within classes are none of whole passes.
_WITHIN_CLASSES = 2**40


class ClassMembers(NamedTuple):
    """The images of each class that has some: `order[starts[c]:][:counts[c]]`."""

    order: Any
    starts: Any
    counts: Any

    @classmethod
    def of(cls, labels: np.ndarray) -> "ClassMembers":
        _, starts, counts = np.unique(
            np.sort(labels), return_index=True, return_counts=True
        )
        arrays = np.argsort(labels, kind="stable"), starts, counts
        return cls(*(tf.constant(array, tf.int64) for array in arrays))


def balanced(positions: Any, seed: Any, members: ClassMembers) -> Any:
    """Places in which every class comes once in each round of the classes.

    The images of a class come one after the other in an order of their own, which is
    another each time that they are through.
    """
    classes = len(members.counts)
    rounds = positions // classes
    chosen = shuffled(positions % classes, seed, rounds, classes)
    sizes = tf.gather(members.counts, chosen)
    passes = rounds // sizes * classes + chosen + _WITHIN_CLASSES
    within = shuffled(rounds % sizes, seed, passes, sizes)
    return tf.gather(members.order, tf.gather(members.starts, chosen) + within)


def shuffled(places: Any, seed: Any, epochs: Any, num_images: Any) -> Any:
    """Where a permutation of `num_images` numbers takes these, another each epoch."""
    # tf.random.experimental.index_shuffle of TensorFlow 2.21 takes one seed only.
    return tf.raw_ops.RandomIndexShuffle(
        index=places,
        seed=_seeds_of_shuffle(seed, epochs),
        max_index=tf.cast(num_images, tf.int64) - 1,
    )


def _seeds_of_shuffle(seed: Any, epochs: Any) -> Any:
    """Three numbers for each epoch, of which few bits need to be read.

    RandomIndexShuffle takes the lowest 8 bits of each below 65,538 images, and 11 of
    ImageNet's: orders would come back after 256 epochs, and with every 256th seed. The
    bits above are mixed into the lower ones, as SplitMix64 does.
    """
    seeds = tf.fill(tf.shape(epochs), tf.cast(seed, tf.uint64))
    epochs = tf.cast(epochs, tf.uint64)

    def shifted(number: Any, bits: int) -> Any:
        return tf.bitwise.right_shift(number, tf.constant(bits, tf.uint64))

    def times(number: Any, factor: int) -> Any:
        return number * tf.constant(factor, tf.uint64)

    mixed = times(shifted(seeds, 8), 0x9E3779B97F4A7C15)
    mixed += times(shifted(epochs, 8), 0xBF58476D1CE4E5B9)
    mixed = times(mixed ^ shifted(mixed, 30), 0xBF58476D1CE4E5B9)
    mixed = times(mixed ^ shifted(mixed, 27), 0x94D049BB133111EB)
    mixed ^= shifted(mixed, 31)
    ones = tf.ones_like(epochs)
    return tf.stack(
        [ones ^ mixed, seeds ^ shifted(mixed, 21), epochs ^ shifted(mixed, 42)], 1
    )
