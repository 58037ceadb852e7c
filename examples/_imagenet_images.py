"""The images of the ImageNet comparison, and how well a network does on them."""

import hashlib
import io
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from scipy.special import softmax

from keras_residual import Cutout, ImageNetFolder
from keras_residual.analysis.statistics import expected_calibration_error
from keras_residual.experiments import RefusedError

PICTURES = "pictures.npz"
NUM_PICTURES = 24
MOST = 256  # images in a step on one device; trainings may have many devices
TOP = 5
# ImageNet's channels, for values from 0 to 1, as torchvision's weights expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# What Cutout fills in once the means are taken out.
FILL = tuple(round(255 * mean) for mean in MEAN)


def open_data(
    source: str,
    classes: Any,
    per_class: int | None,
    data_dir: Path | None = None,
    said: bool = False,
) -> ImageNetFolder:
    """Opens the images of a run, without those that cannot be decoded.

    Args:
        source: A folder or "tfds:<name>".
        classes: Their ids or names, their number, or None for all.
        per_class: Training images of each class, or None for all.
        data_dir: The folder of TensorFlow Datasets.
        said: Whether to print the progress and the findings of the check.
    """
    tfds = source.startswith("tfds:")
    data = ImageNetFolder(
        source,
        classes=classes,
        per_class=per_class,
        data_dir=data_dir if tfds else None,
    )
    if tfds:
        return data  # checked by its checksums when it was prepared
    # A progress bar in a file would be thousands of lines.
    report = data.check(verbose=int(said and sys.stdout.isatty()))
    if said:
        print(report, flush=True)
    return data.without(report)


def fingerprint(source: str, data: ImageNetFolder) -> str | None:
    """Hashes the names and sizes of all images, so that a re-encoded image differs.

    TensorFlow Datasets have a version in their name instead.
    """
    if source.startswith("tfds:"):
        return None
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for file in data.files(split):
            size = os.stat(file).st_size
            digest.update(f"{os.path.relpath(file, source)} {size}\n".encode())
    return digest.hexdigest()


def batches(
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    split: str = "val",
    batch_size: int | None = None,
    **how: Any,
) -> Any:
    """Images and labels of a split: the centre crops, once, unless `how` differs."""
    return data.dataset(
        split,
        image_size=settings["image_size"],
        batch_size=batch_size or min(MOST, settings["batch_size"]),
        center_fraction=settings["center_fraction"],
        **how,
    )


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
    last = data.num_images("val") - 1
    places = sorted(set(np.linspace(0, last, NUM_PICTURES).astype(int).tolist()))
    predictions, pictures = classify(model, batches(data, settings), places)
    training, _ = classify(model, batches(few, settings, "train"))
    result = {
        **accuracies(predictions),
        "train_top1": accuracies(training)["top1"],
        "ece": math.nan,
    }
    if math.isfinite(result["top1"]):
        correct = predictions["predicted_1"] == predictions["label"]
        confidence = predictions["confidence"]
        result["ece"] = expected_calibration_error(confidence, correct)
    occlusion = [{"erased_share": 0.0, "size": 0.0, "top1": result["top1"]}]
    for size in settings["occlusion"]:
        # The seed is the same for all networks, and so are the patches.
        erase = Cutout(size, border="inside", fill=FILL, seed=0)
        erased, _ = classify(
            model,
            batches(data, settings).map(
                lambda images, labels, erase=erase: (
                    erase(images, training=True),
                    labels,
                )
            ),
        )
        side = settings["image_size"]
        share = float(erase.expected_area(side, side))
        top1 = accuracies(erased)["top1"]
        occlusion.append({"erased_share": share, "size": size, "top1": top1})
    file = io.BytesIO()
    np.savez(file, images=pictures, places=places)
    return result, {
        "predictions.csv": predictions,
        "occlusion.csv": pd.DataFrame(occlusion),
        PICTURES: file.getvalue(),
    }


def classify(
    model: keras.Model, batches: Any, places: Sequence[int] = ()
) -> tuple[pd.DataFrame, np.ndarray]:
    """One row for each image: its label and the five most probable classes.

    Also returns the images at the given places.
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
    """Top-1, top-5 and cross-entropy; NaN if the network's outputs are not finite."""
    probability = predictions["label_probability"]
    if not np.isfinite(probability).all():
        return {"top1": math.nan, "top5": math.nan, "loss": math.nan}
    right = predictions.filter(like="predicted_").eq(predictions["label"], axis=0)
    return {
        "top1": float(right["predicted_1"].mean()),
        "top5": float(right.any(axis=1).mean()),
        "loss": float(-np.log(probability.clip(lower=1e-12)).mean()),
    }


def measure_file(file: Path, data: ImageNetFolder, settings: Mapping[str, Any]) -> str:
    """How well a saved network does on the validation images, in words.

    Raises:
        RefusedError: If it cannot be read, or is for other images or classes.
    """
    try:
        model = load_network(file)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(f"{file} cannot be read: {reason}") from error
    size = settings["image_size"]
    for name, theirs, ours in (
        ("images of shape", model.input_shape[1:], (size, size, 3)),
        ("classes", model.output_shape[1:], (data.num_classes,)),
    ):
        if tuple(theirs) != ours:
            raise RefusedError(
                f"{file} is for {name} {', '.join(map(str, theirs))}, not "
                f"{', '.join(map(str, ours))}"
            )
    found = accuracies(classify(model, batches(data, settings))[0])
    return (
        f"{file}: top-1 {found['top1']:.4f}, top-5 {found['top5']:.4f}, "
        f"loss {found['loss']:.4f} on {data.num_images('val')} images"
    )


def load_network(file: Path) -> keras.Model:
    """Loads a network, with the average of its weights if the file has one."""
    model = keras.saving.load_model(file)
    if getattr(model, "optimizer", None) is not None:  # of a checkpoint
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return model
