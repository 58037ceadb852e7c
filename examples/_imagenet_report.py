"""The report of the ImageNet comparison: reads the finished trainings, concludes."""

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _experiment import RunFolder
from _hypotheses import LEVEL
from _imagenet_figures import (
    accuracy_figures,
    calibration_figures,
    gap_figures,
    gradient_figures,
    occlusion_figures,
    picture_figures,
)
from _imagenet_hypotheses import against_claims, outcomes, test_hypotheses
from _imagenet_tables import (
    NETWORKS,
    accuracies,
    beside_published,
    calibration,
    comparability,
    costs,
    gaps,
    network_name,
    under_occlusion,
)
from _reporting import count, facts_table, read_results, read_with_keys
from _workers import Task

from keras_residual.analysis.report import Section, write_report

MEASURED = (
    *("top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"),
    *("parameters", "seconds", "images_per_second"),
)
# What a training that diverged does not have.
OUTCOMES = MEASURED[:7]

LIMITS = """\
- What holds here holds for these images, this size, this recipe and this number of
epochs. The source stops early: a network that learns faster is ahead then, and need not
stay ahead. He et al. find almost no difference between 18 layers with and without
shortcuts once both are trained to the end.

- The outcome is the accuracy after the last epoch on the validation images, which chose
nothing. The best epoch is chosen by them and stands there only for information.

- All seeds share the images; they differ in the initial weights, the order, the crops
and the patches. The interval over seeds says nothing about other images.

- Occlusion is erased squares at random places, filled with one value, and Cutout trains
with such squares: the accuracy under them is no promise for objects that are hidden by
others, for noise or for blur.

- The calibration error depends on the number of bins and, with few images, is too large
for every network. A recipe with label smoothing makes a network less sure by design.

- Trainings that diverged have no outcome and are left out of the means and the tests,
which flatters the network that diverges; their number stands in the tables."""


def write_imagenet_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    settings: dict[str, Any],
    images: np.ndarray | None = None,
    image_indices: Sequence[int] | None = None,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder, with a unit for each task.
        tasks: The trainings.
        settings: The settings of the run.
        images: Validation images for the pictures, values 0 to 255; none without.
        image_indices: Which images of the validation split they are; the first ones
            by default.
    """
    units = [folder.units / task.name for task in tasks]
    results = _results(units)
    keys = results[["network", "seed"]].to_dict("records")
    order = np.argsort([NETWORKS.index(key["network"]) for key in keys], kind="stable")
    units, keys = [units[i] for i in order], [keys[i] for i in order]
    results = results.iloc[order].reset_index(drop=True)

    def read(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        # One that diverged may lack the file.
        there = [place for place, unit in enumerate(units) if (unit / name).is_file()]
        if not there:
            return pd.DataFrame()
        return read_with_keys(
            [units[place] for place in there],
            [keys[place] for place in there],
            lambda unit: pd.read_csv(unit / name, usecols=columns),
        )

    history = read("history.csv")
    finite = results.loc[results["top1"].notna(), ["network", "seed"]]
    occlusion = _of(finite, read("occlusion.csv"))
    predictions = _of(
        finite,
        read("predictions.csv", ["image", "label", "confidence", "predicted_1"]),
    )
    compared = outcomes(results, occlusion)
    hypotheses = test_hypotheses(compared)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("occlusion.csv", occlusion),
        ("hypotheses.csv", hypotheses),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    sections = [
        _method(folder, results, len(hypotheses), settings),
        Section(
            "Beside the source",
            comparability(settings),
            tables=[
                (
                    beside_published(results, history, settings),
                    "Top-1 accuracy on the validation images in %: means over the "
                    "seeds that did not diverge, and their 95 % t intervals.",
                )
            ],
        ),
        Section(
            "Accuracy",
            figures=accuracy_figures(folder.path, results, history, settings),
            tables=[
                (
                    accuracies(results),
                    "Validation images: means over the seeds, 95 % t intervals.",
                ),
                (costs(results), "Parameters, and means of one training."),
            ],
        ),
        Section(
            "Training minus validation: what Cutout is for",
            "The accuracy on training images is measured as that on validation images: "
            "after the last epoch, on the centre crop, without Cutout. Cutout keeps a "
            "network from leaning on a few pixels, so it should know its training "
            "images less by heart: a smaller gap at the same or a higher validation "
            "accuracy. A network that has learnt little has a small gap as well.",
            figures=gap_figures(folder.path, results, compared),
            tables=[(gaps(results, compared), "Means, 95 % t intervals.")],
        ),
    ]
    if len(occlusion):
        sections.append(_occlusion(folder.path, occlusion))
    if len(predictions):
        sections.append(
            Section(
                "Calibration: how sure, and how often right",
                "Below the diagonal a network is right less often than it claims.",
                figures=calibration_figures(folder.path, compared, predictions),
                tables=[(calibration(results), "Means, 95 % t intervals.")],
            )
        )
    if figures := gradient_figures(folder.path, read("gradient_norms.csv")):
        sections.append(
            Section(
                "Gradient norms",
                "Of the gradients that updated the weights; the convolutions of the "
                "projection shortcuts, which the plain network lacks, are left out.",
                figures=figures,
            )
        )
    if images is not None and len(images) and len(predictions):
        indices = range(len(images)) if image_indices is None else image_indices
        figures = picture_figures(
            folder.path, predictions, settings, images, list(indices)
        )
        sections.append(Section("Pictures", figures=figures))
    sections.append(Section("What this does not show", LIMITS))
    return write_report(
        folder.path, title(settings), _summary(hypotheses, compared), sections
    )


def title(settings: dict[str, Any]) -> str:
    """Title that names networks and data."""
    names = [
        network_name(name, settings)
        for name in NETWORKS
        if name in settings["networks"]
    ]
    together = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
    return f"{together} on {settings['data']}"


def _results(units: Sequence[Path]) -> pd.DataFrame:
    results = read_results(units)
    for name in MEASURED:
        # None and what was not measured become NaN.
        given = results.get(name, np.nan)
        results[name] = pd.to_numeric(pd.Series(given, index=results.index))
    diverged = ~np.isfinite(results["top1"])
    if "diverged" in results:
        diverged |= results["diverged"].fillna(False).astype(bool)
    results.loc[diverged, list(OUTCOMES)] = np.nan
    return results


def _of(trainings: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of these trainings."""
    return frame if frame.empty else trainings.merge(frame, on=["network", "seed"])


def _summary(hypotheses: pd.DataFrame, compared: pd.DataFrame) -> str:
    parts = [f"- {row.hypothesis}. {row.words}" for row in hypotheses.itertuples()]
    if claims := against_claims(compared):
        parts.append(f"- {claims}")
    return "\n".join(parts)


def _method(
    folder: RunFolder, results: pd.DataFrame, tests: int, settings: dict[str, Any]
) -> Section:
    text = (
        "The hypotheses were stated before the runs. Each is tested by the sign-flip "
        "test (exact up to 20 seeds; beyond, from 99,999 sampled sign patterns), "
        "paired by seed, two-sided at level 0.05; the p-values are corrected together "
        f"(Holm).{_needed_seeds(tests)}\n\n"
        "plain: the network without shortcuts. resnet: the same convolutions with "
        "shortcuts. resnet-cutout: the same network, trained on images of which Cutout "
        "erases a square at a random place. The networks of a seed see the same images "
        "in the same order. Top-1 and top-5 are shares of the validation images, on "
        "the centre crop, after the last epoch."
    )
    known = {
        "data": settings["data"],
        "classes": _shortened(settings["classes"]),
        "networks": f"{', '.join(settings['networks'])}; depth {settings['depth']}, "
        f"variant {settings['variant']}",
        "training": f"recipe {settings['recipe']}, "
        f"{count(settings['epochs'], 'epoch')}, batch size {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']:g}",
        "images": f"{settings['image_size']} pixels; Cutout erases squares of side "
        f"{settings['cutout_size']}",
        "seeds": str(results["seed"].nunique()),
    }
    told = {
        *("data", "classes", "networks", "depth", "variant", "recipe", "epochs"),
        *("batch_size", "learning_rate", "image_size", "cutout_size", "seeds"),
    }
    others = {
        name.replace("_", " "): textwrap.shorten(
            value if isinstance(value, str) else json.dumps(value), 200
        )
        for name, value in settings.items()
        if name not in told and value is not None
    }
    return Section(
        "What was done",
        text,
        tables=[
            (facts_table(folder, known | others), "Settings, versions and hardware.")
        ],
    )


def _needed_seeds(tests: int) -> str:
    """How many seeds so many corrected tests need to find anything."""
    if not tests:
        return ""
    # The smallest p-value, 2 / 2**n, is multiplied by the number of tests.
    seeds = math.ceil(math.log2(2 * tests / LEVEL))
    return (
        f" {count(tests, 'test')} need {seeds} seeds: with fewer, no outcome can be "
        "significant."
    )


def _shortened(classes: Sequence[str], most: int = 20) -> str:
    named = ", ".join(classes[:most])
    more = f", and {len(classes) - most} more" if len(classes) > most else ""
    return f"{len(classes)}: {named}{more}"


def _occlusion(folder: Path, occlusion: pd.DataFrame) -> Section:
    return Section(
        "Accuracy under occlusion",
        "Validation images with a square erased at a random place. A network that was "
        "wrong before has little to lose: read the accuracy that is left together with "
        "what was lost.",
        figures=occlusion_figures(folder, occlusion),
        tables=[
            (
                under_occlusion(occlusion),
                "Mean top-1 accuracy over the seeds in %, and what of it is lost "
                "against the same images without a patch.",
            )
        ],
    )
