"""Predictions for photos: methods of `TransferModel` that take files too."""

import os
from typing import Any

import numpy as np

from keras_residual._image_file import read_part
from keras_residual.layers._checks import check_positive_integer
from keras_residual.models.transfer import _head
from keras_residual.models.transfer._first_batch import as_array, check_images


def classify(
    self, images, *, image_size: int | None = None, batch_size: int = 32
) -> list:
    """Returns names and probabilities, the most probable first.

    Photos in files are read as in `keras_residual.datasets`: rotated by their EXIF tag,
    converted to RGB, cropped to the largest centred part of the model's shape and
    scaled. Arrays are treated as in `predict`.

    Args:
        images: Path of a photo, one image in an array, or several: a list of paths or
            of images, or a batch in one array.
        image_size: Positive integer. Height and width to scale photos in files to.
            None: those of the model, if it takes one size only.
        batch_size: Positive integer. Images at a time.

    Returns:
        For one path or image a list of pairs (name, probability); for several, a list
        of such lists in the same order. A model without `class_names` names its
        classes by their numbers, `"0"` and so on. With `activation="sigmoid"` the
        probabilities do not sum to one.

    Raises:
        ValueError: If a file cannot be read (the message names it), the images do not
            fit the model, its outputs are not probabilities, or an argument is outside
            its range.
        ImportError: If a path is given and Pillow is not installed.
    """
    batch, single = _read(self, images, image_size)
    names = self.class_names or [str(number) for number in range(self.num_classes)]
    outputs = _in_batches(self.predict, batch, batch_size)
    ranked = []
    for row in _head.probabilities(self, outputs):
        best = np.argsort(-row, kind="stable")
        ranked.append([(names[place], float(row[place])) for place in best])
    return ranked[0] if single else ranked


def features(
    self, images, *, image_size: int | None = None, batch_size: int = 32
) -> np.ndarray:
    """Returns the input of the head: the pooled output of the backbone.

    Args:
        images: Paths or images, as in `classify`.
        image_size: Positive integer or None, as in `classify`.
        batch_size: Positive integer. Images at a time.

    Returns:
        Array `(n, width)`, float32: one row for each image, also for a single one.

    Raises:
        ValueError: As in `classify`.
        ImportError: As in `classify`.
    """
    batch, _ = _read(self, images, image_size)
    for image in batch:
        check_images(image[None], self.input_shape[1:], self.value_range)
    # Compiled once for all calls.
    network = self._features.network
    return _in_batches(network.predict, batch, batch_size).astype("float32")


def _in_batches(predict, images, batch_size):
    """The outputs of images, in batches if all have the same shape."""
    check_positive_integer("batch_size", batch_size)
    if not isinstance(images, np.ndarray):
        if len({image.shape for image in images}) > 1:
            rows = [predict(image[None], verbose=0)[0] for image in images]
            return np.stack(rows)
        images = np.stack(images)
    return np.asarray(predict(images, batch_size=batch_size, verbose=0))


def _read(model, images, image_size) -> tuple:
    """The images in a batch or in a list, and whether it was a single one."""
    if isinstance(images, (str, os.PathLike)):
        return [_photo(model, images, image_size)], True
    read: Any = None
    if isinstance(images, (list, tuple)):
        read = [
            _photo(model, image, image_size)
            if isinstance(image, (str, os.PathLike))
            else as_array(image)
            for image in images
        ]
    else:
        array = as_array(images)
        if array.ndim == 3:
            return array[None], True
        if array.ndim == 4:
            read = array
    if read is None or not len(read) or any(image.ndim != 3 for image in read):
        raise ValueError(
            "`images` must be a path, an image of three dimensions, or a list or a "
            f"batch of at least one. Received: {_shown(images)}"
        )
    return read, False


def _photo(model, file, image_size) -> np.ndarray:
    first = model.data_format == "channels_first"
    shape = model.input_shape[1:]
    height, width, channels = (*shape[1:], shape[0]) if first else shape
    if image_size is not None:
        height = width = check_positive_integer("image_size", image_size)
    if None in (height, width):
        raise ValueError(
            "`image_size` must be given for a model that takes images of any size. "
            "Received: image_size=None"
        )
    if channels != 3 or model.value_range is None:
        raise ValueError(
            "`images` must be arrays, not paths, for a model that does not take RGB "
            "images or has value_range=None. Received: a path, for a model of "
            f"{channels} channels with value_range={model.value_range}"
        )
    pixels = read_part(file, str(file), (height, width))
    if model.value_range == (0, 1):
        pixels = pixels / np.float32(255)
    return pixels.transpose(2, 0, 1) if first else pixels


def _shown(images) -> str:
    if isinstance(images, (list, tuple)):
        shapes = [getattr(image, "shape", type(image).__name__) for image in images]
        return f"images={shapes}"
    return f"images of type {type(images).__name__}, shape {np.shape(images)}"
