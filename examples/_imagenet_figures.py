"""Figures of the ImageNet report."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.experiments.figures import (
    Draw,
    panel,
    photo_panel,
    spread,
    toward_input,
)
from keras_residual.experiments.hypotheses import Claim
from keras_residual.experiments.reporting import corrected, findings

PICTURES = 12
LOOKS: dict[str, Any] = {
    "by": "network",
    "styles": dict(
        zip(("plain", "resnet", "resnet-cutout"), plots.STYLES, strict=False)
    ),
}
LABELS = {
    "val_top5": "validation top-5 accuracy (% of images)",
    "gap": "training minus validation accuracy (% of images)",
    "occluded_top1": "top-1 accuracy under occlusion (% of images)",
    "ece": "expected calibration error (%)",
}


def make_panels(
    results: pd.DataFrame,
    history: pd.DataFrame,
    occlusion: pd.DataFrame,
    predictions: pd.DataFrame,
    tested: pd.DataFrame,
    claims: Sequence[Claim],
    classes: Sequence[str],
    norms: pd.DataFrame,
    pictures: Mapping[str, np.ndarray] | None,
) -> dict[str, Draw]:
    """Panels by name, each with what it shows as its title; without those of no data.

    The difference that a claim is about has the name of the claim.
    """
    means = 100 * results.groupby("network", sort=False).mean(numeric_only=True)
    # What the figures call them.
    names = {"top1": "accuracy", "train_top1": "train_accuracy"}
    results, occlusion = results.rename(columns=names), occlusion.rename(columns=names)
    history = history.rename(columns={"val_top1": "val_accuracy"})
    chance = {"chance": 1 / len(classes), **LOOKS}

    def each(start: str, outcome: str, unit: str = " %") -> str:
        known = means[outcome].dropna()
        words = "; ".join(f"{name}: {known[name]:.1f}{unit}" for name in known.index)
        return f"{start}{words}"

    title = each("", "top1")
    panels = {"accuracy": panel(title, plots.accuracy_by_seed, results, **chance)}
    if len(history):
        curves = (plots.training_curves, history)
        panels["val_accuracy"] = panel(
            *(f"Top-1, {title}", *curves, "val_accuracy"), **chance
        )
        panels["loss"] = panel("", *curves, "loss", **LOOKS)
        # With five classes or fewer the right one is always among the first five.
        if len(classes) > 5 and "val_top5" in history:
            panels["val_top5"] = panel(
                *("", *curves, "val_top5"), label=LABELS["val_top5"], **LOOKS
            )
    if results["train_accuracy"].notna().any():
        title = each("Gap, ", "gap", " points")
        panels["gap"] = panel(title, plots.generalization_gap, results, **LOOKS)
    if len(occlusion):
        title = each("With a patch, ", "occluded_top1")
        panels["occlusion"] = panel(
            *(title, plots.accuracy_by_occlusion, occlusion), **chance
        )
    if len(predictions):
        right = predictions["label"] == predictions["predicted_1"]
        judged = predictions.assign(correct=right)
        title = each("Calibration error, ", "ece")
        panels["reliability"] = panel(title, plots.reliability_diagram, judged, **LOOKS)
        if pictures is not None:
            panels |= picture_panels(predictions, classes, **pictures)
    if len(norms):
        # Those that differ only in the shortcuts.
        kernels = kernels_by_depth(norms[norms["network"] != "resnet-cutout"])
        if len(kernels):
            panels["gradient_norms"] = panel(
                f"The gradient toward the input: {toward_input(kernels, 'network')}",
                *(plots.gradient_norm_by_depth, kernels),
                **LOOKS,
            )
    found, p_values = findings(tested), corrected(tested)
    for claim in claims:
        if claim.name in found:
            panels[claim.name] = panel(
                *(found[claim.name], plots.paired_difference, results),
                names.get(claim.measure, claim.measure),
                treatment=claim.larger,
                control=claim.smaller,
                by="network",
                label=LABELS.get(claim.measure),
                p_value=p_values.get(claim.name),
            )
    return panels


def kernels_by_depth(norms: pd.DataFrame) -> pd.DataFrame:
    """Rows network, seed, step, depth, norm of the kernels, counted from the input.

    Projections and the classifier are left out: they are not on the common path.

    Args:
        norms: A column for each layer. A convolution's only weight is its kernel.
    """
    paths = [
        path
        for path in norms.columns
        if re.fullmatch(r"(\w+_)?conv\d*", path.split("/")[-1])
    ]
    key = ["network", "seed", "step"]
    depths = {path: depth for depth, path in enumerate(paths, start=1)}
    long = norms.rename(columns=depths).melt(key, [*depths.values()], "depth", "norm")
    long["depth"] = long["depth"].astype(int)
    return long.drop_duplicates([*key, "depth"], keep="last")


def picture_panels(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    images: np.ndarray,
    places: np.ndarray,
) -> dict[str, Draw]:
    """The same validation images for each network, classified by its first seed."""
    # Without synonyms: there is no room for them under a picture.
    names = [name.split(",")[0] for name in classes]
    chosen = spread(len(places), PICTURES)
    panels = {}
    for network, rows in predictions.groupby("network", sort=False):
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
        labels = found["label"].to_numpy(int)
        panels[f"pictures-{network}"] = photo_panel(
            f"{network}, seed {seed}", images[there], labels, probabilities, names
        )
    return panels
