"""Shared parts of the experiments' trainings: batches in a stated order, and times."""

import time
from typing import Any

import keras
import numpy as np


class ShuffledBatches(keras.utils.PyDataset):
    """Batches in an order that the seed and the epoch alone decide.

    All batches are full, so that a step is compiled for one shape only; each epoch
    leaves out other images.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.images = images
        self.labels = labels
        self.batch_size = min(batch_size, len(images))
        self.seed = seed
        self.begin_epoch(0)

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return self.images[chosen], self.labels[chosen]

    def on_epoch_end(self) -> None:
        self.begin_epoch(self.epoch + 1)

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        generator = np.random.default_rng([self.seed, epoch])
        self.order = generator.permutation(len(self.images))


class EpochTimer(keras.callbacks.Callback):
    """Adds the seconds of each epoch, its validation included, to the history."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs["seconds"] = round(time.perf_counter() - self._start, 3)


class ValidationTimer(keras.callbacks.Callback):
    """Adds up the seconds that the validations within `fit` take."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_test_end(self, logs: Any = None) -> None:
        self.seconds += time.perf_counter() - self._start


def split(num_images: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the validation images, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(num_images)
    border = round(share * num_images)
    return order[:border], order[border:]


def standardized(
    train: np.ndarray, validation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both with the channel means and deviations of the training images taken out."""
    train, validation = (part.astype(np.float32) for part in (train, validation))
    mean = train.mean((0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = train.std((0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation[deviation == 0] = 1
    return (train - mean) / deviation, (validation - mean) / deviation
