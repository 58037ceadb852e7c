"""The hypotheses of the ImageNet comparison, stated before the runs."""

import math

import pandas as pd

from keras_residual.analysis.statistics import compare_paired
from keras_residual.experiments import Hypothesis, compare_hypotheses

# Name, claim, outcome, and the networks whose outcome is claimed to be larger and
# smaller.
HYPOTHESES = (
    (
        "H3a",
        "The residual network has a higher top-1 accuracy than the plain one",
        "top1",
        "resnet",
        "plain",
    ),
    (
        "H3b",
        "Cutout raises the top-1 accuracy",
        "top1",
        "resnet-cutout",
        "resnet",
    ),
    (
        "H3c",
        "Cutout narrows the gap between training and validation accuracy (gap without "
        "against with Cutout)",
        "gap",
        "resnet",
        "resnet-cutout",
    ),
    (
        "H3d",
        "Cutout raises the accuracy under occlusion (mean top-1 over the sizes of the "
        "erased patch)",
        "occluded_top1",
        "resnet-cutout",
        "resnet",
    ),
    (
        "H3e",
        "Cutout lowers the calibration error (ECE without against with Cutout)",
        "ece",
        "resnet",
        "resnet-cutout",
    ),
)
# Differences in top-1 accuracy between residual and plain networks of 18 layers on
# ImageNet: where from, and how large.
CLAIMED_DIFFERENCES = (
    ("He et al. 2015 (table 2, trained to the end)", 0.2794 - 0.2788),
    ("the source (epoch 10)", 0.39 - 0.11),
)


def outcomes(results: pd.DataFrame, occlusion: pd.DataFrame) -> pd.DataFrame:
    """Returns one row for each training, with the outcomes of the hypotheses."""
    frame = results[["network", "seed", "top1", "ece"]].copy()
    frame["gap"] = results["train_top1"] - results["top1"]
    if occlusion.empty:
        return frame.assign(occluded_top1=math.nan)
    erased = occlusion[occlusion["size"] > 0]
    means = erased.groupby(["network", "seed"])["top1"].agg(
        # The mean must not leave out a size that could not be measured.
        lambda values: values.mean(skipna=False)
    )
    return frame.merge(
        means.rename("occluded_top1").reset_index(), on=["network", "seed"], how="left"
    )


def test_hypotheses(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns one row with a verdict for each hypothesis that can be tested."""
    trained = set(frame["network"])
    family = []
    for name, claim, outcome, larger, smaller in HYPOTHESES:
        if {larger, smaller} <= trained:
            pairs = frame.pivot(index="seed", columns="network", values=outcome)
            pairs = pairs[[larger, smaller]].astype(float)
            family.append(Hypothesis(name, claim, pairs, larger, smaller, "percent"))
    return pd.DataFrame(compare_hypotheses(family)) if family else pd.DataFrame()


def against_claims(frame: pd.DataFrame, other_task: bool = False) -> str:
    """Sets the difference of residual and plain beside the published ones.

    It is an estimate and no test: the published claims contradict each other, and the
    interval shows which of them it includes. If the task is not ImageNet's
    (`other_task`), no published figure is shown.
    """
    pairs = frame.pivot(index="seed", columns="network", values="top1")
    if not {"plain", "resnet"} <= set(pairs):
        return ""
    pairs = pairs[["plain", "resnet"]].dropna()
    if not len(pairs):
        return ""
    found = compare_paired(pairs["resnet"], pairs["plain"])
    low, high = (100 * end for end in found.interval)
    words = (
        "How large the difference of the residual and the plain network is: "
        f"{100 * found.mean_difference:+z.1f} points of top-1"
    )
    if found.n == 1:
        words += ", from one seed, which gives no interval"
    else:
        words += f" (95 % interval {low:+z.1f} to {high:+z.1f})"
    if other_task:
        return f"{words}. On this task no published difference can be compared with it."
    for source, claimed in CLAIMED_DIFFERENCES:
        words += f"; {source} {100 * claimed:+.3g}"
        if found.n > 1:
            inside = low <= 100 * claimed <= high
            words += f", {'inside' if inside else 'outside'} it"
    return words + "."
