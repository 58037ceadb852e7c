"""Tables of the ImageNet report: published figures beside ours, means over seeds."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_recipes import RECIPES

from keras_residual.analysis.statistics import mean_interval

NETWORKS = ("plain", "resnet", "resnet-cutout")
# Top-1 accuracy on ImageNet in %: the source's at its tenth epoch, and what networks of
# 18 layers reach when they are trained to the end.
PUBLISHED = {
    "plain": ("11", "72.06 (He et al. 2015, ten crops)"),
    "resnet": ("39", "69.758 (torchvision), 72.12 (He et al. 2015, ten crops)"),
    "resnet-cutout": ("46.28", "none known"),
}
SOURCE = "github.com/jnlandu/Implementation-of-ResNet-with-Cutout-Data-Augmentation"
SOURCE_EPOCH = 10
# Settings of the source: the task, and the training but for its length.
SOURCE_TASK = {"depth": 18, "variant": "torchvision", "image_size": 224}
SOURCE_TRAINING = dataclasses.asdict(RECIPES["source"])
del SOURCE_TRAINING["epochs"]


def network_name(network: str, settings: dict[str, Any]) -> str:
    """Returns the name of the network for readers."""
    return {
        "plain": f"PlainNet-{settings['depth']}",
        "resnet": f"ResNet-{settings['depth']}",
        "resnet-cutout": f"ResNet-{settings['depth']} with Cutout",
    }[network]


def beside_published(
    results: pd.DataFrame, history: pd.DataFrame, settings: dict[str, Any]
) -> pd.DataFrame:
    """Returns one row for each network: the source's figure, published ones, ours."""
    rows = []
    for network, group in results.groupby("network", sort=False):
        source, published = PUBLISHED[network]
        of_network = history[history["network"] == network]
        at_epoch = of_network[of_network["epoch"] == SOURCE_EPOCH]["val_top1"]
        rows.append(
            {
                "top-1 accuracy (%)": network_name(network, settings),
                f"source, epoch {SOURCE_EPOCH}": source,
                "published, trained to the end": published,
                f"this run, epoch {SOURCE_EPOCH}": in_percent(at_epoch),
                f"this run, epoch {settings['epochs']}": in_percent(group["top1"]),
            }
        )
    return pd.DataFrame(rows)


def against_source(
    results: pd.DataFrame, history: pd.DataFrame, settings: dict[str, Any]
) -> list[tuple[str, str, str, str]]:
    """The source's claims: claim, who claims it, what was measured, verdict."""
    rows = []
    epoch = min(SOURCE_EPOCH, settings["epochs"])
    elsewhere = other_task(settings) or _differences(settings, SOURCE_TRAINING)
    for network in dict.fromkeys(results["network"]):
        chosen = (history["network"] == network) & (history["epoch"] == epoch)
        values = history.loc[chosen, "val_top1"].dropna()
        claimed = float(PUBLISHED[network][0])
        if elsewhere or epoch < SOURCE_EPOCH:
            verdict = "not comparable: see above"
        elif len(values) < 2:
            verdict = "one seed: no verdict"
        else:
            _, low, high = mean_interval(100 * values)
            verdict = "inside" if low <= claimed <= high else "outside"
            verdict += " the 95 % interval"
        name = network_name(network, settings)
        rows.append(
            (
                f"{name}: top-1 {claimed:g} % at epoch {SOURCE_EPOCH}",
                SOURCE,
                f"{in_percent(values)} % at epoch {epoch}",
                verdict,
            )
        )
    return rows


def other_task(settings: dict[str, Any]) -> list[str]:
    """Says how the task differs from ImageNet's, so that no figure is comparable."""
    classes = len(settings["classes"])
    task = [] if classes == 1000 else [f"{classes} classes in place of 1,000"]
    if settings.get("per_class"):
        task.append(f"{settings['per_class']} training images of each class")
    return task + _differences(settings, SOURCE_TASK)


def comparability(settings: dict[str, Any]) -> str:
    """Says which figures of this run are comparable with which published ones."""
    task = other_task(settings)
    training = _differences(settings, SOURCE_TRAINING)
    if settings["epochs"] < SOURCE_EPOCH:
        training.append(f"{settings['epochs']} epochs, fewer than {SOURCE_EPOCH}")
    start = (
        "The source's figures and the published ones are for the 1,000 classes and "
        f"1.28 million training images of ImageNet. This run is on {settings['data']}"
    )
    if task:
        return (
            f"{start}, and differs: {'; '.join(task + training)}. Its figures must not "
            "be compared with the others: what can be compared is the order of the "
            f"networks, and guessing would be right in "
            f"{100 / len(settings['classes']):.3g} %."
        )
    ours = "where these are ImageNet's images, its figures can be compared with"
    if training:
        return (
            f"{start}, trained otherwise than by the source: {'; '.join(training)}. "
            f"So {ours} the published ones, but not with the source's."
        )
    return (
        f"{start}, with the source's settings: {ours} the source's. The published ones "
        "are of longer trainings."
    )


def _differences(settings: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    return [
        f"{key.replace('_', ' ')} {settings[key]} in place of {value}"
        for key, value in theirs.items()
        if settings[key] != value
    ]


def accuracies(results: pd.DataFrame) -> pd.DataFrame:
    return by_network(
        results,
        lambda group: {
            "seeds": int(group["top1"].notna().sum()),
            "diverged": int(group["top1"].isna().sum()),
            "top-1 (%)": in_percent(group["top1"]),
            "top-5 (%)": in_percent(group["top5"]),
            "best epoch's top-1 (%)": in_percent(group["best_top1"]),
            "best epoch": group["best_epoch"].mean(),
        },
    )


def gaps(results: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    gap = results.merge(compared[["network", "seed", "gap"]], on=["network", "seed"])
    return by_network(
        gap,
        lambda group: {
            "training images, top-1 (%)": in_percent(group["train_top1"]),
            "validation images, top-1 (%)": in_percent(group["top1"]),
            "gap (points)": in_percent(group["gap"]),
        },
    )


def calibration(results: pd.DataFrame) -> pd.DataFrame:
    return by_network(
        results,
        lambda group: {
            "calibration error (points)": in_percent(group["ece"]),
            "validation loss": group["loss"].mean(),
        },
    )


def by_network(
    results: pd.DataFrame, summarize: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """Returns one row for each network."""
    return pd.DataFrame(
        [
            {"network": network, **summarize(group)}
            for network, group in results.groupby("network", sort=False)
        ]
    )


def costs(results: pd.DataFrame) -> pd.DataFrame:
    return (
        results.groupby("network", sort=False)
        .agg(
            parameters=("parameters", "first"),
            seconds=("seconds", "mean"),
            images_per_second=("images_per_second", "mean"),
        )
        .rename(columns={"images_per_second": "images per second"})
        .reset_index()
    )


def with_mean_shares(occlusion: pd.DataFrame) -> pd.DataFrame:
    """Gives all patches of a size the mean share that the seeds measured."""
    share = occlusion.groupby("size")["erased_share"].transform("mean")
    return occlusion.assign(erased_share=share)


def under_occlusion(occlusion: pd.DataFrame) -> pd.DataFrame:
    """Returns the mean top-1 of each network by patch size, and the loss of it."""
    means = 100 * with_mean_shares(occlusion).pivot_table(
        index=["size", "erased_share"], columns="network", values="top1"
    )
    means = means[[name for name in NETWORKS if name in means]]
    table = means.rename(columns="{} (%)".format)
    if means.index[0][0] == 0:  # the images as they are
        lost = (means.iloc[0] - means).iloc[1:]
        table = table.join(lost.rename(columns="{}, lost".format))
    return table.reset_index().rename(
        columns={"size": "patch / image side", "erased_share": "erased share"}
    )


def in_percent(values: pd.Series) -> str:
    """Returns mean and 95 % t interval of the finite values in words."""
    finite = values[np.isfinite(values.astype(float))]
    if not len(finite):
        return "n/a"
    mean, low, high = (100 * number for number in mean_interval(finite))
    return (
        f"{mean:.1f}" if len(finite) == 1 else f"{mean:.1f} ({low:.1f} to {high:.1f})"
    )
