"""Figures of the results of classifiers, by name.

They show what `measuring` and `long_training` found: columns `by`, seed and theirs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.experiments.figures import Draw, panel
from keras_residual.experiments.training import spread

# What the figures call the measures.
LABELS = {
    "top1": "final accuracy (% of images)",
    "val_top1": "validation accuracy (% of images)",
    "val_top5": "validation top-5 accuracy (% of images)",
    "gap": "training minus validation accuracy (% of images)",
    "occluded_top1": "top-1 accuracy under occlusion (% of images)",
    "ece": "expected calibration error (%)",
}


def accuracy_panels(
    results: pd.DataFrame,
    history: pd.DataFrame,
    occlusion: pd.DataFrame,
    num_classes: int,
    **looks: Any,
) -> dict[str, Draw]:
    """Accuracy after and during the training, its gap, and under occlusion.

    Args:
        results: Columns `by`, seed, top1, train_top1, gap and occluded_top1.
        history: One row for each epoch of each training.
        occlusion: One row for each training and size of the patch.
        num_classes: Number of classes.
        **looks: `by` and `styles` of the figures.

    Returns:
        "accuracy", "val_top1", "val_top5", "loss", "gap", "occlusion"; without those of
        no data.
    """
    chance = 1 / num_classes
    # What the figures call them.
    names = {"top1": "accuracy", "train_top1": "train_accuracy"}
    results, occlusion = (frame.rename(columns=names) for frame in (results, occlusion))
    panels = {
        "accuracy": panel(plots.accuracy_by_seed, results, chance=chance, **looks)
    }
    if len(history):
        curves = partial(panel, plots.training_curves, history, **looks)
        panels["val_top1"] = curves("val_top1", label=LABELS["val_top1"], chance=chance)
        panels["loss"] = curves("loss")
        # With five classes or fewer the right one is always among the first five.
        if num_classes > 5 and "val_top5" in history:
            panels["val_top5"] = curves("val_top5", label=LABELS["val_top5"])
    if results["train_accuracy"].notna().any():
        panels["gap"] = panel(plots.generalization_gap, results, **looks)
    if len(occlusion):
        panels["occlusion"] = panel(
            plots.accuracy_by_occlusion, occlusion, chance=chance, **looks
        )
    return panels


def prediction_panels(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    pictures: Mapping[str, np.ndarray] | None,
    most: int = 12,
    **looks: Any,
) -> dict[str, Draw]:
    """Reliability, and the same images as the first seed of each network sees them.

    Args:
        predictions: One row for each image of each training.
        classes: Names of the classes; of synonyms the first one is shown.
        pictures: "images" and their "places" among those that were classified.
        most: How many of them are shown.
        **looks: `by` and `styles` of the figures.

    Returns:
        "reliability", and "pictures-" with the name of each network.
    """
    if predictions.empty:
        return {}
    right = predictions["label"] == predictions["predicted_1"]
    predictions = predictions.assign(correct=right)
    panels = {"reliability": panel(plots.reliability_diagram, predictions, **looks)}
    if pictures is None:
        return panels
    images, places = pictures["images"], pictures["places"]
    chosen = spread(len(places), most)
    names = [name.split(",")[0] for name in classes]
    for network, rows in predictions.groupby(looks["by"], sort=False):
        seed = rows["seed"].min()
        by_image = rows[rows["seed"] == seed].set_index("image")
        there = chosen[np.isin(places[chosen], by_image.index)]
        if not len(there):
            continue
        found = by_image.loc[places[there]]
        # The grid shows only the most probable class, the only one that is known.
        probabilities = np.zeros((len(there), len(names)))
        best = found["predicted_1"].to_numpy(int)
        probabilities[range(len(there)), best] = found["confidence"]
        panels[f"pictures-{network}"] = panel(
            *(plots.photo_grid, images[there], found["label"].to_numpy(int)),
            *(probabilities, names),
            about=f"{network}, seed {seed}:",
        )
    return panels
