"""Reads the images and labels that features are computed from, also several times."""

import dataclasses
import hashlib
import math
import types
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_residual.models.transfer._first_batch import as_array

# Images, labels, and the weights of the images where there are any.
Batch = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclasses.dataclass(frozen=True)
class Data:
    """An array of images and its labels, or a data set of batches of both."""

    images: Any
    labels: Any
    sample_weight: Any
    copies: int
    batch_size: int

    def check(self, in_file: bool) -> None:
        """Raises for data that cannot be read as often as necessary, or do not fit."""
        if isinstance(self.images, types.GeneratorType) and (
            self.copies > 1 or in_file
        ):
            raise ValueError(
                "`dataset` must be one that can be read again if `copies` is greater "
                "than 1 or `filepath` is given. "
                f"Received: a generator, copies={self.copies}"
            )
        for name in ("labels", "sample_weight"):
            values = getattr(self, name)
            if values is not None and (
                self.labels is None or len(values) != len(self.images)
            ):
                raise ValueError(
                    f"`{name}` must have one value for each image of an array; a data "
                    "set gives labels and weights in its batches. "
                    f"Received: {name} of length {len(values)}"
                )
        infinite = isinstance(self.images, keras.utils.PyDataset) and (
            self.images.num_batches is None
        )
        cardinality = getattr(self.images, "cardinality", None)
        if cardinality is not None:  # of tf.data; a property of distributed datasets
            infinite = (
                int(cardinality() if callable(cardinality) else cardinality) == -1
            )
        if infinite:
            raise ValueError(
                "`dataset` must come to an end. Received: a data set that repeats "
                "forever"
            )

    @property
    def num_batches(self) -> int | None:
        """How many batches one reading gives, if that is known beforehand."""
        if self.labels is not None:
            return math.ceil(len(self.images) / self.batch_size)
        try:
            return len(self.images)
        except TypeError:
            return None

    def batches(self) -> Iterator[Batch]:
        """Reads everything once."""
        if self.labels is not None:
            for start in range(0, len(self.images), self.batch_size):
                part = slice(start, start + self.batch_size)
                weights = self.sample_weight
                yield (
                    as_array(self.images[part]),
                    as_array(self.labels[part]),
                    None if weights is None else as_array(weights[part]),
                )
            return
        batches = data = self.images
        if isinstance(data, keras.utils.PyDataset):
            batches = (data[index] for index in range(data.num_batches))
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3):
                raise ValueError(
                    "`dataset` must give pairs of images and labels, batch by batch, "
                    "or these and the weights of the images. "
                    f"Received: an element of type {type(batch).__name__}"
                )
            weights = batch[2] if len(batch) == 3 else None
            yield (
                as_array(batch[0]),
                as_array(batch[1]),
                None if weights is None else as_array(weights),
            )


class ContentHash:
    """A hash of images and labels that does not depend on the batches.

    The order counts in arrays. It does not in a data set: one that shuffles gives the
    same pairs of image and label in another order, and any order serves training.
    """

    def __init__(self, data: Data):
        self._ordered = data.labels is not None
        self._sequence = hashlib.sha256()
        self._sum = 0

    def add(
        self, images: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
    ) -> None:
        columns = [images, labels] if weights is None else [images, labels, weights]
        for values in zip(*columns, strict=True):
            kind = "".join(f"{value.dtype} {value.shape} " for value in values)
            pair = hashlib.sha256(kind.encode())
            for value in values:
                pair.update(value.tobytes())
            if self._ordered:
                self._sequence.update(pair.digest())
            else:
                self._sum += int.from_bytes(pair.digest(), "big")

    def hexdigest(self) -> str:
        if self._ordered:
            return self._sequence.hexdigest()
        return f"{self._sum:x}"
