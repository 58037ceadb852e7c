"""Figures of the ImageNet report."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.experiments.figures import Draw, fold, panel, save_figure
from keras_residual.experiments.reporting import corrected, findings

Figures = list[tuple[str, str]]

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


def draw_panels(
    results: pd.DataFrame,
    history: pd.DataFrame,
    occlusion: pd.DataFrame,
    predictions: pd.DataFrame,
    tested: pd.DataFrame,
    claims: Sequence[tuple[str, ...]],
    settings: dict[str, Any],
) -> dict[str, Draw]:
    """Panels by name, each with what it shows as its title; without those of no data.

    The difference that a claim is about has the name of the claim.
    """
    means = 100 * results.groupby("network", sort=False).mean(numeric_only=True)
    # What the figures call them.
    names = {"top1": "accuracy", "train_top1": "train_accuracy"}
    results, occlusion = results.rename(columns=names), occlusion.rename(columns=names)
    history = history.rename(columns={"val_top1": "val_accuracy"})
    chance = {"chance": 1 / len(settings["classes"]), **LOOKS}

    def each(start: str, outcome: str, unit: str = " %") -> str:
        known = means[outcome].dropna()
        words = "; ".join(f"{name}: {known[name]:.1f}{unit}" for name in known.index)
        return f"{start}{words}"

    panels = {
        "accuracy": panel(each("", "top1"), plots.accuracy_by_seed, results, **chance)
    }
    if len(history):
        curves = plots.training_curves
        words = each("Top-1, ", "top1")
        panels["val_accuracy"] = panel(words, curves, history, "val_accuracy", **chance)
        panels["loss"] = panel("", curves, history, "loss", **LOOKS)
        # With five classes or fewer the right one is always among the first five.
        if len(settings["classes"]) > 5 and "val_top5" in history:
            panels["val_top5"] = panel(
                *("", curves, history, "val_top5"), label=LABELS["val_top5"], **LOOKS
            )
    if results["train_accuracy"].notna().any():
        words = each("Gap, ", "gap", " points")
        panels["gap"] = panel(words, plots.generalization_gap, results, **LOOKS)
    if len(occlusion):
        words = each("With a patch, ", "occluded_top1")
        panels["occlusion"] = panel(
            *(words, plots.accuracy_by_occlusion, occlusion), **chance
        )
    if len(predictions):
        right = predictions["label"] == predictions["predicted_1"]
        judged = predictions.assign(correct=right)
        words = each("Calibration error, ", "ece")
        panels["reliability"] = panel(words, plots.reliability_diagram, judged, **LOOKS)
    found, p_values = findings(tested), corrected(tested)
    for name, _, outcome, treatment, control in claims:
        if name in found:
            panels[name] = panel(
                *(found[name], plots.paired_difference, results),
                names.get(outcome, outcome),
                treatment=treatment,
                control=control,
                by="network",
                label=LABELS.get(outcome),
                p_value=p_values.get(name),
            )
    return panels


def draw_gradients(folder: Path, norms: pd.DataFrame) -> Figures:
    """Gradient norms by depth of the two networks that differ only in shortcuts."""
    if norms.empty:
        return []
    kernels = kernels_by_depth(norms[norms["network"].isin(["plain", "resnet"])])
    if kernels.empty:
        return []
    # Of first and last norm behind the stem, which has another shape.
    ends = kernels[kernels["depth"].isin([2, kernels["depth"].max()])]
    norm = ends["norm"].where(np.isfinite(ends["norm"]) & (ends["norm"] > 0))
    logs = np.log10(norm).groupby([ends["network"], ends["depth"]]).mean().unstack()
    ratios = logs.iloc[:, 0] - logs.iloc[:, -1]
    words = "; ".join(f"{network} {fold(log)}" for network, log in ratios.items())
    draw = panel(
        f"The gradient toward the input: {words}",
        *(plots.gradient_norm_by_depth, kernels),
        **LOOKS,
    )
    caption = (
        "Gradient norm of each convolution's kernel against its depth, plain against "
        "residual network."
    )
    return [(save_figure(folder, "gradient_norms.png", draw), caption)]


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


def draw_pictures(
    folder: Path,
    predictions: pd.DataFrame,
    classes: Sequence[str],
    images: np.ndarray,
    places: np.ndarray,
) -> Figures:
    """The same validation images for each network, classified by its first seed."""
    # Without synonyms: there is no room for them under a picture.
    names = [name.split(",")[0] for name in classes]
    some = np.linspace(0, len(places) - 1, min(PICTURES, len(places)))
    chosen = np.unique(some.round().astype(int))
    figures = []
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
        right = (found["predicted_1"] == found["label"]).sum()
        draw = panel(
            f"{network}: {right} of these {len(found)} right",
            plots.photo_grid,
            images[there],
            found["label"].to_numpy(int),
            probabilities,
            names,
        )
        name = save_figure(folder, f"pictures-{network}.png", draw)
        caption = f"Validation images and what they were taken for: {network}"
        figures.append((name, f"{caption}, seed {seed}."))
    return figures
