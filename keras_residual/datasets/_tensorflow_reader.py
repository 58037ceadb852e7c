"""Readers of images: their shares of the stream, and their batches.

The position of an image is its place in the stream of all images that the readers
together see, pass after pass. The module imports TensorFlow, so it is imported only
where images are read, under every backend.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_residual.datasets._reader_options import ReaderOptions


class Reader(NamedTuple):
    """One of several readers, and its share of the stream."""

    num_images: int
    options: ReaderOptions

    @property
    def endless(self) -> bool:
        return self.options.first_step is not None

    @property
    def seed(self) -> Any:
        # TensorFlow's seeds have 63 bits.
        return tf.constant(self.options.seed % 2**63, tf.int64)

    def steps(self) -> Any:
        """A dataset of the numbers of the steps."""
        if self.endless:
            return tf.data.Dataset.counter(self.options.first_step)
        return tf.data.Dataset.range(self.steps_of_a_pass)

    @property
    def images_of_a_pass(self) -> int:
        """In training without a rest that the readers cannot share equally.

        Readers that train together wait for each other at each step.
        """
        shared = self.options.shard[1] if self.options.training else 1
        return self.num_images - self.num_images % shared

    @property
    def images_per_step(self) -> int:
        return self.options.batch_size // self.options.shard[1]

    @property
    def steps_of_a_pass(self) -> int:
        """Without a last step that has nothing for this reader."""
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


def of_each_pass(make: Callable, reader: Reader) -> Any:
    """The dataset that `make` returns for a seed; in training, each pass draws one.

    The seed comes first in its elements.
    """

    def with_seed(seed: Any) -> Any:
        return make(seed).map(lambda *element: (seed, *element))

    if reader.options.training and not reader.endless:
        return _new_seeds(reader.seed).take(1).flat_map(with_seed)
    return with_seed(reader.seed)


def all_read(missing: Any, names: Any) -> Any:
    """An operation that fails with the names of the missing images."""
    return tf.debugging.Assert(
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


def finished(batches: Any, reader: Reader) -> Any:
    """Adds shapes, layout, augmentation and length to batches of images and labels."""
    options, size = reader.options, reader.images_per_step
    if reader.endless or reader.images_of_a_pass % options.batch_size == 0:
        batches = batches.map(lambda *batch: [_with_size(x, size) for x in batch])
    if options.augmentation or options.data_format == "channels_first":
        batches = batches.map(
            lambda images, labels: (_augmented(images, options), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    # `fit` asks for the length, which a shuffled dataset does not know.
    steps = tf.data.INFINITE_CARDINALITY if reader.endless else reader.steps_of_a_pass
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    of_dataset = tf.data.Options()
    # Each reader has its part already.
    of_dataset.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return batches.prefetch(tf.data.AUTOTUNE).with_options(of_dataset)


def _augmented(images: Any, options: ReaderOptions) -> Any:
    if options.data_format == "channels_first":
        images = tf.transpose(images, (0, 3, 1, 2))
    return options.augmentation(images) if options.augmentation else images


def _with_size(tensor: Any, size: int) -> Any:
    return tf.ensure_shape(tensor, (size, *tensor.shape[1:]))


def _new_seeds(seed: Any) -> Any:
    """A dataset whose numbers differ in every iteration."""
    # Dataset.random mixes in tf.random.set_seed: readers with other global seeds would
    # read in other orders. Of its two seeds, zeros would mean a random one.
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
