"""The networks of simulation 5: the baseline, and transfer from a backbone.

Its weights are those of ImageNet, of a file, or learnt from generated images.
"""

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_residual import TransferModel
from keras_residual.analysis import feature_maps
from keras_residual.datasets import shape_texture_images
from keras_residual.experiments import Checkpoints, StoppedError
from keras_residual.experiments.epoch_record import EpochRecord
from keras_residual.experiments.training import compile_classifier, fit_classifier

# Photos need some size to be told, in every preset.
PHOTO_SIZE = 160
PRETRAINED_SIZE = 224
HIDDEN_UNITS = 128
UNFREEZE = 20  # layers
WEIGHTS = "backbone.weights.h5"
TRAINING_SHARE = 0.9
BATCH_SIZE = 32
LEARNING_RATE = 0.001
# keras.applications sets up to 0.999, for trainings a hundred times as long: here the
# moving statistics would end far from those of the batches.
BATCH_NORM_MOMENTUM = 0.9
MAPS = 8


def baseline(image_size: int, num_classes: int) -> keras.Model:
    """Three convolutions of 32, 64 and 128 channels, and a dense layer of 512."""
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for index, filters in enumerate((32, 64, 128), start=1):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"conv{index}"
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(512, activation="relu", name="hidden")(x)
    x = keras.layers.Dense(num_classes, activation="softmax", name="classifier")(x)
    return keras.Model(inputs, x, name="baseline")


def transfer(
    mode: str, backbone: str, weights: str | None, image_size: int, num_classes: int
) -> TransferModel:
    """A backbone with a new head; with "fine_tuning" its last layers train as well."""
    tail: dict[str, Any] = {"unfreeze": UNFREEZE} if mode == "fine_tuning" else {}
    return TransferModel(
        backbone,
        num_classes,
        mode=mode,
        weights=weights,
        hidden_units=HIDDEN_UNITS,
        input_shape=(image_size, image_size, 3),
        **tail,
    )


def resolve_source(settings: Any, num_classes: int, before: str | None = None) -> str:
    """Where the backbone's weights come from: "ImageNet", "file" or "generated".

    Args:
        settings: The settings.
        num_classes: Number of classes.
        before: Where they came from in the run that goes on, if any.

    Raises:
        ConnectionError: If weights that were asked for cannot be had.
        ImportError: If what reads their file is not installed.
        OSError: If their file cannot be read.
        ValueError: If the backbone is unknown, or it or its weights do not fit.
    """
    size = settings.image_size

    def attempt(mode: str, weights: str | None, size: int) -> TransferModel:
        model = transfer(mode, settings.backbone, weights, size, num_classes)
        check_sizes(model.backbone, size)
        return model

    baseline(size, num_classes)
    attempt("scratch", None, size).unfreeze(UNFREEZE)
    generated = settings.source == "generated"
    free = settings.weights is None and not generated
    if free and before == "generated":
        # Whether the network can be reached must not change a run that goes on.
        print("The run that is there learns on generated images, and goes on so.")
        generated = True
    if not generated:
        weights = settings.weights or "imagenet"
        try:
            attempt("fine_tuning", weights, size)
        except (ConnectionError, ImportError, ValueError) as error:
            # No network, no reader of the file, or no such weights.
            if not free or before is not None:
                raise
            print(f"{error}\nInstead, the backbone learns on generated images.")
            generated = True
    if generated:
        attempt("scratch", None, settings.source_image_size)
        return "generated"
    return "ImageNet" if weights == "imagenet" else "file"


def warn_of_small_images(size: int, dataset: str) -> None:
    """Pretrained backbones tell little from pictures far below their own size."""
    if 2 * size < PRETRAINED_SIZE and dataset != "synthetic":
        print(
            f"Note: {size} pixels are less than half of the {PRETRAINED_SIZE} that "
            "most pretrained weights come from; transfer looks worse than it is. "
            f"Without --image-size photos have {PHOTO_SIZE}."
        )


def check_sizes(network: keras.Model, size: int) -> None:
    """Refuses what has pooled an image away, which some versions of Keras allow."""
    for layer in network.layers:
        if 0 in layer.output.shape:
            raise ValueError(
                f"{network.name} cannot take images of {size} pixels: nothing is left "
                f"of them behind its layer {layer.name}"
            )


def train_source(settings: Mapping[str, Any], partial: Path) -> Any:
    """Trains the backbone; the weights are among the files of the output.

    Args:
        settings: Those of the run.
        partial: Folder for the state after each epoch, from which a training that was
            killed goes on.
    """
    epochs, size = settings["source_epochs"], settings["source_image_size"]
    images, labels = shape_texture_images(
        settings["source_images"], settings["source_classes"], size
    )
    border = round(TRAINING_SHARE * len(images))
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = TransferModel(
        settings["backbone"],
        settings["source_classes"],
        mode="scratch",
        hidden_units=None,
        input_shape=(size, size, 3),
    )
    for layer in model.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    steps = epochs * (border // min(BATCH_SIZE, border))
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    compile_classifier(model, keras.optimizers.Adam(rate))
    checkpoints = Checkpoints(partial)
    history = checkpoints.restore(model)
    record = EpochRecord(checkpoints, history, BATCH_SIZE)
    try:
        fit_classifier(
            model,
            (images[:border], labels[:border]),
            (images[border:], labels[border:]),
            epochs=epochs,
            batch_size=BATCH_SIZE,
            seed=0,
            initial_epoch=len(history),
            callbacks=[DropoutByEpoch(), record],
        )
    except FloatingPointError as error:
        raise StoppedError(
            f"{record.reason()}: without a source no transfer"
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        model.backbone.save_weights(Path(folder) / WEIGHTS)
        weights = (Path(folder) / WEIGHTS).read_bytes()
    result = {
        "approach": "source",
        "accuracy": history[-1]["val_accuracy"],
        # Those of a process that was killed as well.
        "seconds": round(sum(row["seconds"] for row in history), 3),
    }
    return result, {"history.csv": pd.DataFrame(history), WEIGHTS: weights}


class DropoutByEpoch(keras.callbacks.Callback):
    """Random numbers by the epoch alone: no file keeps how many were drawn."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        for index, layer in enumerate(self.model.backbone.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign([index, epoch])


def first_maps(model: keras.Model, image: np.ndarray) -> dict[str, bytes]:
    """What the first layers make of one image, `(height, width, 3)`.

    Returns:
        Files with the maps behind the first convolution and behind the last layer at a
        quarter of the image's size: arrays `(8, height, width)` of the channels that
        vary most, in the order of their numbers.
    """
    network = model.backbone if isinstance(model, TransferModel) else model
    found: dict[str, keras.layers.Layer] = {}
    for layer in network.layers:
        shape = layer.output.shape
        if isinstance(layer, keras.layers.ZeroPadding2D) or len(shape) < 4:
            continue
        if isinstance(layer, keras.layers.Conv2D):
            found.setdefault("first.npy", layer)
        if round(image.shape[0] / shape[1]) == 4:
            found["quarter.npy"] = layer
    files = {}
    for name, layer in found.items():
        maps = feature_maps(model, image, layer)
        strongest = np.argsort(-maps.std((1, 2)))[:MAPS]
        np.save(file := io.BytesIO(), maps[np.sort(strongest)])
        files[name] = file.getvalue()
    return files
