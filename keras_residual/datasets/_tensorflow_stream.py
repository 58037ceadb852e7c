"""Batches of encoded images that are read in one order, in TensorFlow's graphs.

The module imports TensorFlow, so it is imported only where images are read, under every
backend.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_decoding import crop_for
from keras_residual.datasets._tensorflow_reader import (
    Reader,
    all_read,
    finished,
    of_each_pass,
)

# How many images one call decodes: large enough to hide the cost of the call, small
# enough to save memory.
_IMAGES_PER_CALL = 32


def batches_of_examples(
    dataset: Any, num_images: int, options: ReaderOptions, shuffle_buffer: int = 2_048
) -> Any:
    """Batches of images from a dataset of (encoded image, label), in its order.

    Every reader reads all of the dataset and decodes its own part. An endless dataset
    reads a pass from its start and skips the images before its first step. In training
    the next image is drawn among `shuffle_buffer` encoded ones in memory.
    """
    reader = Reader(num_images, options)
    first_pass, skipped = divmod(
        (options.first_step or 0) * options.batch_size, num_images
    )

    # With another number of them every later position would be wrong.
    numbered = dataset.apply(
        tf.data.experimental.assert_cardinality(reader.num_images)
    ).enumerate()

    def examples(seed: Any) -> Any:

        def one_pass(number: Any) -> Any:
            if not options.training:
                return numbered
            return _shuffled_by_buffer(numbered, shuffle_buffer, seed, number)

        if reader.endless:
            passes = tf.data.Dataset.counter(first_pass).flat_map(one_pass)
        else:
            passes = one_pass(tf.constant(0, tf.int64))

        def is_own(position: Any, _: Any) -> Any:
            begin, end = reader.slice_of(position // options.batch_size)
            return (position >= begin) & (position < end)

        def flat(position: Any, example: Any) -> tuple[Any, ...]:
            number, (encoded, label) = example
            name = tf.strings.join(["number ", tf.strings.as_string(number)])
            return position, name, encoded, tf.cast(label, tf.int64)

        return (
            passes.enumerate(first_pass * reader.num_images)
            .skip(skipped)
            .filter(is_own)
            .map(flat)
            .batch(per_call)
        )

    crop = crop_for(options)
    per_call = min(reader.images_per_step, _IMAGES_PER_CALL)
    parts = of_each_pass(examples, reader)
    batches = parts.map(
        lambda *part: _decode(crop, *part), num_parallel_calls=tf.data.AUTOTUNE
    )
    if per_call < reader.images_per_step:
        batches = batches.rebatch(reader.images_per_step, drop_remainder=reader.endless)
    return finished(batches, reader)


def _decode(
    read: Callable, seed: Any, positions: Any, names: Any, sources: Any, labels: Any
) -> tuple[Any, Any]:
    """Images and labels of a part; raises an error with the names of bad images."""

    def one(position: Any, source: Any) -> tuple[Any, Any]:
        return position, read(source, seed, position)

    # TensorFlow's own errors do not name the image.
    readable = tf.data.Dataset.from_tensor_slices((positions, sources)).map(one)
    _, shape = readable.element_spec
    nothing = tf.zeros((0,), tf.int64), tf.zeros((0, *shape.shape), tf.uint8)
    found, images = (
        readable.ignore_errors()
        .batch(_IMAGES_PER_CALL)
        .concatenate(tf.data.Dataset.from_tensors(nothing))
        .take(1)
        .get_single_element()
    )
    missing = tf.reduce_all(positions[:, None] != found, axis=1)
    with tf.control_dependencies([all_read(missing, names)]):
        return tf.identity(images), labels


def _shuffled_by_buffer(dataset: Any, buffer: int, seed: Any, number: Any) -> Any:
    # Dataset.shuffle mixes in tf.random.set_seed: readers with other global seeds would
    # read in other orders. Of its two seeds, zeros would mean a random one.
    spec = dataset.element_spec
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(dataset),
        buffer_size=tf.constant(buffer, tf.int64),
        seed=seed,
        seed2=number + 1,
        output_types=[leaf.dtype for leaf in tf.nest.flatten(spec)],
        output_shapes=[leaf.shape for leaf in tf.nest.flatten(spec)],
        reshuffle_each_iteration=False,
    )
    return tf.data.experimental.from_variant(shuffled, spec)
