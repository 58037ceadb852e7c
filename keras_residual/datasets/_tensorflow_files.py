"""Batches of image files, with random access, in TensorFlow's graphs.

The module imports TensorFlow, so it is imported only where images are read, under every
backend.
"""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_decoding import crop_for
from keras_residual.datasets._tensorflow_orders import (
    ClassMembers,
    balanced,
    shuffled,
)
from keras_residual.datasets._tensorflow_reader import (
    Reader,
    all_read,
    finished,
    of_each_pass,
)

# The position of what comes after the last image.
_END = 2**63 - 1


def batches_of_files(
    files: list[str], labels: np.ndarray, options: ReaderOptions
) -> Any:
    """Batches of images read from files.

    JPEG (also grayscale and CMYK), PNG, GIF, BMP and WebP files are recognised by their
    content. EXIF orientation is ignored, as usual for ImageNet. A file that cannot be
    read ends the iteration with `tf.errors.InvalidArgumentError` and its name. A
    truncated JPEG is an error only if the crop needs the missing part.
    """
    reader = Reader(len(files), options)
    crop = crop_for(options)
    with tf.device("CPU"):
        # As bytes: file names need not be text.
        all_files = tf.constant([os.fsencode(file) for file in files])
        all_labels = tf.constant(labels)
        members = ClassMembers.of(labels) if options.balanced else None

    def of_step(step: Any, seed: Any) -> tuple[Any, Any]:
        positions = tf.range(*reader.slice_of(step))
        places = positions % reader.num_images
        if members is not None:
            places = balanced(positions, seed, members)
        elif options.training:
            passes = positions // reader.num_images
            places = shuffled(places, seed, passes, reader.num_images)
        return positions, places

    def files_of_a_pass(seed: Any) -> Any:
        def files_of(step: Any) -> tuple[Any, Any]:
            positions, places = of_step(step, seed)
            return positions, tf.gather(all_files, places)

        found = reader.steps().map(files_of).unbatch()
        if reader.endless:
            return found
        end = tf.constant(_END, tf.int64), b""
        return found.concatenate(tf.data.Dataset.from_tensors(end))

    def read(seed: Any, position: Any, file: Any) -> tuple[Any, Any, Any]:
        def image() -> Any:
            return crop(tf.io.read_file(file), seed, position)

        def nothing() -> Any:
            return tf.zeros((options.image_size, options.image_size, 3), tf.uint8)

        if reader.endless:
            return seed, position, image()
        return seed, position, tf.cond(position == _END, nothing, image)

    def complete(step: Any, batch: tuple[Any, Any, Any]) -> tuple[Any, Any]:
        seeds, found, images = batch
        positions, places = of_step(step, seeds[0])
        # Both ascend; images of the next step follow a missing one.
        nearest = tf.searchsorted(found[:-1], positions)
        missing = tf.gather(found, nearest) != positions
        with tf.control_dependencies([all_read(missing, tf.gather(all_files, places))]):
            return images[: tf.size(positions)], tf.gather(all_labels, places)

    # Image by image, so that all cores work on the first batch. TensorFlow's own errors
    # do not name the file.
    images = of_each_pass(files_of_a_pass, reader)
    images = images.map(read, num_parallel_calls=tf.data.AUTOTUNE).ignore_errors()
    batches = images.batch(reader.images_per_step, drop_remainder=reader.endless)
    batches = batches.enumerate(options.first_step or 0).map(complete)
    if not reader.endless:
        batches = batches.take(reader.steps_of_a_pass)
    return finished(batches, reader)
