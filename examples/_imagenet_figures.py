"""Figures of the ImageNet report."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_tables import with_mean_shares

from keras_residual.analysis import plots
from keras_residual.experiments.reporting import save_figure

Figures = list[tuple[str, str]]
Corrected = dict[str, float]  # p-values by hypothesis

PICTURES = 12
NETWORKS: dict[str, Any] = {
    "by": "network",
    "styles": dict(
        zip(("plain", "resnet", "resnet-cutout"), plots.STYLES, strict=False)
    ),
}
LABELS = {
    "val_top5": "validation top-5 accuracy (share of images)",
    "gap": "gap between training and validation accuracy",
    "ece": "expected calibration error",
}
CUTOUT = ("resnet-cutout", "resnet")


def accuracy_figures(
    folder: Path,
    results: pd.DataFrame,
    history: pd.DataFrame,
    settings: dict[str, Any],
    corrected: Corrected,
) -> Figures:
    history = history.rename(columns={"val_top1": "val_accuracy"})
    metrics = ["val_accuracy", "loss"]
    caption = "Validation accuracy (top-1) and training loss over the epochs."
    # With five classes or fewer the right one is always among the first five.
    if len(settings["classes"]) > 5 and "val_top5" in history:
        metrics.insert(1, "val_top5")
        caption = (
            "Validation accuracy (top-1, top-5) and training loss over the epochs."
        )
    curves = [
        functools.partial(
            plots.training_curves, history, metric, label=LABELS.get(metric), **NETWORKS
        )
        for metric in metrics
    ]
    both = {"H3a": ("resnet", "plain"), "H3b": CUTOUT}
    named = results.rename(columns={"top1": "accuracy"})
    by_seed = functools.partial(plots.accuracy_by_seed, named, **NETWORKS)
    figures = []
    if len(history):
        figures.append((save_figure(folder, "curves.png", *curves), caption))
    differences = _differences(named, "accuracy", both, corrected)
    name = save_figure(folder, "accuracy.png", by_seed, *differences)
    caption = "Top-1 accuracy by seed after the last epoch, and its differences."
    return [*figures, (name, caption)]


def gap_figures(
    folder: Path,
    results: pd.DataFrame,
    compared: pd.DataFrame,
    corrected: Corrected,
) -> Figures:
    if results["train_top1"].isna().all():
        return []
    named = results.rename(columns={"top1": "accuracy", "train_top1": "train_accuracy"})
    gap = functools.partial(plots.generalization_gap, named, **NETWORKS)
    differences = _differences(compared, "gap", {"H3c": CUTOUT}, corrected)
    return [
        (
            save_figure(folder, "gap.png", gap, *differences),
            "Accuracy on training and validation images, and what Cutout does to the "
            "gap by seed.",
        )
    ]


def occlusion_figures(folder: Path, occlusion: pd.DataFrame) -> Figures:
    named = with_mean_shares(occlusion).rename(columns={"top1": "accuracy"})
    draw = functools.partial(plots.accuracy_by_occlusion, named, **NETWORKS)
    return [
        (
            save_figure(folder, "occlusion.png", draw, size=(8.0, 5.0)),
            "Top-1 accuracy against the share of the pixels that was erased.",
        )
    ]


def calibration_figures(
    folder: Path,
    compared: pd.DataFrame,
    predictions: pd.DataFrame,
    corrected: Corrected,
) -> Figures:
    judged = predictions.assign(
        correct=predictions["label"] == predictions["predicted_1"]
    )
    draw = functools.partial(plots.reliability_diagram, judged, **NETWORKS)
    differences = _differences(compared, "ece", {"H3e": CUTOUT}, corrected)
    return [
        (
            save_figure(folder, "reliability.png", draw, *differences),
            "Accuracy against confidence, and what Cutout does to the calibration "
            "error by seed.",
        )
    ]


def gradient_figures(folder: Path, norms: pd.DataFrame) -> Figures:
    """Gradient norms by depth of the two networks that differ only in shortcuts."""
    if norms.empty:
        return []
    norms = norms[norms["network"].isin(["plain", "resnet"])]
    kernels = _kernels(norms)
    if kernels.empty:
        return []
    draw = functools.partial(plots.gradient_norm_by_depth, kernels, **NETWORKS)
    return [
        (
            save_figure(folder, "gradient_norms.png", draw, size=(8.0, 5.0)),
            "Gradient norm of each convolution's kernel against its depth, plain "
            "against residual network.",
        )
    ]


def picture_figures(
    folder: Path,
    predictions: pd.DataFrame,
    settings: dict[str, Any],
    images: np.ndarray,
    indices: Sequence[int],
) -> Figures:
    """The same validation images for each network, classified by its first seed."""
    # Without synonyms: there is no room for them under a picture.
    classes = [name.split(",")[0] for name in settings["classes"]]
    chosen = np.unique(
        np.linspace(0, len(indices) - 1, min(PICTURES, len(indices)))
        .round()
        .astype(int)
    )
    figures = []
    for network, rows in predictions.groupby("network", sort=False):
        seed = rows["seed"].min()
        by_image = rows[rows["seed"] == seed].set_index("image")
        there = [place for place in chosen if indices[place] in by_image.index]
        if not there:
            continue
        found = by_image.loc[[indices[place] for place in there]]
        # The grid shows only the most probable class, the only one that is known.
        probabilities = np.zeros((len(there), len(classes)))
        best = found["predicted_1"].to_numpy(int)
        probabilities[range(len(there)), best] = found["confidence"]
        draw = functools.partial(
            plots.photo_grid,
            images[there],
            found["label"].to_numpy(int),
            probabilities,
            classes,
        )
        name = save_figure(folder, f"pictures-{network}.png", draw, size=(9, 4.5))
        caption = f"Validation images and what they were taken for: {network}"
        figures.append((name, f"{caption}, seed {seed}."))
    return figures


def _differences(
    frame: pd.DataFrame,
    metric: str,
    claims: dict[str, tuple[str, str]],
    corrected: Corrected,
) -> list[Any]:
    """The differences that the hypotheses name, with the p-values of the tables."""
    trained = set(frame["network"])
    return [
        functools.partial(
            plots.paired_difference,
            frame,
            metric,
            treatment=treatment,
            control=control,
            by="network",
            label=LABELS.get(metric),
            p_value=corrected.get(claim),
        )
        for claim, (treatment, control) in claims.items()
        if {treatment, control} <= trained
    ]


def _kernels(norms: pd.DataFrame) -> pd.DataFrame:
    """Rows network, seed, step, depth, norm of the kernels, counted from the input.

    Projections and the classifier are left out: they are not on the common path.
    """
    # A column for each layer. A convolution's only weight is its kernel.
    paths = [
        path
        for path in norms.columns
        if re.fullmatch(r"(\w+_)?conv\d*", path.split("/")[-1])
    ]
    depths = {path: depth for depth, path in enumerate(paths, start=1)}
    long = norms.melt(["network", "seed", "step"], paths, "path", "norm")
    return pd.DataFrame(
        {
            "network": long["network"],
            "seed": long["seed"],
            "step": long["step"],
            "depth": long["path"].map(depths),
            "norm": long["norm"],
        }
    ).drop_duplicates(["network", "seed", "step", "depth"], keep="last")
