"""Training in two phases: the head alone, then also the tail of the backbone."""

from collections.abc import Iterator
from pathlib import Path

import keras

from keras_residual._atomic_file import atomic_file
from keras_residual.layers._checks import (
    check_positive_integer,
    check_positive_number,
)
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer import _blocks as parts
from keras_residual.models.transfer._cached_features import CachedFeatures
from keras_residual.models.transfer._first_batch import first_batch

# Of the learning rate of the head, where no other is given for the tail.
_TAIL_RATE = 0.1
# Beside a backup that was written in the second phase: the epoch that it began with.
_TAIL_FILE = "tail_epoch.txt"


def fit_two_phase(
    model, x, y, epochs, unfreeze, unfreeze_unit, learning_rate, decay, cache, fit
) -> keras.callbacks.History:
    """Trains a TransferModel in two calls of `fit`, with the arguments in `fit`."""
    head_epochs, tail_epochs = _check_epochs(epochs)
    arguments.check_rate_is_a_number(model, "fit_two_phase")
    arguments.check_unfreeze(unfreeze, unfreeze_unit, ("unfreeze", "unfreeze_unit"))
    parts.tail(model.backbone, unfreeze, unfreeze_unit)
    arguments.check_decay(decay)
    if learning_rate is not None:
        check_positive_number("learning_rate", learning_rate)
    _check_fit(model, x, fit, cache)
    if learning_rate is None:
        rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
        learning_rate = _TAIL_RATE * float(rate)

    tail_files = list(_tail_files(fit.get("callbacks")))
    met = _interrupted_tail(tail_files)
    if met is not None:
        head = keras.callbacks.History()
        head.on_train_begin()  # without an epoch
    else:
        if model.backbone.trainable_variables:
            model.freeze()
        if cache:
            head = model.fit(epochs=head_epochs, **_cached(model, x, y, fit))
        else:
            head = model.fit(x, y, epochs=head_epochs, **fit)
        # A callback may have stopped it earlier.
        met = head.epoch[-1] + 1 if head.epoch else head_epochs
        # Where BackupAndRestore began, and every later `fit` would begin too.
        model._initial_epoch = None
        for file in tail_files:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(file) as temporary:
                temporary.write_text(str(met))
    model.unfreeze(unfreeze, unfreeze_unit, learning_rate_decay=decay)
    model.optimizer.learning_rate = learning_rate
    tail = model.fit(x, y, epochs=met + tail_epochs, initial_epoch=met, **fit)
    model.history = _joined(head, tail, met)
    return model.history


def _tail_files(callbacks) -> Iterator[Path]:
    """One file in the folder of each backup on this machine."""
    for callback in keras.tree.flatten(callbacks):
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            folder = str(callback.backup_dir)
            if "://" not in folder:
                yield Path(folder, _TAIL_FILE)


def _interrupted_tail(tail_files) -> int | None:
    """The epoch that the tail began with, if there is a backup of its training.

    BackupAndRestore would restore that to the head: without the optimizer's state,
    which is of other variables.
    """
    for file in tail_files:
        if file.exists():
            if len(list(file.parent.iterdir())) > 1:
                return int(file.read_text())
            file.unlink()  # the tail came to no backup: all begins again
    return None


def _check_epochs(epochs):
    if not isinstance(epochs, (tuple, list)) or len(epochs) != 2:
        raise ValueError(
            "`epochs` must be two positive integers, for the head and for the tail. "
            f"Received: epochs={epochs!r}"
        )
    return [check_positive_integer("epochs", number) for number in epochs]


def _check_fit(model, x, fit, cache):
    if model.mode == "scratch":
        raise ValueError(
            "`fit_two_phase` must have a backbone with trained weights, which the head "
            "learns to use before they change. Received: a model with mode='scratch'"
        )
    if "initial_epoch" in fit:
        raise ValueError(
            "`initial_epoch` must be left out: `epochs` says how long each phase is. "
            f"Received: initial_epoch={fit['initial_epoch']!r}"
        )
    for name, data in (("x", x), ("validation_data", fit.get("validation_data"))):
        arguments.check_read_again(name, data)
        if isinstance(data, CachedFeatures):
            raise ValueError(
                f"`{name}` must be images, which the tail trains on (cache=True caches "
                f"their features for the head). Received: {name} of cached features"
            )
    validation = fit.get("validation_data")
    if cache and isinstance(validation, (tuple, list)) and len(validation) != 2:
        raise ValueError(
            "`validation_data` must be a pair of images and labels, or a data set, "
            f"with cache=True. Received: a {type(validation).__name__} of "
            f"{len(validation)}"
        )
    for name in ("steps_per_epoch", "validation_steps", "validation_split"):
        if cache and fit.get(name):
            raise ValueError(
                f"`{name}` must be left out with cache=True, which reads all of the "
                f"data once. Received: {name}={fit[name]!r}"
            )


def _cached(model, x, y, fit):
    """The arguments of `fit` with features in place of images."""
    batch_size = fit.get("batch_size")
    if batch_size is None:
        # A data set's own batches, so that the head trains as it would on images.
        batch_size = 32 if y is not None else len(first_batch(x, y)[0])
    fit = {**fit, "x": model.cache_features(x, y, batch_size=batch_size)}
    validation = fit.get("validation_data")
    if validation is not None:
        data = validation if isinstance(validation, (tuple, list)) else (validation,)
        fit["validation_data"] = model.cache_features(*data, batch_size=batch_size)
    return {**fit, "batch_size": batch_size}


def _joined(head, tail, met):
    history = keras.callbacks.History()
    history.set_params(tail.params)
    history.set_model(tail.model)
    history.epoch = [*head.epoch, *tail.epoch]
    history.history = {
        name: [*head.history.get(name, []), *tail.history.get(name, [])]
        for name in {**head.history, **tail.history}
    }
    history.tail_epoch = met
    return history
