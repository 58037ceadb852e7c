"""The order of a split's images, in TensorFlow's graphs.

The module imports TensorFlow, so it is imported only where images are read, under every
backend.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

# Added to numbers of passes, so that orders within classes differ from whole passes'.
_WITHIN_CLASSES = 2**40


class ClassMembers(NamedTuple):
    """The images of each class with images: `order[starts[c]:][:counts[c]]`."""

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

    The images of a class come one after the other, in a new order after each pass
    through them.
    """
    classes = len(members.counts)
    rounds = positions // classes
    chosen = shuffled(positions % classes, seed, rounds, classes)
    sizes = tf.gather(members.counts, chosen)
    passes = rounds // sizes * classes + chosen + _WITHIN_CLASSES
    within = shuffled(rounds % sizes, seed, passes, sizes)
    return tf.gather(members.order, tf.gather(members.starts, chosen) + within)


def shuffled(places: Any, seed: Any, epochs: Any, num_images: Any) -> Any:
    """Maps places by a permutation of `num_images` numbers, a new one each epoch."""
    # tf.random.experimental.index_shuffle of TensorFlow 2.21 takes one seed only.
    return tf.raw_ops.RandomIndexShuffle(
        index=places,
        seed=_seeds_of_shuffle(seed, epochs),
        max_index=tf.cast(num_images, tf.int64) - 1,
    )


def _seeds_of_shuffle(seed: Any, epochs: Any) -> Any:
    """Three numbers for each epoch whose lowest bits depend on all bits of the seed.

    RandomIndexShuffle uses the lowest 8 bits of each below 65,538 images, and 11 for
    ImageNet: orders would repeat after 256 epochs, and with every 256th seed. The
    higher bits are mixed into the lower ones, as in SplitMix64.
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
