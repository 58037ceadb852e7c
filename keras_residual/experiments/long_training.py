"""A training of many epochs that goes on where it was stopped, on one or many devices.

`recipes.compile_by_recipe` compiles the network that it trains.
"""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_residual.callbacks.gradient_norm import GradientNormCallback
from keras_residual.experiments.checkpoints import Checkpoints
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.epoch_record import EpochRecord, total_seconds
from keras_residual.experiments.worker import say

NORMS = "gradient_norms.csv"
DIVERGED = "diverged.txt"
DEVICES = "devices.txt"


def fit_from_checkpoint(
    model: keras.Model,
    training: Callable[[int], Any],
    validation: Any,
    state: Path,
    settings: Mapping[str, Any],
    *,
    connection: Connection | None = None,
    tensorboard: Path | None = None,
) -> tuple[list[dict[str, Any]], str]:
    """Trains to the end, from the last checkpoint on.

    Args:
        model: The network, compiled.
        training: From a step to the batches from that step on, without end; this
            host's part of them.
        validation: What `fit` validates with.
        state: Folder for the checkpoints, the network with the best top-1 and the
            gradient norms of this training.
        settings: Those of a `Recipe`, and "steps_per_epoch".
        connection: The devices; one by default.
        tensorboard: Folder of the TensorBoard summaries, or None.

    Returns:
        One row for each epoch; and why the training ended early, if it diverged.

    Raises:
        StoppedError: If the disk is full, or the last checkpoint damaged.
    """
    connection = connection or Connection()
    checkpoints = Checkpoints(state)
    with connection.scope():
        history = checkpoints.restore(model)
    first, epochs = len(history), settings["epochs"]
    # All hosts must read the same folder, or they would train separately.
    connection.agree({"checkpoint": f"of {state.name} after epoch {first}"})
    if (state / DIVERGED).is_file():
        return history, (state / DIVERGED).read_text("utf-8")
    if history:
        say(f"{state.name}: continues after epoch {first}")
    if first == epochs:
        if settings["ema_epochs"]:
            # `fit` does this at its end: the average is evaluated and kept.
            model.optimizer.finalize_variable_values(model.trainable_variables)
        return history, ""
    state.mkdir(parents=True, exist_ok=True)
    if connection.is_writer:
        # One host alone reports on what all of them trained.
        (state / DEVICES).write_text(connection.describe(), "utf-8")
    norms = None
    if settings["record_every"]:
        norms = GradientNormCallback(
            every=settings["record_every"],
            by="layer",
            filepath=state / NORMS if connection.is_writer else None,
        )
    steps = settings["steps_per_epoch"]
    record = EpochRecord(
        *(checkpoints, history, settings["batch_size"]),
        monitor="val_top1",
        norms=norms,
        connection=connection,
    )
    callbacks: list[Any] = [record, norms] if norms is not None else [record]
    if settings["ema_epochs"]:
        # After the record, which keeps the best network at the end of a validation.
        callbacks.append(keras.callbacks.SwapEMAWeights())
    if tensorboard is not None and connection.is_writer:
        callbacks.append(keras.callbacks.TensorBoard(tensorboard))
    try:
        with connection.scope():
            model.fit(
                training(first * steps),
                initial_epoch=first,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=callbacks,
                shuffle=False,  # the batches come in their order
                verbose=0,
            )
    except FloatingPointError:
        if connection.is_writer:
            # Tells the one host that measures, and the next start.
            (state / DIVERGED).write_text(record.reason(), "utf-8")
        return history, record.reason()
    return history, ""


def summary(history: list[dict[str, Any]], diverged: str) -> dict[str, Any]:
    """Results of a training from what `fit_from_checkpoint` returned.

    Args:
        history: One row for each epoch.
        diverged: Why it ended early, or "".

    Returns:
        "seconds", "top1" of the validation images after the last epoch, "best_top1",
        "best_epoch" and "images_per_second". If it diverged "diverged" and "reason" in
        place of numbers.
    """
    result: dict[str, Any] = {"seconds": total_seconds(history)}
    if diverged:
        return {**result, "diverged": True, "reason": diverged, "top1": None}
    best = max(history, key=lambda row: row["val_top1"])
    speed = statistics.median(row["images_per_second"] for row in history)
    return {
        **result,
        "top1": history[-1]["val_top1"],
        "best_top1": best["val_top1"],
        "best_epoch": best["epoch"],
        "images_per_second": speed,
    }
