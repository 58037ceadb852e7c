"""Figures of the ImageNet report."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_tables import with_mean_shares

from keras_residual.analysis import plots
from keras_residual.experiments.figures import Draw, fold, panel, save_figure
from keras_residual.experiments.reporting import corrected, findings

Figures = list[tuple[str, str]]

PICTURES = 12
NETWORKS: dict[str, Any] = {
    "by": "network",
    "styles": dict(
        zip(("plain", "resnet", "resnet-cutout"), plots.STYLES, strict=False)
    ),
}
LABELS = {
    "val_top5": "validation top-5 accuracy (% of images)",
    "gap": "training minus validation accuracy (% of images)",
    "ece": "expected calibration error (%)",
}
# Claim, outcome, and which network minus which.
DIFFERENCES = (
    ("H3a", "top1", "resnet", "plain"),
    ("H3b", "top1", "resnet-cutout", "resnet"),
    ("H3c", "gap", "resnet", "resnet-cutout"),
    ("H3e", "ece", "resnet", "resnet-cutout"),
)
# Figures by name: their panels, and the caption.
DRAWN = {
    "curves": (
        ("val_accuracy", "val_top5", "loss"),
        "Validation accuracy (top-1, with more than five classes top-5) and training "
        "loss over the epochs.",
    ),
    "accuracy": (
        ("accuracy", "H3a", "H3b"),
        "Top-1 accuracy by seed after the last epoch, and its differences.",
    ),
    "gap": (
        ("gap", "H3c"),
        "Accuracy on training and validation images, and what Cutout does to the gap "
        "by seed.",
    ),
    "occlusion": (
        ("occlusion",),
        "Top-1 accuracy against the share of the pixels that was erased.",
    ),
    "reliability": (
        ("reliability", "H3e"),
        "Accuracy against confidence, and what Cutout does to the calibration error by "
        "seed.",
    ),
}


def save_panels(folder: Path, name: str, panels: dict[str, Draw]) -> Figures:
    """The figure of this name, unless its first panel has nothing to show."""
    names, caption = DRAWN[name]
    there = [panels[one] for one in names if one in panels]
    if names[0] not in panels:
        return []
    return [(save_figure(folder, f"{name}.png", *there), caption)]


def make_panels(
    results: pd.DataFrame,
    history: pd.DataFrame,
    compared: pd.DataFrame,
    occlusion: pd.DataFrame,
    predictions: pd.DataFrame,
    tested: pd.DataFrame,
    settings: dict[str, Any],
) -> dict[str, Draw]:
    """The figures by name, each with what it shows as its title."""
    found, p_values = findings(tested), corrected(tested)
    chance = 1 / len(settings["classes"])
    history = history.rename(columns={"val_top1": "val_accuracy"})
    named = results.rename(columns={"top1": "accuracy", "train_top1": "train_accuracy"})
    means = 100 * compared.groupby("network", sort=False).mean(numeric_only=True)

    def each(outcome: str, unit: str = " %") -> str:
        known = means[outcome].dropna()
        return "; ".join(f"{name}: {known[name]:.1f}{unit}" for name in known.index)

    panels = {}
    if len(history):
        metrics = ["val_accuracy", "loss"]
        # With five classes or fewer the right one is always among the first five.
        if len(settings["classes"]) > 5 and "val_top5" in history:
            metrics.insert(1, "val_top5")
        for metric in metrics:
            panels[metric] = panel(
                f"Top-1, {each('top1')}" if metric == "val_accuracy" else "",
                *(plots.training_curves, history, metric),
                chance=chance if metric == "val_accuracy" else None,
                label=LABELS.get(metric),
                **NETWORKS,
            )
    panels["accuracy"] = panel(
        each("top1"), plots.accuracy_by_seed, named, chance=chance, **NETWORKS
    )
    if results["train_top1"].notna().any():
        words = f"Gap, {each('gap', ' points')}"
        panels["gap"] = panel(words, plots.generalization_gap, named, **NETWORKS)
    if len(occlusion):
        erased = with_mean_shares(occlusion).rename(columns={"top1": "accuracy"})
        words = f"With a patch, {each('occluded_top1')}"
        panels["occlusion"] = panel(
            *(words, plots.accuracy_by_occlusion, erased), chance=chance, **NETWORKS
        )
    if len(predictions):
        right = predictions["label"] == predictions["predicted_1"]
        judged = predictions.assign(correct=right)
        words = f"Calibration error, {each('ece')}"
        panels["reliability"] = panel(
            words, plots.reliability_diagram, judged, **NETWORKS
        )
    trained = set(results["network"])
    for claim, outcome, treatment, control in DIFFERENCES:
        if {treatment, control} <= trained:
            label = LABELS.get(outcome)
            frame = compared if label else named
            panels[claim] = panel(
                found.get(claim, ""),
                *(plots.paired_difference, frame, outcome if label else "accuracy"),
                treatment=treatment,
                control=control,
                by="network",
                label=label,
                p_value=p_values.get(claim),
            )
    return panels


def gradient_figures(folder: Path, norms: pd.DataFrame) -> Figures:
    """Gradient norms by depth of the two networks that differ only in shortcuts."""
    if norms.empty:
        return []
    norms = norms[norms["network"].isin(["plain", "resnet"])]
    kernels = _kernels(norms)
    if kernels.empty:
        return []
    ratios = _slopes(kernels)
    words = "; ".join(f"{network} {fold(log)}" for network, log in ratios.items())
    draw = panel(
        f"The gradient toward the input: {words}",
        *(plots.gradient_norm_by_depth, kernels),
        **NETWORKS,
    )
    return [
        (
            save_figure(folder, "gradient_norms.png", draw),
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
        right = (found["predicted_1"] == found["label"]).sum()
        draw = panel(
            f"{network}: {right} of these {len(found)} right",
            plots.photo_grid,
            images[there],
            found["label"].to_numpy(int),
            probabilities,
            classes,
        )
        name = save_figure(folder, f"pictures-{network}.png", draw)
        caption = f"Validation images and what they were taken for: {network}"
        figures.append((name, f"{caption}, seed {seed}."))
    return figures


def _slopes(kernels: pd.DataFrame) -> pd.Series:
    """Log10 of first / last norm behind the stem, of each network."""
    ends = kernels[kernels["depth"].isin([2, kernels["depth"].max()])]
    norm = ends["norm"].where(np.isfinite(ends["norm"]) & (ends["norm"] > 0))
    logs = np.log10(norm).groupby([ends["network"], ends["depth"]]).mean().unstack()
    return logs.iloc[:, 0] - logs.iloc[:, -1]


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
