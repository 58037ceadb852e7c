"""Watches a training of many epochs, so that it can continue where it stopped."""

import math
import time
from typing import Any

import keras
import numpy as np

from keras_residual.callbacks.gradient_norm import GradientNormCallback
from keras_residual.experiments.checkpoints import Checkpoints
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.time_left import duration
from keras_residual.experiments.worker import say

_LINE_EVERY = 30  # seconds


class EpochRecord(keras.callbacks.Callback):
    """Keeps the history, a checkpoint after each epoch, and the best network.

    It also prints a line after each epoch and during long ones, and raises
    `FloatingPointError` out of `fit` when the loss of a step is not finite.

    Args:
        checkpoints: Where the states go.
        history: What `checkpoints.restore` gave: one row for each epoch that is done.
            Rows of the losses, metrics, learning rate, seconds and images per second
            of the others follow.
        batch_size: Images in a step.
        monitor: Metric of the validation images; the network is best where it is
            largest.
        norms: The callback that records the gradient norms, if there is one. It says
            in which layer a loss came to be infinite.
        connection: The devices that train. The first host of several writes.
    """

    # What runs after a batch takes no state of the model. JAX calls it in threads, not
    # always in order.
    async_safe = True

    def __init__(
        self,
        checkpoints: Checkpoints,
        history: list[dict[str, Any]],
        batch_size: int,
        *,
        monitor: str = "val_accuracy",
        norms: GradientNormCallback | None = None,
        connection: Connection | None = None,
    ) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.history = history
        self.batch_size = batch_size
        self.monitor = monitor
        self.norms = norms
        self.connection = connection or Connection()
        self._infinite: tuple[int, int] | None = None  # epoch and batch, from 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Of the epoch's first step.
        rate = keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        self._rate = float(rate)
        self._epoch = epoch
        self._start = self._said = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if not math.isfinite(logs["loss"]):
            place = (self._epoch, batch)
            self._infinite = min(place, self._infinite or place)
            raise FloatingPointError
        now = time.monotonic()
        if now - self._said >= _LINE_EVERY:
            self._said = now
            seconds = now - self._start
            share = (batch + 1) / self.params["steps"]
            speed = self.batch_size * (batch + 1) / seconds
            words = f"step {batch + 1} of {self.params['steps']}, {speed:.0f} images/s"
            self._say(words, share, seconds / share)

    def on_test_begin(self, logs: Any = None) -> None:
        # A backend that computes ahead is not at the end of the epoch yet.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self._trained = time.monotonic()

    def on_test_end(self, logs: Any = None) -> None:
        # Here, where an average of the weights is still in their place.
        best = max((row[self.monitor] for row in self.history), default=-math.inf)
        if logs[self.monitor.removeprefix("val_")] > best and self.connection.is_writer:
            with self.connection.alone():
                self.checkpoints.save_best(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.monotonic() - self._start
        speed = self.batch_size * self.params["steps"] / (self._trained - self._start)
        logs["seconds"] = round(seconds, 3)
        logs["images_per_second"] = round(speed, 1)
        self.history.append({"epoch": epoch + 1, "learning_rate": self._rate, **logs})
        if self.norms is not None:
            # A training that goes on from this checkpoint goes on in their file, which
            # otherwise gets them only when the next ones are due.
            len(self.norms.steps)
        if self.connection.is_writer:
            with self.connection.alone():
                self.checkpoints.save(self.model, self.history)
        metric = self.monitor.removeprefix("val_").replace("_", " ")
        words = f"validation {metric} {logs[self.monitor]:.3f}, {speed:.0f} images/s"
        self._say(f"loss {logs['loss']:.3f}, {words}", 1, seconds)

    def _say(self, words: str, share: float, seconds: float) -> None:
        """Says how far the epoch is, and what is left at this many seconds an epoch."""
        epochs = self.params["epochs"]
        left = duration(seconds * (epochs - self._epoch - share))
        name = self.checkpoints.folder.name
        say(f"{name}: epoch {self._epoch + 1} of {epochs}, {words}; {left} left")

    def reason(self) -> str:
        """Which step's loss was not finite, and what the gradients say about it."""
        epoch, batch = self._infinite or (0, 0)
        update = epoch * self.params["steps"] + batch
        return (
            f"the loss is not finite in epoch {epoch + 1}, step {batch + 1} (update "
            f"{update}). {self._where()} Try a lower --learning-rate"
        )

    def _where(self) -> str:
        if self.norms is not None:
            # On JAX it brings the variables up to date, which `fit` did not come to do.
            self.norms.model  # noqa: B018
        if self.norms is None or not len(self.norms.steps):
            return "With --record-every 1 the layer is named."
        norms, steps, names = self.norms.norms, self.norms.steps, self.norms.names
        finite = np.isfinite(norms).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            # A gradient that is not finite spreads to all layers before it.
            last = int(np.flatnonzero(~np.isfinite(norms[row]))[-1])
            return (
                f"The gradient is not finite from update {steps[row]} on, seen from "
                f"the output first in the layer {names[last]}."
            )
        largest = int(np.argmax(norms[-1]))
        return (
            f"At the last record, update {steps[-1]}, the gradient was largest in the "
            f"layer {names[largest]}: its norm was {norms[-1, largest]:.3g}."
        )


def total_seconds(history: list[dict[str, Any]]) -> float:
    """Seconds of all epochs, also of those in a process that was killed."""
    return round(sum(row["seconds"] for row in history), 3)
