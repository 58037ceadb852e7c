"""The report of the ImageNet comparison, written from the finished trainings."""

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_figures import draw_gradients, draw_panels, draw_pictures
from _imagenet_images import PICTURES
from _imagenet_published import against_others, comparability, in_percent, network_name
from _imagenet_settings import NETWORKS
from _imagenet_training import NORMS

from keras_residual.analysis.report import Section
from keras_residual.experiments import (
    Hypothesis,
    RunFolder,
    Task,
    compare_hypotheses,
)
from keras_residual.experiments.figures import save_figure
from keras_residual.experiments.reporting import (
    Story,
    count,
    finished_units,
    read_result,
    read_results,
    read_with_keys,
    write_story,
)

KEY = ["network", "seed"]
# A diverged training has none of these.
OUTCOMES = ["top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"]
NUMBERS = [*OUTCOMES, "parameters", "seconds", "images_per_second"]
# The panels that make up the picture on top.
LEADING = ("val_accuracy", "accuracy", "gap", "occlusion")

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
    claims: Sequence[tuple[str, ...]],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        claims: Name, claim, outcome, and the networks whose outcome is claimed to be
            larger and smaller.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    units, incomplete = finished_units(folder, tasks)
    units.sort(key=lambda unit: NETWORKS.index(read_result(unit)["network"]))
    results = read_results(units, NUMBERS)
    diverged = ~np.isfinite(results["top1"])
    if "diverged" in results:
        diverged |= results["diverged"].fillna(False).astype(bool)
    results.loc[diverged, OUTCOMES] = np.nan
    keys = results[KEY].to_dict("records")

    def read(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        # A diverged training may lack the file.
        pairs = zip(units, keys, strict=True)
        there = [pair for pair in pairs if (pair[0] / name).is_file()]
        if not there:
            return pd.DataFrame()
        return read_with_keys(
            [unit for unit, _ in there],
            [key for _, key in there],
            lambda unit: pd.read_csv(unit / name, usecols=columns),
        )

    def finite(frame: pd.DataFrame) -> pd.DataFrame:
        return frame if frame.empty else results.loc[~diverged, KEY].merge(frame)

    history = read("history.csv")
    if history.empty:  # all diverged in the first epoch
        history = pd.DataFrame(columns=[*KEY, "epoch", "val_top1"])
    columns = ["image", "label", "confidence", "predicted_1"]
    predictions = finite(read("predictions.csv", columns))
    occlusion = finite(read("occlusion.csv"))
    if len(occlusion):
        # All patches of a size have the mean share that the seeds measured.
        shares = occlusion.groupby("size")["erased_share"].transform("mean")
        occlusion = occlusion.assign(erased_share=shares)
    results = with_outcomes(results, occlusion)
    tested = test_claims(results, claims)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("occlusion.csv", occlusion),
        ("hypotheses.csv", tested),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    panels = draw_panels(
        *(results, history, occlusion, predictions, tested, claims, settings)
    )

    def figure(name: str, caption: str, *names: str) -> list[tuple[str, str]]:
        """Nothing, if there is nothing that the first panel can show."""
        if names[0] not in panels:
            return []
        draw = [panels[name] for name in names if name in panels]
        return [(save_figure(folder.path, f"{name}.png", *draw), caption)]

    accuracy = {
        "top-1 (%)": "top1",
        "top-5 (%)": "top5",
        "best epoch's top-1 (%)": "best_top1",
    }
    gap = {
        "training images, top-1 (%)": "train_top1",
        "validation images, top-1 (%)": "top1",
        "gap (points)": "gap",
    }
    costs = {
        "parameters": "parameters",
        "seconds": "seconds",
        "images per second": "images_per_second",
    }
    means = "Means over the seeds that did not diverge, 95 % t intervals."
    sections = [
        Section(
            "Accuracy",
            figures=[
                *figure(
                    "curves",
                    "Validation accuracy (top-1, with more than five classes top-5) "
                    "and training loss over the epochs.",
                    *("val_accuracy", "val_top5", "loss"),
                ),
                *figure(
                    "accuracy",
                    "Top-1 accuracy by seed after the last epoch, and its differences.",
                    *("accuracy", "H3a", "H3b"),
                ),
            ],
            tables=[
                (
                    by_network(results, accuracy, {"best epoch": "best_epoch"}),
                    f"Validation images. {means}",
                ),
                (by_network(results, {}, costs), "Means of one training."),
            ],
        ),
        Section(
            "Training minus validation: what Cutout is for",
            "The accuracy on training images is that of about as many images as "
            "validate, measured in the same way: after the last epoch, on the centre "
            "crop, without Cutout. Cutout keeps a network from leaning on a few "
            "pixels, so it should memorize fewer training images: a smaller "
            "gap at the same or a higher validation accuracy. A network that has "
            "learnt little has a small gap as well.",
            figures=figure(
                "gap",
                "Accuracy on training and validation images, and what Cutout does to "
                "the gap by seed.",
                *("gap", "H3c"),
            ),
            tables=[(by_network(results, gap), means)],
        ),
    ]
    if len(occlusion):
        sections.append(
            Section(
                "Accuracy under occlusion",
                "Validation images with a square erased at a random place inside, the "
                "same for every network. A network that was wrong before has little to "
                "lose: read the accuracy that is left together with what was lost.",
                figures=figure(
                    "occlusion",
                    "Top-1 accuracy against the share of the pixels that was erased.",
                    "occlusion",
                ),
                tables=[
                    (
                        under_occlusion(occlusion),
                        "Mean top-1 accuracy over the seeds in %, and what of it is "
                        "lost against the same images without a patch.",
                    )
                ],
            )
        )
    if len(predictions):
        error, loss = {"calibration error (points)": "ece"}, {"validation loss": "loss"}
        sections.append(
            Section(
                "Calibration: how sure, and how often right",
                "Below the diagonal a network is right less often than it claims.",
                figures=figure(
                    "reliability",
                    "Accuracy against confidence, and what Cutout does to the "
                    "calibration error by seed.",
                    *("reliability", "H3e"),
                ),
                tables=[(by_network(results, error, loss), means)],
            )
        )
    if drawn := draw_gradients(folder.path, read(NORMS)):
        sections.append(
            Section(
                "Gradient norms",
                "Of the gradients that updated the weights; the convolutions of the "
                "projection shortcuts, which the plain network lacks, are left out.",
                figures=drawn,
            )
        )
    shown = [unit for unit in units if (unit / PICTURES).is_file()]
    if shown and len(predictions):
        with np.load(shown[0] / PICTURES) as pictures:
            drawn = draw_pictures(
                *(folder.path, predictions, settings["classes"]), **pictures
            )
        sections.append(Section("Pictures", figures=drawn))
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
        facts=facts(settings),
    )
    return write_story(folder, story, sections, incomplete=incomplete, quick=quick)


def with_outcomes(results: pd.DataFrame, occlusion: pd.DataFrame) -> pd.DataFrame:
    """Adds the outcomes of the claims that follow from what was measured."""
    results = results.assign(gap=results["train_top1"] - results["top1"])
    if occlusion.empty:
        return results.assign(occluded_top1=math.nan)
    erased = occlusion[occlusion["size"] > 0].groupby(KEY)["top1"]
    # The mean must not leave out a size that could not be measured.
    means = erased.agg(lambda values: values.mean(skipna=False))
    return results.merge(means.rename("occluded_top1").reset_index(), "left", KEY)


def test_claims(
    results: pd.DataFrame, claims: Sequence[tuple[str, ...]]
) -> pd.DataFrame:
    """One row for each claim about networks that were trained, with a verdict."""
    trained = set(results["network"])
    family = []
    for name, claim, outcome, larger, smaller in claims:
        if {larger, smaller} <= trained:
            pairs = results.pivot(index="seed", columns="network", values=outcome)
            pairs = pairs[[larger, smaller]].astype(float)
            family.append(Hypothesis(name, claim, pairs, larger, smaller, "percent"))
    return pd.DataFrame(compare_hypotheses(family)) if family else pd.DataFrame()


def by_network(
    results: pd.DataFrame, shares: Mapping[str, str], numbers: Mapping[str, str] = {}
) -> pd.DataFrame:
    """One row for each network: shares with intervals, and means of other numbers."""
    rows = []
    for network, group in results.groupby("network", sort=False):
        seeds = int(group["top1"].notna().sum())
        row = {"network": network, "seeds": seeds, "diverged": len(group) - seeds}
        row |= {name: in_percent(group[column]) for name, column in shares.items()}
        row |= {name: group[column].mean() for name, column in numbers.items()}
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
    *others, last = [network_name(name, settings) for name in settings["networks"]]
    names = f"{', '.join(others)} and {last}" if others else last
    return f"{names} on {settings['data']}"


def facts(settings: Mapping[str, Any]) -> dict[str, str]:
    """Every setting in a line."""
    return {
        name.replace("_", " "): textwrap.shorten(
            value if isinstance(value, str) else json.dumps(value), 200
        )
        for name, value in settings.items()
        if value is not None
    }
