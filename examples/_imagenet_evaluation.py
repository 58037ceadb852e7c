"""Measures a trained network of the ImageNet comparison beyond its accuracy."""

import io
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from _imagenet_data import validation_batches
from _imagenet_networks import MEAN, TOP

from keras_residual import Cutout, ImageNetFolder
from keras_residual.analysis.statistics import expected_calibration_error

PICTURES, PICTURE_INDICES = "pictures.npy", "picture_indices.npy"
_NUM_PICTURES = 24
_MOST = 256  # images in a step on one device; trainings may have many devices
FILL = tuple(
    round(255 * mean) for mean in MEAN
)  # Cutout's fill, before the means are subtracted


def evaluate(
    model: keras.Model,
    data: ImageNetFolder,
    few: ImageNetFolder,
    settings: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the results and files of one network.

    Args:
        model: From uint8 images to logits.
        data: Most measurements use its split "val".
        few: Its split "train" holds some training images of every class.
        settings: Settings of the run.
    """
    size = min(_MOST, settings["batch_size"])
    probabilities, labels, places, pictures = _predict(
        model, validation_batches(data, settings, size), data.num_images("val")
    )
    training, training_labels, _, _ = _predict(
        model, validation_batches(few, settings, size, split="train")
    )
    predictions = _table(probabilities, labels)
    correct = (predictions["predicted_1"] == labels).to_numpy()
    result = {
        **_accuracies(probabilities, labels),
        "train_top1": _accuracies(training, training_labels)["top1"],
        "ece": math.nan,
    }
    if math.isfinite(result["top1"]):
        confidence = predictions["confidence"]
        result["ece"] = expected_calibration_error(confidence, correct)
    files = {
        "predictions.csv": predictions,
        "occlusion.csv": _occlusion(model, data, settings, result["top1"]),
        PICTURES: _npy(pictures),
        PICTURE_INDICES: _npy(places),
    }
    return result, files


def _occlusion(model, data, settings, without):
    """Measures the accuracy on images with a growing square erased at random."""
    rows = [{"erased_share": 0.0, "size": 0.0, "top1": without}]
    for size in settings["occlusion"]:
        # The seed is the same for all networks, and so are the patches.
        erase = Cutout(size, border="inside", fill=FILL, seed=0)
        batches = validation_batches(
            data, settings, min(_MOST, settings["batch_size"])
        ).map(
            lambda images, labels, erase=erase: (erase(images, training=True), labels)
        )
        probabilities, labels, _, _ = _predict(model, batches)
        side = settings["image_size"]
        rows.append(
            {
                "erased_share": float(erase.expected_area(side, side)),
                "size": size,
                "top1": _accuracies(probabilities, labels)["top1"],
            }
        )
    return pd.DataFrame(rows)


def accuracies_of(
    model: keras.Model, data: ImageNetFolder, settings: Mapping[str, Any]
) -> dict[str, float]:
    """Returns top-1, top-5 and loss on the validation images."""
    size = min(_MOST, settings["batch_size"])
    batches = validation_batches(data, settings, size)
    probabilities, labels, _, _ = _predict(model, batches)
    return _accuracies(probabilities, labels)


def _predict(model, batches, num_images=0):
    """Returns probabilities, labels, and some evenly spaced pictures by index."""
    wanted = np.unique(np.linspace(0, num_images - 1, _NUM_PICTURES).astype(int))
    found = size = 0
    probabilities: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    pictures: list[np.ndarray] = []
    for images, of_images in batches:
        images = np.asarray(images)
        size = size or len(images)
        # One shape for all batches: every new shape would be compiled.
        missing = [(0, size - len(images)), (0, 0), (0, 0), (0, 0)]
        logits = model.predict_on_batch(np.pad(images, missing))[: len(images)]
        probabilities.append(_softmax(logits))
        labels.append(np.asarray(of_images))
        inside = wanted[(wanted >= found) & (wanted < found + len(images))] - found
        pictures.append(images[inside])
        found += len(images)
    places = wanted[(wanted >= 0) & (wanted < found)]
    return tuple(map(np.concatenate, (probabilities, labels, [places], pictures)))


def _softmax(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def _accuracies(probabilities, labels):
    """Returns top-1, top-5 and cross-entropy; NaN if training diverged."""
    if not np.isfinite(probabilities).all():
        return {"top1": math.nan, "top5": math.nan, "loss": math.nan}
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    of_label = probabilities[np.arange(len(labels)), labels]
    return {
        "top1": float(np.mean(best[:, 0] == labels)),
        "top5": float(np.mean((best == labels[:, None]).any(axis=1))),
        "loss": float(np.mean(-np.log(np.maximum(of_label, 1e-12)))),
    }


def _table(probabilities, labels):
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    rows = np.arange(len(labels))
    table = pd.DataFrame(
        {
            "image": rows,
            "label": labels,
            "confidence": probabilities[rows, order[:, 0]],
            "label_probability": probabilities[rows, labels],
        }
    )
    for place in range(order.shape[1]):
        table[f"predicted_{place + 1}"] = order[:, place]
    return table


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
