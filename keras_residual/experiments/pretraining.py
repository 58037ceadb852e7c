"""Weights of a backbone: whether they are to be had, and training them if not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_residual.experiments.checkpoints import Checkpoints
from keras_residual.experiments.epoch_record import EpochRecord, total_seconds
from keras_residual.experiments.tasks import Output, StoppedError
from keras_residual.experiments.training import (
    begin_training,
    compile_classifier,
    fit_classifier,
)
from keras_residual.models.transfer.transfer_model import TransferModel

WEIGHTS = "backbone.weights.h5"
GENERATED = "generated"
_PRETRAINED_SIZE = 224
# keras.applications sets up to 0.999, for trainings a hundred times as long: here the
# moving statistics would end far from those of the batches.
_BATCH_NORM_MOMENTUM = 0.9


def find_weights(
    load: Callable[[str], Any], weights: str | None, before: str | None
) -> str:
    """Where the weights of a backbone come from: "ImageNet", "file" or "generated".

    Args:
        load: Builds a network with the weights: of ImageNet, or of the file of a name.
        weights: Those that are asked for, if any: no others will do.
        before: Where they came from in the run that goes on, if any. Whether a network
            can be reached must not change such a run.

    Raises:
        ConnectionError, ImportError, ValueError: As `load` raises them, if weights were
            asked for, or a run goes on.
    """
    if weights is None and before == GENERATED:
        print("The run that is there learns on generated images, and goes on so.")
        return GENERATED
    try:
        load(weights or "imagenet")
    except (ConnectionError, ImportError, ValueError) as error:
        # No network, no reader of the file, or no such weights.
        if weights is not None or before is not None:
            raise
        print(f"{error}\nInstead, the backbone learns on generated images.")
        return GENERATED
    return "ImageNet" if weights in (None, "imagenet") else "file"


def note_small_images(size: int, usual: int) -> None:
    """Notes that pretrained backbones tell little from images far below their size."""
    if 2 * size < _PRETRAINED_SIZE:
        print(
            f"Note: {size} pixels are less than half of the {_PRETRAINED_SIZE} that "
            "most pretrained weights come from; transfer looks worse than it is. "
            f"Without --image-size photos have {usual}."
        )


def pretrain_backbone(
    backbone: str,
    images: np.ndarray,
    labels: np.ndarray,
    states: str | Path,
    *,
    num_classes: int | None = None,
    epochs: int = 5,
    held_out: float = 0.1,
    batch_size: int = 32,
    learning_rate: float = 0.001,
    seed: int = 0,
) -> Output:
    """Trains a backbone from new weights; for use in the function that trains a task.

    A training that was killed continues after the last epoch that is done, and ends
    with the same numbers.

    Args:
        backbone: Name of a network, as `TransferModel` takes it.
        images: Images, `(n, height, width, 3)`, with values from 0 to 255.
        labels: Integer labels, `(n,)`.
        states: Folder of the checkpoints.
        num_classes: Number of classes; by default, one more than the largest label.
        epochs: Number of epochs.
        held_out: Share of the images, at their end, that validate.
        batch_size: Images in a step.
        learning_rate: Learning rate of Adam at the first step; it falls to 0.
        seed: Seed of the weights and of the order.

    Returns:
        The output of a task: "accuracy" on the images held out, "seconds", and the
        files "history.csv" and "backbone.weights.h5".

    Raises:
        StoppedError: If the loss is not finite, or a checkpoint is damaged.

    Example:
        ```python
        import tempfile
        from keras_residual.datasets import shape_texture_images
        from keras_residual.experiments import pretrain_backbone

        images, labels = shape_texture_images(20, 2, 32)
        states = tempfile.mkdtemp()
        result, files = pretrain_backbone("resnet18", images, labels, states, epochs=1)
        print(result["accuracy"], list(files))
        ```
    """
    border = round((1 - held_out) * len(images))
    begin_training(seed)
    model = TransferModel(
        backbone,
        num_classes or int(labels.max()) + 1,
        mode="scratch",
        hidden_units=None,
        input_shape=images.shape[1:],
    )
    for layer in model.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = _BATCH_NORM_MOMENTUM
    steps = epochs * (border // min(batch_size, border))
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    compile_classifier(model, keras.optimizers.Adam(rate))
    checkpoints = Checkpoints(Path(states))
    history = checkpoints.restore(model)
    record = EpochRecord(checkpoints, history, batch_size)
    try:
        fit_classifier(
            model,
            (images[:border], labels[:border]),
            (images[border:], labels[border:]),
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            initial_epoch=len(history),
            callbacks=[DropoutByEpoch(), record],
        )
    except FloatingPointError as error:
        raise StoppedError(f"{record.reason()}: the backbone learnt nothing") from error
    file = checkpoints.folder / WEIGHTS
    model.backbone.save_weights(file)
    result = {
        "accuracy": history[-1]["val_accuracy"],
        "seconds": total_seconds(history),
    }
    return result, {"history.csv": pd.DataFrame(history), WEIGHTS: file.read_bytes()}


class DropoutByEpoch(keras.callbacks.Callback):
    """Random numbers by the epoch alone: no file keeps how many were drawn."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for index, layer in enumerate(self.model.backbone.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([index, epoch])
