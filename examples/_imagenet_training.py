"""One training of the ImageNet comparison, and what is measured of it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_residual import ImageNetFolder
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.images import batches
from keras_residual.experiments.long_training import fit_from_checkpoint
from keras_residual.experiments.measuring import (
    accuracies,
    accuracy_under_occlusion,
    classify,
)
from keras_residual.experiments.training import spread

PICTURES = "pictures.npz"
NUM_PICTURES = 24
# ImageNet's channels, for values from 0 to 1, as torchvision's weights expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What Cutout fills in once the means are taken out.
FILL = tuple(round(255 * mean) for mean in MEAN)


def fit(
    model: keras.Model,
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    seed: int,
    state: Path,
    connection: Connection,
    tensorboard: Path | None = None,
) -> tuple[list[dict[str, Any]], str]:
    """Trains on these images, as `fit_from_checkpoint` does; the seed orders them."""
    import tensorflow as tf

    size, crop = settings["batch_size"], settings["crop_area"]

    def read(split: str, **how: Any) -> Any:
        """Labels as Keras's loss with label smoothing takes them."""
        shared = batches(data, settings, split, size, shard=connection.shard, **how)
        return shared.map(
            lambda images, labels: (images, tf.one_hot(labels, data.num_classes))
        )

    def training(first_step: int) -> Any:
        return read(
            "train",
            training=True,
            seed=seed,
            first_step=first_step,
            crop_area=(crop, 1.0) if crop else None,
        )

    return fit_from_checkpoint(
        *(model, training),
        connection.validation(read("val"), data.num_images("val"), size),
        *(state, settings),
        connection=connection,
        tensorboard=tensorboard,
    )


def images_to_compare(data: ImageNetFolder) -> int:
    """How many training images of each class are as many as the validation images."""
    there = np.bincount(data.labels("train"), minlength=data.num_classes).min()
    return min(int(there), max(1, round(data.num_images("val") / data.num_classes)))


def measure(
    model: keras.Model,
    data: ImageNetFolder,
    few: ImageNetFolder,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and files of one trained network.

    Args:
        model: From uint8 images to logits.
        data: Most measurements use its split "val".
        few: Its split "train" holds some training images of every class.
        settings: Settings of the run.
    """
    places = spread(data.num_images("val"), NUM_PICTURES)
    predictions, pictures = classify(model, batches(data, settings), places.tolist())
    training, _ = classify(model, batches(few, settings, "train"))
    found = accuracies(predictions)
    occlusion = accuracy_under_occlusion(
        *(model, batches(data, settings), settings["occlusion"], FILL),
        whole=found["top1"],
    )
    np.savez(file := io.BytesIO(), images=pictures, places=places)
    return {**found, "train_top1": accuracies(training)["top1"]}, {
        "predictions.csv": predictions,
        "occlusion.csv": occlusion,
        PICTURES: file.getvalue(),
    }
