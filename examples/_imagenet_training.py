"""One training of the ImageNet comparison, resumed from its last checkpoint."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from _imagenet_data import training_batches, validation_batches
from _imagenet_networks import build_network, compile_network
from _imagenet_recipes import Recipe, recipe_of

from keras_residual import GradientNormCallback, ImageNetFolder
from keras_residual.experiments import Checkpoints, StoppedError, say
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.run import duration

_OUT_OF_MEMORY = (
    *("out of memory", "resource_exhausted", "unable to allocate"),
    *("can't allocate memory", "cannot allocate memory"),
)
_LINE_EVERY = 30  # seconds
NORMS = "gradient_norms.csv"
DIVERGED = "diverged.txt"


class Diverged(Exception):
    """The loss is not finite. The message names the step and the first such layer."""

    def __init__(self, message: str, history: list[dict[str, Any]]) -> None:
        super().__init__(message)
        self.history = history


def train_network(
    network: str,
    seed: int,
    settings: Mapping[str, Any],
    data: ImageNetFolder,
    state: Path,
    connection: Connection,
    tensorboard: Path | None = None,
) -> tuple[keras.Model, list[dict[str, Any]]]:
    """Trains to the end and returns the network and one row for each epoch.

    Args:
        network: "plain", "resnet" or "resnet-cutout".
        seed: Seed of the initial weights, the image order, the crops and Cutout.
        settings: Settings of the run.
        data: Images with the splits "train" and "val".
        state: Folder of this training's checkpoints.
        connection: Connection of the devices, see `_devices`.
        tensorboard: Folder of the TensorBoard summaries, or None.

    Raises:
        Diverged: If the loss is not finite.
        StoppedError: If memory or disk space runs out, or the last checkpoint is
            damaged. The checkpoints are kept.
    """
    recipe = recipe_of(settings)
    checkpoints = Checkpoints(state)
    steps = settings["steps_per_epoch"]
    keras.utils.clear_session()
    keras.config.set_dtype_policy(recipe.precision)
    with connection.scope():
        model = build_network(network, settings, seed)
        compile_network(model, recipe, steps)
        history = checkpoints.restore(model)
    # A digest: nobody would see the one setting that differs among all.
    text = json.dumps(settings, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    connection.agree("settings", f"settings with the digest {digest[:12]}")
    # All hosts must read the same folder, or they would train separately.
    connection.agree("checkpoint", f"of {state.name} after epoch {len(history)}")
    if (state / DIVERGED).is_file():
        raise Diverged((state / DIVERGED).read_text("utf-8"), history)
    first = len(history)
    if history:
        say(f"{state.name}: goes on after epoch {first}")
    if first == recipe.epochs:
        if recipe.ema_epochs:
            # `fit` does this at its end: the average is evaluated and kept.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return model, history
    writes = connection.is_writer
    state.mkdir(parents=True, exist_ok=True)
    norms = None
    if settings["record_every"]:
        norms = GradientNormCallback(
            every=settings["record_every"],
            by="layer",
            filepath=state / NORMS if writes else None,
        )
    callbacks: list[keras.callbacks.Callback] = [
        Speed(steps * recipe.batch_size),
        EpochRecord(history, checkpoints if writes else None, connection, norms),
        Progress(state.name, steps, recipe),  # says what is kept already
        finite := StopIfNotFinite(),
    ]
    if norms is not None:
        callbacks.append(norms)
    if recipe.ema_epochs:
        # After `EpochRecord`, which keeps the best network at the end of a test.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    if tensorboard is not None and writes:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    training = training_batches(data, settings, seed, first * steps, connection.shard)
    validation = connection.validation(
        validation_batches(data, settings, recipe.batch_size, shard=connection.shard),
        data.num_images("val"),
        recipe.batch_size,
    )
    try:
        with connection.scope(), _memory_said(recipe.batch_size):
            model.fit(
                training,
                initial_epoch=first,
                epochs=recipe.epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=callbacks,
                shuffle=False,  # the images come in a random order
                verbose=0,
            )
    except FloatingPointError as error:
        reason = _not_finite(finite.first, steps, norms)
        if writes:
            # Tells the one host that measures, and the next start.
            (state / DIVERGED).write_text(reason, "utf-8")
        raise Diverged(reason, history) from error
    return model, history


class Speed(keras.callbacks.Callback):
    """Adds the seconds and the number of training images of each epoch to the logs."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self._images = images

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.monotonic()
        self._validation = 0.0

    def on_test_begin(self, logs: Any = None) -> None:
        # A backend that computes ahead is not at the end of the epoch yet.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        self._test_start = time.monotonic()

    def on_test_end(self, logs: Any = None) -> None:
        self._validation += time.monotonic() - self._test_start

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        seconds = time.monotonic() - self._start
        logs["seconds"] = round(seconds, 3)
        logs["images_per_second"] = round(
            self._images / (seconds - self._validation), 1
        )


class Progress(keras.callbacks.Callback):
    """Prints a line after each epoch, and during long epochs."""

    async_safe = True  # it takes no state of the model while batches run

    def __init__(self, name: str, steps: int, recipe: Recipe) -> None:
        super().__init__()
        self._name = name
        self._steps = steps
        self._recipe = recipe

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._start = self._said = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = time.monotonic()
        if now - self._said < _LINE_EVERY:
            return
        self._said = now
        done = (batch + 1) / self._steps
        seconds = now - self._start
        left = seconds / done * (self._recipe.epochs - self._epoch - done)
        speed = self._recipe.batch_size * (batch + 1) / seconds
        self._say(
            f"step {batch + 1} of {self._steps}, {speed:.0f} images/s; "
            f"{duration(left)} left"
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        left = logs["seconds"] * (self._recipe.epochs - epoch - 1)
        self._say(
            f"loss {logs['loss']:.3f}, validation top-1 {logs['val_top1']:.3f}, "
            f"{logs['images_per_second']:.0f} images/s; {duration(left)} left"
        )

    def _say(self, words: str) -> None:
        epochs = f"epoch {self._epoch + 1} of {self._recipe.epochs}"
        say(f"{self._name}: {epochs}, {words}")


class EpochRecord(keras.callbacks.Callback):
    """Keeps the history, a checkpoint after each epoch, and the best network."""

    def __init__(
        self,
        history: list[dict[str, Any]],
        checkpoints: Checkpoints | None,
        connection: Connection,
        norms: GradientNormCallback | None,
    ) -> None:
        super().__init__()
        self._norms = norms
        self._alone = connection.alone
        self._history = history
        self._checkpoints = checkpoints

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Of the epoch's first step.
        self._rate = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )

    def on_test_end(self, logs: Any = None) -> None:
        best = max((row["val_top1"] for row in self._history), default=-math.inf)
        if self._checkpoints is not None and logs["top1"] > best:
            with self._alone():
                self._checkpoints.save_best(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        row = {"epoch": epoch + 1, "learning_rate": self._rate, **logs}
        self._history.append(row)
        if self._norms is not None:
            # A training that goes on from this checkpoint goes on in their file, which
            # otherwise gets them only when the next ones are due.
            len(self._norms.steps)
        if self._checkpoints is not None:
            with self._alone():
                self._checkpoints.save(self.model, self._history)


class StopIfNotFinite(keras.callbacks.Callback):
    """Ends a training whose loss is NaN or infinite.

    Attributes:
        first: Epoch and batch of the first such loss, counted from 0.
    """

    # It takes no state of the model. JAX calls it in threads, not always in order.
    async_safe = True

    def __init__(self) -> None:
        super().__init__()
        self.first: tuple[int, int] | None = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if math.isfinite(logs["loss"]):
            return
        place = (self._epoch, batch)
        self.first = min(place, self.first or place)
        raise FloatingPointError


def _not_finite(
    place: tuple[int, int] | None, steps: int, norms: GradientNormCallback | None
) -> str:
    epoch, batch = place or (0, 0)
    return (
        f"the loss is not finite in epoch {epoch + 1}, step {batch + 1} (update "
        f"{epoch * steps + batch}). {_where(norms)} Try a lower --learning-rate"
    )


def _where(callback: GradientNormCallback | None) -> str:
    """Returns the first layer whose recorded gradient was not finite."""
    if callback is not None:
        # On JAX it brings the variables up to date, which `fit` did not come to do.
        callback.model  # noqa: B018
    if callback is None or not len(callback.steps):
        return "With --record-every 1 the layer is named."
    norms, steps = callback.norms, callback.steps
    finite = np.isfinite(norms).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        # A gradient that is not finite spreads to all layers before it.
        last = int(np.flatnonzero(~np.isfinite(norms[row]))[-1])
        return (
            f"The gradient is not finite from update {steps[row]} on, seen from the "
            f"output first in the layer {callback.names[last]}."
        )
    largest = int(np.argmax(norms[-1]))
    return (
        f"At the last record, update {steps[-1]}, the gradient was largest in the "
        f"layer {callback.names[largest]}: its norm was {norms[-1, largest]:.3g}."
    )


@contextlib.contextmanager
def _memory_said(batch_size: int):
    try:
        yield
    except StoppedError:
        raise
    except Exception as error:
        # Each backend has its own exceptions for this; their texts are alike.
        if not any(words in str(error).lower() for words in _OUT_OF_MEMORY):
            raise
        advice = (
            f"try --batch-size {batch_size // 2}"
            if batch_size > 1
            else "try a smaller --image-size"
        )
        raise StoppedError(
            f"out of memory with {batch_size} images in a step: {advice}"
        ) from error
