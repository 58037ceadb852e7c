"""Batches of image files, decoded, cropped and augmented as they are needed."""

import contextlib
import math
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_residual.layers._checks import (
    check_positive_integer,
    check_seed,
    is_number,
)


def image_batches(
    files: Sequence[str | Path],
    labels: Any,
    *,
    image_size: int = 224,
    batch_size: int = 32,
    training: bool = False,
    seed: int = 0,
    first_step: int | None = None,
    shard: tuple[int, int] = (0, 1),
    crop_area: tuple[float, float] | None = (0.08, 1.0),
    flip: bool = True,
    center_fraction: float = 0.875,
) -> Any:
    """A `tf.data.Dataset` of (uint8 images, int64 labels), under every backend.

    In training each image is a random part of its file, `crop_area` of it with an
    aspect ratio between 3/4 and 4/3, scaled without antialiasing, and mirrored every
    other time. Otherwise the shorter side is scaled to `image_size / center_fraction`,
    antialiased, and the centre is cut out.

    JPEG (grayscale and CMYK as well), PNG, GIF, BMP and WebP files are told by their
    content. EXIF orientation is not applied, as ImageNet's readers have it. A file that
    cannot be read ends the iteration with `tf.errors.InvalidArgumentError` and its
    name. A JPEG that is cut off is an error only where the crop needs what is missing.

    Args:
        files: The files.
        labels: Their labels, integers.
        image_size: Positive integer. Height and width of the images.
        batch_size: Positive integer. Images of a step, of all readers together.
        training: Whether to shuffle and augment.
        seed: Non-negative integer. Seed of order and augmentation.
        first_step: None for one pass over the files, in training in a new order at each
            iteration, with a last batch that may be smaller. An integer for an endless
            dataset of full batches, which begins with that step: what a step holds
            depends on the seed and its number alone.
        shard: `(index, count)`: which of how many readers this one is. Each gets its
            equal part of each step, and together they get what a single one gets. A
            pass in training leaves out the last images, fewer than `count` and others
            each time, that cannot be shared out equally, so that all readers make the
            same number of steps. Otherwise each image is read once: in the last batch
            the parts are equal to within one image, and a reader may have none.
        crop_area: Smallest and largest share of the image in a crop; None for the
            centre crop and no mirroring in training as well.
        flip: Whether to mirror.
        center_fraction: Share of the shorter side that is kept, in `(0, 1]`.

    Returns:
        A dataset of images `(batch, image_size, image_size, 3)` and labels `(batch,)`.

    Raises:
        ValueError: If an argument is outside its range.
        ImportError: If TensorFlow is not installed.
    """
    names = [str(file) for file in files]
    labels = _checked_labels(labels, len(names))
    crop, reader, order = _checked(
        num_images=len(names),
        image_size=image_size,
        batch_size=batch_size,
        training=training,
        seed=seed,
        first_step=first_step,
        shard=shard,
        crop_area=crop_area,
        flip=flip,
        center_fraction=center_fraction,
    )
    from keras_residual.datasets import _image_stream

    return _image_stream.batches_of_files(
        names, labels, crop, reader, order, first_step
    )


def encoded_image_batches(
    examples: Any,
    num_images: int,
    *,
    image_size: int = 224,
    batch_size: int = 32,
    training: bool = False,
    seed: int = 0,
    first_step: int | None = None,
    shard: tuple[int, int] = (0, 1),
    crop_area: tuple[float, float] | None = (0.08, 1.0),
    flip: bool = True,
    center_fraction: float = 0.875,
    shuffle_buffer: int = 2_048,
) -> Any:
    """The same from a dataset of (encoded image, label), which is read in its order.

    Every reader reads all of the dataset and decodes its own part. An endless dataset
    reads from the beginning of a pass what stands before its first step.

    Args:
        examples: A `tf.data.Dataset` of (content of an image file, integer label), the
            same at each iteration.
        num_images: How many elements it has.
        image_size: As in `image_batches`.
        batch_size: As in `image_batches`.
        training: As in `image_batches`.
        seed: As in `image_batches`.
        first_step: As in `image_batches`.
        shard: As in `image_batches`.
        crop_area: As in `image_batches`.
        flip: As in `image_batches`.
        center_fraction: As in `image_batches`.
        shuffle_buffer: Positive integer. Among how many encoded images, held in
            memory, the next one is drawn in training.

    Returns:
        A dataset as that of `image_batches`.

    Raises:
        ValueError: If an argument is outside its range.
        ImportError: If TensorFlow is not installed.
    """
    check_positive_integer("num_images", num_images)
    check_positive_integer("shuffle_buffer", shuffle_buffer)
    crop, reader, order = _checked(
        num_images=num_images,
        image_size=image_size,
        batch_size=batch_size,
        training=training,
        seed=seed,
        first_step=first_step,
        shard=shard,
        crop_area=crop_area,
        flip=flip,
        center_fraction=center_fraction,
    )
    from keras_residual.datasets import _image_stream

    return _image_stream.batches_of_examples(
        examples, crop, reader, order, first_step, shuffle_buffer
    )


def _checked(
    *,
    num_images: int,
    image_size: int,
    batch_size: int,
    training: bool,
    seed: int,
    first_step: int | None,
    shard: tuple[int, int],
    crop_area: tuple[float, float] | None,
    flip: bool,
    center_fraction: float,
) -> tuple[Any, Any, Any]:
    """The arguments, as the modules that import TensorFlow take them."""
    image_size = check_positive_integer("image_size", image_size)
    batch_size = check_positive_integer("batch_size", batch_size)
    check_seed(seed)
    _check_first_step(first_step)
    index, count = _checked_shard(shard, batch_size)
    area = None if crop_area is None else _checked_area(crop_area)
    if not is_number(center_fraction) or not 0 < center_fraction <= 1:
        raise ValueError(
            "`center_fraction` must be a number in (0, 1]. "
            f"Received: center_fraction={center_fraction!r}"
        )
    prepare_tensorflow()
    from keras_residual.datasets import _image_decoding, _image_stream

    crop: Any
    if training and area:
        crop = _image_decoding.RandomCrop(image_size, area, bool(flip))
    else:
        crop = _image_decoding.CentreCrop(image_size, float(center_fraction))
    reader = _image_stream.Reader(num_images, batch_size, index, count, bool(training))
    # TensorFlow's seeds have 63 bits.
    order = _image_stream.Order(int(seed) % 2**63, bool(training))
    return crop, reader, order


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


def _checked_labels(labels: Any, count: int) -> np.ndarray:
    if not count:
        raise ValueError("`files` must hold at least one file. Received: files=[]")
    array = np.asarray(labels)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"`labels` must be {count} integers, one for each file. Received: "
            f"labels of shape {array.shape} and dtype {array.dtype}"
        )
    return array.astype(np.int64)


def _check_first_step(first_step: Any) -> None:
    try:
        valid = first_step is None or operator.index(first_step) >= 0
    except TypeError:
        valid = False
    if not valid or isinstance(first_step, bool):
        raise ValueError(
            "`first_step` must be None or an integer of 0 or greater. "
            f"Received: first_step={first_step!r}"
        )


def _checked_shard(shard: Any, batch_size: int) -> tuple[int, int]:
    try:
        index, count = map(operator.index, shard)
    except (TypeError, ValueError):
        index, count = 0, 0
    if not 0 <= index < count:
        raise ValueError(
            "`shard` must be (index, count), integers with 0 <= index < count. "
            f"Received: shard={shard!r}"
        )
    if batch_size % count:
        raise ValueError(
            f"`batch_size` must be a multiple of the {count} readers of `shard`. "
            f"Received: batch_size={batch_size!r}"
        )
    return index, count


def _checked_area(crop_area: Any) -> tuple[float, float]:
    try:
        low, high = crop_area
    except (TypeError, ValueError):
        low = high = math.nan
    if not is_number(low) or not is_number(high) or not 0 < low <= high <= 1:
        raise ValueError(
            "`crop_area` must be (smallest, largest), 0 < smallest <= largest <= 1, or "
            "None. "
            f"Received: crop_area={crop_area!r}"
        )
    return float(low), float(high)
