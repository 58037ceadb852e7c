"""How well a trained classifier does: predictions, accuracies, and under occlusion.

The classifiers take uint8 images and return logits.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax

from keras_residual._first_line import first_line
from keras_residual.analysis.statistics import expected_calibration_error
from keras_residual.experiments.tasks import RefusedError
from keras_residual.layers.cutout import Cutout

TOP = 5


def classify(
    model: keras.Model, batches: Any, places: Sequence[int] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row for each image: its label and the five most probable classes.

    Args:
        model: The classifier.
        batches: Batches of (images, labels).
        places: Which of the images are returned as well, counted from 0.

    Returns:
        Columns image, label, confidence (of the most probable class),
        label_probability, predicted_1 and so on; and the images at the places.
    """
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    pictures: list[np.ndarray] = []
    found = size = 0
    for images, truth in batches:
        images = np.asarray(images)
        size = size or len(images)
        # One shape for all batches: every new shape would be compiled.
        missing = [(0, size - len(images)), (0, 0), (0, 0), (0, 0)]
        outputs = model.predict_on_batch(np.pad(images, missing))
        logits.append(outputs[: len(images)].astype(np.float64))
        labels.append(np.asarray(truth))
        pictures += [
            images[place - found]
            for place in places
            if found <= place < found + len(images)
        ]
        found += len(images)
    probabilities, label = softmax(np.concatenate(logits), -1), np.concatenate(labels)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    rows = np.arange(found)
    table = {
        "image": rows,
        "label": label,
        "confidence": probabilities[rows, order[:, 0]],
        "label_probability": probabilities[rows, label],
    }
    for place, predicted in enumerate(order.T, start=1):
        table[f"predicted_{place}"] = predicted
    return pd.DataFrame(table), np.array(pictures)


def accuracies(predictions: pd.DataFrame) -> dict[str, float]:
    """Top-1, top-5, cross-entropy and calibration error ("ece") of what `classify` saw.

    All are NaN if the network's outputs are not finite.
    """
    probability = predictions["label_probability"]
    if not np.isfinite(probability).all():
        return dict.fromkeys(("top1", "top5", "loss", "ece"), math.nan)
    right = predictions.filter(like="predicted_").eq(predictions["label"], axis=0)
    correct = right["predicted_1"]
    return {
        "top1": float(correct.mean()),
        "top5": float(right.any(axis=1).mean()),
        "loss": float(-np.log(probability.clip(lower=1e-12)).mean()),
        "ece": expected_calibration_error(predictions["confidence"], correct),
    }


def accuracy_under_occlusion(
    model: keras.Model,
    batches: Any,
    sizes: Sequence[float],
    fill: tuple[int, ...],
    whole: float,
) -> pd.DataFrame:
    """Accuracy on images of which a square at a random place inside is erased.

    The places are the same for every network.

    Args:
        model: The classifier.
        batches: A `tf.data.Dataset` of (images, labels).
        sizes: Sides of the square, as shares of the image's.
        fill: What it is filled with.
        whole: Accuracy on the images as they are.

    Returns:
        Columns erased_share (of the pixels), size and top1; first the whole images,
        then one row for each size.
    """
    height, width = model.input_shape[1:3]
    rows = [{"erased_share": 0.0, "size": 0.0, "top1": whole}]
    for size in sizes:
        erase = Cutout(size, border="inside", fill=fill, seed=0)

        def erased(images: Any, labels: Any, erase: Cutout = erase) -> Any:
            return erase(images, training=True), labels

        predictions, _ = classify(model, batches.map(erased))
        share = float(erase.expected_area(height, width))
        top1 = accuracies(predictions)["top1"]
        rows.append({"erased_share": share, "size": size, "top1": top1})
    return pd.DataFrame(rows)


def with_outcomes(
    results: pd.DataFrame, occlusion: pd.DataFrame, key: list[str]
) -> pd.DataFrame:
    """Adds what follows from other measures: "gap" and "occluded_top1".

    Args:
        results: Columns top1, train_top1 and the key; one row for each training.
        occlusion: The rows of `accuracy_under_occlusion` of each of them.
        key: Columns that tell one training from another.
    """
    results = results.assign(gap=results["train_top1"] - results["top1"])
    if occlusion.empty:
        return results.assign(occluded_top1=math.nan)
    erased = occlusion[occlusion["size"] > 0].groupby(key)["top1"]
    # The mean must not leave out a size that could not be measured.
    means = erased.agg(lambda values: values.mean(skipna=False))
    return results.merge(means.rename("occluded_top1").reset_index(), "left", key)


def measure_file(
    file: Path, image_shape: tuple[int, ...], num_classes: int, batches: Any
) -> str:
    """How well a saved classifier does, in words.

    Args:
        file: A `.keras` file, of a network or a checkpoint.
        image_shape: Shape of the images.
        num_classes: Number of classes.
        batches: Batches of (images, labels).

    Raises:
        RefusedError: If it cannot be read, or is for other images or classes.
    """
    try:
        model = load_network(file)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(f"{file} cannot be read: {first_line(error)}") from error
    for name, theirs, ours in (
        ("images of shape", model.input_shape[1:], image_shape),
        ("classes", model.output_shape[1:], (num_classes,)),
    ):
        if tuple(theirs) != ours:
            raise RefusedError(
                f"{file} is for {name} {', '.join(map(str, theirs))}, not "
                f"{', '.join(map(str, ours))}"
            )
    predictions, _ = classify(model, batches)
    found = accuracies(predictions)
    return (
        f"{file}: top-1 {found['top1']:.4f}, top-5 {found['top5']:.4f}, "
        f"loss {found['loss']:.4f} on {len(predictions)} images"
    )


def load_network(file: Path) -> keras.Model:
    """Loads a network, with the average of its weights if the file has one."""
    model = keras.saving.load_model(file)
    if getattr(model, "optimizer", None) is not None:  # of a checkpoint
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return model
