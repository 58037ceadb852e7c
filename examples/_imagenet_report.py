"""The report of the ImageNet comparison, written from the finished trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_evaluation import PICTURE_INDICES, PICTURES
from _imagenet_figures import (
    gradient_figures,
    make_panels,
    picture_figures,
    save_panels,
)
from _imagenet_hypotheses import against_claims, outcomes, test_hypotheses
from _imagenet_method import LIMITS, METHOD, facts, title
from _imagenet_tables import (
    NETWORKS,
    accuracies,
    against_source,
    beside_published,
    calibration,
    comparability,
    costs,
    gaps,
    other_task,
    under_occlusion,
)

from keras_residual.analysis.report import Section
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.reporting import (
    Story,
    count,
    finished_units,
    read_results,
    read_with_keys,
    write_story,
)

MEASURED = (
    *("top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"),
    *("parameters", "seconds", "images_per_second"),
)
# A diverged training has none of these.
OUTCOMES = MEASURED[:7]
# The panels that make up the picture on top.
LEADING = ("val_accuracy", "accuracy", "gap", "occlusion")


def write_imagenet_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    settings: dict[str, Any],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder, without training.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        settings: The settings of the run.
        quick: Whether the run is a demonstration.
    """
    units, incomplete = finished_units(folder, tasks)
    results = _results(units)
    keys = results[["network", "seed"]].to_dict("records")
    order = np.argsort([NETWORKS.index(key["network"]) for key in keys], kind="stable")
    units, keys = [units[i] for i in order], [keys[i] for i in order]
    results = results.iloc[order].reset_index(drop=True)

    def read(name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        # A diverged training may lack the file.
        there = [place for place, unit in enumerate(units) if (unit / name).is_file()]
        if not there:
            return pd.DataFrame()
        return read_with_keys(
            [units[place] for place in there],
            [keys[place] for place in there],
            lambda unit: pd.read_csv(unit / name, usecols=columns),
        )

    history = read("history.csv")
    if history.empty:  # all diverged in the first epoch
        history = pd.DataFrame(columns=["network", "seed", "epoch", "val_top1"])
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

    panels = make_panels(
        results, history, compared, occlusion, predictions, hypotheses, settings
    )

    def drawn(name: str) -> list[tuple[str, str]]:
        return save_panels(folder.path, name, panels)

    sections = [
        Section(
            "Accuracy",
            figures=[*drawn("curves"), *drawn("accuracy")],
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
            "The accuracy on training images is that of about as many images as "
            "validate, measured in the same way: after the last epoch, on the centre "
            "crop, without Cutout. Cutout keeps a network from leaning on a few "
            "pixels, so it should memorize fewer training images: a smaller "
            "gap at the same or a higher validation accuracy. A network that has "
            "learnt little has a small gap as well.",
            figures=drawn("gap"),
            tables=[(gaps(results, compared), "Means, 95 % t intervals.")],
        ),
    ]
    if len(occlusion):
        sections.append(
            Section(
                "Accuracy under occlusion",
                "Validation images with a square erased at a random place inside, the "
                "same for every network. A network that was wrong before has little to "
                "lose: read the accuracy that is left together with what was lost.",
                figures=drawn("occlusion"),
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
        sections.append(
            Section(
                "Calibration: how sure, and how often right",
                "Below the diagonal a network is right less often than it claims.",
                figures=drawn("reliability"),
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
    shown = [unit for unit in units if (unit / PICTURES).is_file()]
    if shown and len(predictions):
        images, indices = (
            np.load(shown[0] / name) for name in (PICTURES, PICTURE_INDICES)
        )
        figures = picture_figures(
            folder.path, predictions, settings, images, list(indices)
        )
        sections.append(Section("Pictures", figures=figures))
    published = beside_published(results, _of(finite, history), settings)
    difference = against_claims(compared, bool(other_task(settings)))
    sections.append(
        Section(
            "Beside the source and published networks",
            difference,
            tables=[
                (
                    published,
                    "Top-1 accuracy on the validation images in %: means over the "
                    "seeds that did not diverge, and their 95 % t intervals.",
                )
            ],
        )
    )
    story = Story(
        title=title(settings),
        question="Do shortcuts and Cutout raise the accuracy on ImageNet or something "
        "smaller, and what else does Cutout change? "
        f"{count(len(settings['networks']), 'network')}, with each of "
        f"{count(results['seed'].nunique(), 'seed')}.",
        tested=hypotheses,
        panels=[panels[name] for name in LEADING if name in panels],
        others=against_source(results, _of(finite, history), settings),
        others_note=comparability(settings),
        limits=LIMITS,
        method=METHOD,
        facts=facts(results, settings),
    )
    return write_story(folder, story, sections, incomplete=incomplete, quick=quick)


def _results(units: Sequence[Path]) -> pd.DataFrame:
    results = read_results(units)
    for name in MEASURED:
        # None and missing measurements become NaN.
        given = results.get(name, np.nan)
        results[name] = pd.to_numeric(pd.Series(given, index=results.index))
    diverged = ~np.isfinite(results["top1"])
    if "diverged" in results:
        diverged |= results["diverged"].fillna(False).astype(bool)
    results.loc[diverged, list(OUTCOMES)] = np.nan
    return results


def _of(trainings: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of these trainings."""
    return frame if frame.empty else trainings.merge(frame, on=["network", "seed"])
