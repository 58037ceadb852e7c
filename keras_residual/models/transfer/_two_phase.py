"""Training in phases: the head alone, then also the tail of the backbone."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_residual._atomic_file import atomic_file
from keras_residual.layers._checks import (
    check_positive_integer,
    check_positive_number,
    check_share,
)
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer import _blocks as parts
from keras_residual.models.transfer._cached_features import CachedFeatures
from keras_residual.models.transfer._first_batch import first_batch

# Default learning rate of the tail, as a share of the head's.
_TAIL_RATE = 0.1
# Beside a backup of a later phase: the epochs with which the phases began.
_TAIL_FILE = "tail_epoch.txt"


def fit_two_phase(
    self,
    x,
    y=None,
    *,
    epochs: tuple[int, ...] = (5, 5),
    unfreeze: int | str | Sequence = 20,
    unfreeze_unit: str = "layer",
    learning_rate: float | None = None,
    learning_rate_decay: float = 1.0,
    cache: bool = False,
    **fit_arguments,
) -> keras.callbacks.History:
    """Trains the head alone, then the head and the tail of the backbone.

    It calls `freeze`, `fit`, `unfreeze`, lowers `optimizer.learning_rate` and calls
    `fit` again: an untrained head would spoil the pretrained weights below it. A
    sequence as `unfreeze` unfreezes the backbone gradually, with a phase for each
    number.

    Args:
        x: Images in an array, or a data set; not a generator, since it is read twice.
        y: Labels, if the images are an array.
        epochs: Two positive integers: epochs of the head, and then of the tail. With a
            sequence as `unfreeze`, one more integer for each further phase.
        unfreeze: Positive integer or `"all"`: how many units train in the second phase,
            as in `unfreeze`. A sequence such as `(1, 2, "all")`: how many train in the
            second phase, the third and so on.
        unfreeze_unit: `"layer"`, `"conv"`, `"block"` or `"stage"`.
        learning_rate: Positive number, for all phases but the first. None: a tenth of
            the optimizer's learning rate at the time of the call.
        learning_rate_decay: Number in `(0, 1]`, as in `unfreeze`.
        cache: Whether the head trains on features that are computed once, as in
            `cache_features`. Random augmentation of the data set then happens once, not
            in each epoch.
        **fit_arguments: Arguments of `fit` for all phases, such as `batch_size`,
            `validation_data`, `callbacks` and `verbose`. With the callback
            `keras.callbacks.BackupAndRestore` and a local folder, a killed training
            continues in its phase when it is run again.

    Returns:
        One history of all phases with consecutive epochs. Its attribute `tail_epoch` is
        the first epoch of the second phase; `phase_epochs` lists the first epoch of
        each phase but the first.

    Raises:
        ValueError: Before any training, if the model is not compiled, its learning rate
            cannot be set (a schedule), it trains from scratch, or an argument is
            outside its range.

    Reference:
        Howard and Ruder, "Universal Language Model Fine-tuning for Text
        Classification", ACL 2018, section 3.3 (gradual unfreezing).
        <https://arxiv.org/abs/1801.06146>
    """
    head_epochs, *tail_epochs = _check_epochs(epochs, unfreeze)
    counts: Any = unfreeze if isinstance(unfreeze, (list, tuple)) else [unfreeze]
    arguments.check_rate_is_a_number(self, "fit_two_phase")
    for count in counts:
        arguments.check_unfreeze(count, unfreeze_unit, ("unfreeze", "unfreeze_unit"))
        parts.tail(self.backbone, count, unfreeze_unit)
    check_share("learning_rate_decay", learning_rate_decay)
    if learning_rate is not None:
        check_positive_number("learning_rate", learning_rate)
    _check_fit(self, x, fit_arguments, cache)
    if learning_rate is None:
        rate = keras.ops.convert_to_numpy(self.optimizer.learning_rate)
        learning_rate = _TAIL_RATE * float(rate)

    files = list(_tail_files(fit_arguments.get("callbacks")))
    met = _interrupted_tail(files)
    histories = []
    if not met:
        if self.backbone.trainable_variables:
            self.freeze()
        if cache:
            data = _cached(self, x, y, fit_arguments)
            histories.append(self.fit(epochs=head_epochs, **data))
        else:
            histories.append(self.fit(x, y, epochs=head_epochs, **fit_arguments))
        met = [_end_of_phase(self, histories[-1], head_epochs, files, [])]
    for phase in range(len(met) - 1, len(counts)):
        self.unfreeze(
            counts[phase], unfreeze_unit, learning_rate_decay=learning_rate_decay
        )
        self.optimizer.learning_rate = learning_rate
        end = met[phase] + tail_epochs[phase]
        options = {**fit_arguments, "initial_epoch": met[phase]}
        histories.append(self.fit(x, y, epochs=end, **options))
        if phase + 1 < len(counts):
            met.append(_end_of_phase(self, histories[-1], end, files, met))
    self.history = _joined(histories, met)
    return self.history


def _end_of_phase(model, history, planned, files, met) -> int:
    """The first epoch of the next phase, also written beside the backups."""
    # A callback may have stopped the phase earlier.
    end = history.epoch[-1] + 1 if history.epoch else planned
    # BackupAndRestore set it, and every later `fit` would begin there.
    model._initial_epoch = None
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            temporary.write_text(" ".join(map(str, [*met, end])))
    return end


def _tail_files(callbacks) -> Iterator[Path]:
    """One file in the folder of each backup on this machine."""
    for callback in keras.tree.flatten(callbacks):
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            folder = str(callback.backup_dir)
            if "://" not in folder:
                yield Path(folder, _TAIL_FILE)


def _interrupted_tail(tail_files) -> list[int]:
    """The first epochs of the phases, if there is a backup of a later phase.

    Restored in the first phase, it would lose the optimizer's state, which belongs to
    other variables.
    """
    for file in tail_files:
        if file.exists():
            if len(list(file.parent.iterdir())) > 1:
                return [int(number) for number in file.read_text().split()]
            file.unlink()  # killed before a backup of the phase: start from the head
    return []


def _check_epochs(epochs, unfreeze):
    phases = 1 + (len(unfreeze) if isinstance(unfreeze, (list, tuple)) else 1)
    if not isinstance(epochs, (tuple, list)) or len(epochs) != phases or phases < 2:
        number = "two" if phases <= 2 else str(phases)
        raise ValueError(
            f"`epochs` must be {number} positive integers, for the head and for the "
            f"tail. Received: epochs={epochs!r}, unfreeze={unfreeze!r}"
        )
    return [check_positive_integer("epochs", number) for number in epochs]


def _check_fit(model, x, fit, cache):
    if model.mode == "scratch":
        raise ValueError(
            "`mode` must not be 'scratch' for `fit_two_phase`, which first trains a "
            "head on pretrained weights. Received: mode='scratch'"
        )
    if "initial_epoch" in fit:
        raise ValueError(
            "`initial_epoch` must be left out: `epochs` sets the length of each phase. "
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
    if (
        cache
        and isinstance(validation, (tuple, list))
        and len(validation) not in (2, 3)
    ):
        raise ValueError(
            "`validation_data` must be a pair of images and labels, these and weights, "
            f"or a data set, with cache=True. Received: a {type(validation).__name__} "
            f"of {len(validation)}"
        )
    for name in ("steps_per_epoch", "validation_steps", "validation_split"):
        if cache and fit.get(name):
            raise ValueError(
                f"`{name}` must be left out with cache=True, which reads all of the "
                f"data once. Received: {name}={fit[name]!r}"
            )


def _cached(model, x, y, fit):
    """Arguments of `fit` with features in place of images."""
    batch_size = fit.get("batch_size")
    if batch_size is None:
        # A data set's own batches, so that the head trains as it would on images.
        batch_size = 32 if y is not None else len(first_batch(x, y)[0])
    fit = {**fit, "x": model.cache_features(x, y, batch_size=batch_size)}
    validation = fit.get("validation_data")
    if validation is not None:
        data = validation if isinstance(validation, (tuple, list)) else (validation,)
        weights = data[2] if len(data) == 3 else None
        fit["validation_data"] = model.cache_features(
            *data[:2], sample_weight=weights, batch_size=batch_size
        )
    return {**fit, "batch_size": batch_size}


def _joined(histories, met):
    history = keras.callbacks.History()
    history.set_params(histories[-1].params)
    history.set_model(histories[-1].model)
    history.epoch = [epoch for part in histories for epoch in part.epoch]
    names = {name: None for part in histories for name in part.history}
    history.history = {
        name: [value for part in histories for value in part.history.get(name, [])]
        for name in names
    }
    history.tail_epoch = met[0]
    history.phase_epochs = met
    return history
