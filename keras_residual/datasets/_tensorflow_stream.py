"""Which image stands where: order, shards and batches, in TensorFlow's graphs.

An image has a position: its place in the stream of all images that the readers
together see, pass after pass. The module imports TensorFlow: it is imported where
images are read, under every backend.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_decoding import crop_for
from keras_residual.datasets._tensorflow_orders import (
    ClassMembers,
    balanced,
    shuffled,
)

# How many images one call decodes. Large enough that the call itself costs nothing,
# small enough that few of them fill the memory.
_IMAGES_PER_CALL = 32


class Reader(NamedTuple):
    """What one of several readers takes of the stream."""

    num_images: int
    options: ReaderOptions

    @property
    def endless(self) -> bool:
        return self.options.first_step is not None

    @property
    def seed(self) -> Any:
        # TensorFlow's seeds have 63 bits.
        return tf.constant(self.options.seed % 2**63, tf.int64)

    @property
    def images_of_a_pass(self) -> int:
        """In training without what the readers cannot share out equally.

        Readers that train together wait for each other at each step.
        """
        shared = self.options.shard[1] if self.options.training else 1
        return self.num_images - self.num_images % shared

    @property
    def images_per_step(self) -> int:
        return self.options.batch_size // self.options.shard[1]

    @property
    def steps_of_a_pass(self) -> int:
        """Without a last one in which nothing is left for this reader."""
        full, rest = divmod(self.images_of_a_pass, self.options.batch_size)
        begin, end = self._part(rest)
        return full + (end > begin)

    def slice_of(self, step: Any) -> tuple[Any, Any]:
        """First position of a step, and the first that is no longer in it."""
        start = step * self.options.batch_size
        size = tf.constant(self.options.batch_size, tf.int64)
        if not self.endless:
            size = tf.minimum(size, self.images_of_a_pass - start)
        begin, end = self._part(size)
        return start + begin, start + end

    def _part(self, size: Any) -> tuple[Any, Any]:
        index, count = self.options.shard
        return size * index // count, size * (index + 1) // count


def batches_of_files(
    files: list[str], labels: np.ndarray, options: ReaderOptions
) -> Any:
    """Batches of images read from files, any of which can be reached at once.

    JPEG (grayscale and CMYK as well), PNG, GIF, BMP and WebP files are told by their
    content. EXIF orientation is not applied, as ImageNet's readers have it. A file that
    cannot be read ends the iteration with `tf.errors.InvalidArgumentError` and its
    name. A JPEG that is cut off is an error only where the crop needs what is missing.
    """
    reader = Reader(len(files), options)
    crop = crop_for(options)
    with tf.device("CPU"):
        # As bytes: names on a disk need not be text.
        all_files = tf.constant([os.fsencode(file) for file in files])
        all_labels = tf.constant(labels)
        members = ClassMembers.of(labels) if options.balanced else None

    def examples(seed: Any) -> Any:
        def of_step(step: Any) -> tuple[Any, ...]:
            positions = tf.range(*reader.slice_of(step))
            places = positions % reader.num_images
            if members is not None:
                places = balanced(positions, seed, members)
            elif options.training:
                places = shuffled(
                    places, seed, positions // reader.num_images, reader.num_images
                )
            names = tf.gather(all_files, places)
            return positions, names, names, tf.gather(all_labels, places)

        if options.first_step is None:
            steps = tf.data.Dataset.range(reader.steps_of_a_pass)
        else:
            steps = tf.data.Dataset.counter(options.first_step)
        return steps.map(of_step)

    def read(file: Any, *numbers: Any) -> Any:
        return crop(tf.io.read_file(file), *numbers)

    return _batches(examples, read, reader)


def batches_of_examples(
    dataset: Any, num_images: int, options: ReaderOptions, shuffle_buffer: int = 2_048
) -> Any:
    """The same of a dataset of (encoded image, label), which is read in its order.

    Every reader reads all of the dataset and decodes its own part. An endless dataset
    reads from the beginning of a pass what stands before its first step. In training
    the next image is drawn among `shuffle_buffer` encoded ones, held in memory.
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
            .batch(reader.images_per_step, drop_remainder=reader.endless)
        )

    return _batches(examples, crop_for(options), reader)


def _batches(examples: Callable, read: Callable, reader: Reader) -> Any:
    """Batches of the images of batches of (position, name, source, label)."""
    size, endless = reader.images_per_step, reader.endless
    per_call = size if size < 2 * _IMAGES_PER_CALL else _IMAGES_PER_CALL

    def with_seed(seed: Any) -> Any:
        parts = examples(seed)
        if per_call != size:
            parts = parts.rebatch(per_call)
        return parts.map(lambda *part: (seed, *part))

    if reader.options.training and not endless:
        parts = _new_seeds(reader.seed).take(1).flat_map(with_seed)
    else:
        parts = with_seed(reader.seed)
    batches = parts.map(
        lambda *part: _decode(read, *part), num_parallel_calls=tf.data.AUTOTUNE
    )
    if per_call != size:
        batches = batches.rebatch(size, drop_remainder=endless)
    elif endless or reader.images_of_a_pass % reader.options.batch_size == 0:
        batches = batches.map(lambda *batch: [_with_size(x, size) for x in batch])
    if reader.options.augmentation or reader.options.data_format == "channels_first":
        batches = batches.map(
            lambda images, labels: (_finished(images, reader.options), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    # What a shuffled dataset does not know of itself, and `fit` asks for.
    steps = tf.data.INFINITE_CARDINALITY if endless else reader.steps_of_a_pass
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    options = tf.data.Options()
    # Each reader has its part already.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _decode(
    read: Callable, seed: Any, positions: Any, names: Any, sources: Any, labels: Any
) -> tuple[Any, Any]:
    """Images and labels of a part; what cannot be decoded is named."""

    def one(position: Any, source: Any) -> tuple[Any, Any]:
        return position, read(source, seed, position)

    # TensorFlow's own errors say what is wrong and not with which file.
    readable = tf.data.Dataset.from_tensor_slices((positions, sources)).map(one)
    _, shape = readable.element_spec
    nothing = tf.zeros((0,), tf.int64), tf.zeros((0, *shape.shape), tf.uint8)
    found, images = (
        readable.ignore_errors()
        .batch(_IMAGES_PER_CALL * 2)
        .concatenate(tf.data.Dataset.from_tensors(nothing))
        .take(1)
        .get_single_element()
    )
    missing = tf.reduce_all(positions[:, None] != found, axis=1)
    complete = tf.debugging.Assert(
        ~tf.reduce_any(missing),
        [
            "These images cannot be read (missing, not readable now, damaged or no "
            "image):",
            tf.strings.unicode_transcode(
                tf.boolean_mask(names, missing), "UTF-8", "UTF-8", errors="replace"
            ),
        ],
        summarize=10,
    )
    with tf.control_dependencies([complete]):
        return tf.identity(images), labels


def _finished(images: Any, options: ReaderOptions) -> Any:
    if options.data_format == "channels_first":
        images = tf.transpose(images, (0, 3, 1, 2))
    return options.augmentation(images) if options.augmentation else images


def _with_size(tensor: Any, size: int) -> Any:
    return tf.ensure_shape(tensor, (size, *tensor.shape[1:]))


# The two datasets below exist as Dataset.random and Dataset.shuffle, which mix in
# tf.random.set_seed: readers with other global seeds would read in other orders.
# Of their two seeds, zeros would mean a random one.


def _new_seeds(seed: Any) -> Any:
    """A dataset whose numbers differ in every iteration."""
    spec = tf.TensorSpec((), tf.int64)
    numbers = tf.raw_ops.RandomDatasetV2(
        seed=seed,
        seed2=tf.constant(1, tf.int64),
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        rerandomize_each_iteration=True,
        output_types=[spec.dtype],
        output_shapes=[spec.shape],
    )
    return tf.data.experimental.from_variant(numbers, spec)


def _shuffled_by_buffer(dataset: Any, buffer: int, seed: Any, number: Any) -> Any:
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
