"""The report of the ImageNet comparison, written from the finished trainings."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_figures import make_panels
from _imagenet_images import PICTURES
from _imagenet_published import against_others, comparability, network_name
from _imagenet_settings import NETWORKS
from _imagenet_training import NORMS

from keras_residual.analysis.report import Section
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.figures import save_figures
from keras_residual.experiments.hypotheses import Claim, compare_claims
from keras_residual.experiments.reporting import (
    Story,
    Trainings,
    count,
    in_percent,
    write_story,
)

KEY = ["network", "seed"]
# A diverged training has none of these.
OUTCOMES = ["top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"]
NUMBERS = [*OUTCOMES, "parameters", "seconds", "images_per_second"]
# The panels that make up the picture on top.
LEADING = ("val_accuracy", "accuracy", "gap", "occlusion")

Figure = tuple[str, tuple[str, ...], str]  # name, panels, caption
# Heading, text, figures.
SECTIONS: tuple[tuple[str, str, tuple[Figure, ...]], ...] = (
    (
        "Accuracy",
        "",
        (
            (
                "curves",
                ("val_accuracy", "val_top5", "loss"),
                "Validation accuracy (top-1, with more than five classes top-5) and "
                "training loss over the epochs.",
            ),
            (
                "accuracy",
                ("accuracy", "H3a", "H3b"),
                "Top-1 accuracy by seed after the last epoch, and its differences.",
            ),
        ),
    ),
    (
        "Training minus validation: what Cutout is for",
        "The accuracy on training images is that of about as many images as validate, "
        "measured in the same way: after the last epoch, on the centre crop, without "
        "Cutout. Cutout keeps a network from leaning on a few pixels, so it should "
        "memorize fewer training images: a smaller gap at the same or a higher "
        "validation accuracy. A network that has learnt little has a small gap as "
        "well.",
        (
            (
                "gap",
                ("gap", "H3c"),
                "Accuracy on training and validation images, and what Cutout does to "
                "the gap by seed.",
            ),
        ),
    ),
    (
        "Accuracy under occlusion",
        "Validation images with a square erased at a random place inside, the same for "
        "every network. A network that was wrong before has little to lose: read the "
        "accuracy that is left together with what was lost.",
        (
            (
                "occlusion",
                ("occlusion",),
                "Top-1 accuracy against the share of the pixels that was erased.",
            ),
        ),
    ),
    (
        "Calibration: how sure, and how often right",
        "Below the diagonal a network is right less often than it claims.",
        (
            (
                "reliability",
                ("reliability", "H3e"),
                "Accuracy against confidence, and what Cutout does to the calibration "
                "error by seed.",
            ),
        ),
    ),
    (
        "Gradient norms",
        "Of the gradients that updated the weights; the convolutions of the projection "
        "shortcuts, which the plain network lacks, are left out.",
        (
            (
                "gradient_norms",
                ("gradient_norms",),
                "Gradient norm of each convolution's kernel against its depth, plain "
                "against residual network.",
            ),
        ),
    ),
    (
        "Pictures",
        "",
        tuple(
            (
                f"pictures-{name}",
                (f"pictures-{name}",),
                f"Validation images and what they were taken for: {name}.",
            )
            for name in NETWORKS
        ),
    ),
)
METHOD = (
    "plain: the network without shortcuts. resnet: the same convolutions with "
    "shortcuts. resnet-cutout: the same network, trained on images of which Cutout "
    "erases a square at a random place. The networks of a seed see the same images in "
    "the same order. Top-1 and top-5 are shares of the validation images, on the "
    "centre crop, after the last epoch."
)
LIMITS = """\
- What holds here holds for these images, this size, this recipe and this number of
epochs. The source stops early: a network that learns faster is ahead then, and need not
stay ahead. He et al. find almost no difference between 18 layers with and without
shortcuts once both are trained to the end.

- The outcome is the accuracy after the last epoch on the validation images, which chose
nothing. The best epoch is chosen by them and stands there only for information.

- All seeds share the images; they differ in the initial weights, the order, the crops
and the patches. The interval over seeds says nothing about other images.

- Occlusion means erased squares at random places, and Cutout trains with such squares:
the accuracy under them promises nothing for objects that hide each other, for noise or
for blur.

- The calibration error depends on the number of bins and, with few images, is too large
for every network. A recipe with label smoothing makes a network less sure by design.

- Trainings that diverged have no outcome and are left out of the means and the tests,
which flatters the network that diverges; their number stands in the tables."""


def write_imagenet_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    claims: Sequence[Claim],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        claims: What is claimed about the networks.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    order = {name: place for place, name in enumerate(NETWORKS)}
    tasks = sorted(tasks, key=lambda task: order[task.arguments["network"]])
    trainings = Trainings(folder, tasks, KEY, NUMBERS)
    results = trainings.results
    diverged = ~np.isfinite(results["top1"])
    if "diverged" in results:
        diverged |= results["diverged"].fillna(False).astype(bool)
    results.loc[diverged, OUTCOMES] = np.nan

    def finite(frame: pd.DataFrame) -> pd.DataFrame:
        return frame if frame.empty else results.loc[~diverged, KEY].merge(frame)

    history = trainings.read("history.csv")
    if history.empty:  # all diverged in the first epoch
        history = pd.DataFrame(columns=[*KEY, "epoch", "val_top1"])
    predictions = finite(trainings.read("predictions.csv"))
    occlusion = finite(trainings.read("occlusion.csv"))
    if len(occlusion):
        # All patches of a size have the mean share that the seeds measured.
        shares = occlusion.groupby("size")["erased_share"].transform("mean")
        occlusion = occlusion.assign(erased_share=shares)
    results = with_outcomes(results, occlusion)
    tested = test_claims(results, claims)
    folder.write_tables(
        results=results, history=history, occlusion=occlusion, hypotheses=tested
    )
    shown = [unit for unit in trainings.units if (unit / PICTURES).is_file()]
    panels = make_panels(
        *(results, history, occlusion, predictions, tested, claims),
        settings["classes"],
        norms=trainings.read(NORMS),
        pictures=np.load(shown[0] / PICTURES) if shown else None,
    )
    tables = make_tables(results, occlusion)
    sections = [
        Section(
            heading,
            text,
            save_figures(folder.path, panels, figures),
            tables.get(heading, ()),
        )
        for heading, text, figures in SECTIONS
    ]
    story = Story(
        title=title(settings),
        question="Do shortcuts and Cutout raise the accuracy on ImageNet or something "
        "smaller, and what else does Cutout change? "
        f"{count(len(settings['networks']), 'network')}, with each of "
        f"{count(results['seed'].nunique(), 'seed')}.",
        tested=tested,
        panels=[panels[name] for name in LEADING if name in panels],
        others=against_others(finite(history), results, settings),
        others_note=comparability(settings),
        limits=LIMITS,
        method=METHOD,
    )
    return write_story(
        folder,
        story,
        [section for section in sections if section.figures or section.tables],
        incomplete=trainings.incomplete,
        quick=quick,
    )


def with_outcomes(results: pd.DataFrame, occlusion: pd.DataFrame) -> pd.DataFrame:
    """Adds the outcomes of the claims that follow from what was measured."""
    results = results.assign(gap=results["train_top1"] - results["top1"])
    if occlusion.empty:
        return results.assign(occluded_top1=math.nan)
    erased = occlusion[occlusion["size"] > 0].groupby(KEY)["top1"]
    # The mean must not leave out a size that could not be measured.
    means = erased.agg(lambda values: values.mean(skipna=False))
    return results.merge(means.rename("occluded_top1").reset_index(), "left", KEY)


def test_claims(results: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """One row for each claim about networks that were trained, with a verdict."""
    trained = set(results["network"])
    about = [claim for claim in claims if {claim.larger, claim.smaller} <= trained]
    return compare_claims(about, results, "network")


def make_tables(
    results: pd.DataFrame, occlusion: pd.DataFrame
) -> dict[str, list[tuple[pd.DataFrame, str]]]:
    """Tables and their captions, by the heading of the section."""
    means = "Means over the seeds that did not diverge, 95 % t intervals."
    accuracy = {"top-1 (%)": "top1", "top-5 (%)": "top5"}
    accuracy["best epoch's top-1 (%)"] = "best_top1"
    costs = ("parameters", "seconds", "images_per_second")
    gap = {
        "training images, top-1 (%)": "train_top1",
        "validation images, top-1 (%)": "top1",
        "gap (points)": "gap",
    }
    error = {"calibration error (points)": "ece"}
    headings = [heading for heading, *_ in SECTIONS]
    tables = {
        headings[0]: [
            (
                by_network(results, accuracy, "best_epoch"),
                f"Validation images. {means}",
            ),
            (by_network(results, {}, *costs), "Means of one training."),
        ],
        headings[1]: [(by_network(results, gap), means)],
    }
    if len(occlusion):
        caption = (
            "Mean top-1 accuracy over the seeds in %, and what of it is lost against "
            "the same images without a patch."
        )
        tables[headings[2]] = [(under_occlusion(occlusion), caption)]
    if results["ece"].notna().any():
        tables[headings[3]] = [(by_network(results, error, "loss"), means)]
    return tables


def by_network(
    results: pd.DataFrame, shares: Mapping[str, str], *numbers: str
) -> pd.DataFrame:
    """One row for each network: shares with intervals, and means of other numbers."""
    rows = []
    for network, group in results.groupby("network", sort=False):
        seeds = int(group["top1"].notna().sum())
        row = {"network": network, "seeds": seeds, "diverged": len(group) - seeds}
        row |= {name: in_percent(group[column]) for name, column in shares.items()}
        row |= {name.replace("_", " "): group[name].mean() for name in numbers}
        rows.append(row)
    return pd.DataFrame(rows)


def under_occlusion(occlusion: pd.DataFrame) -> pd.DataFrame:
    """Mean top-1 of each network by patch size, and what of it was lost."""
    means = 100 * occlusion.pivot_table(
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


def title(settings: Mapping[str, Any]) -> str:
    """Title that names networks and data."""
    depth = settings["depth"]
    *others, last = [network_name(name, depth) for name in settings["networks"]]
    names = f"{', '.join(others)} and {last}" if others else last
    return f"{names} on {settings['data']}"
