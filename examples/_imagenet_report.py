"""The report of the ImageNet comparison, written from the finished trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _imagenet_evaluation import PICTURE_INDICES, PICTURES
from _imagenet_figures import (
    accuracy_figures,
    calibration_figures,
    gap_figures,
    gradient_figures,
    occlusion_figures,
    picture_figures,
)
from _imagenet_hypotheses import against_claims, outcomes, test_hypotheses
from _imagenet_method import LIMITS, method_section, title
from _imagenet_tables import (
    NETWORKS,
    accuracies,
    beside_published,
    calibration,
    comparability,
    costs,
    gaps,
    other_task,
    under_occlusion,
)

from keras_residual.analysis.report import Section, write_report
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.reporting import (
    finished_units,
    read_results,
    read_with_keys,
)

MEASURED = (
    *("top1", "top5", "loss", "best_top1", "best_epoch", "train_top1", "ece"),
    *("parameters", "seconds", "images_per_second"),
)
# A diverged training has none of these.
OUTCOMES = MEASURED[:7]


def write_imagenet_report(
    folder: RunFolder, tasks: Sequence[Task], settings: dict[str, Any]
) -> Path:
    """Writes tables, figures and report into the run folder, without training.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        settings: The settings of the run.
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

    corrected = {row.hypothesis: row.p_holm for row in hypotheses.itertuples() if row.n}
    tested = int((hypotheses["n"] > 0).sum()) if len(hypotheses) else 0
    sections = [
        method_section(folder, results, tested, settings),
        Section(
            "Beside the source",
            comparability(settings),
            tables=[
                (
                    beside_published(results, _of(finite, history), settings),
                    "Top-1 accuracy on the validation images in %: means over the "
                    "seeds that did not diverge, and their 95 % t intervals.",
                )
            ],
        ),
        Section(
            "Accuracy",
            figures=accuracy_figures(
                folder.path, results, history, settings, corrected
            ),
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
            figures=gap_figures(folder.path, results, compared, corrected),
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
                figures=calibration_figures(
                    folder.path, compared, predictions, corrected
                ),
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
    sections.append(Section("What this does not show", LIMITS))
    return write_report(
        folder.path,
        title(settings),
        incomplete + _summary(hypotheses, compared, settings),
        sections,
    )


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


def _summary(
    hypotheses: pd.DataFrame, compared: pd.DataFrame, settings: dict[str, Any]
) -> str:
    parts = [f"- {row.hypothesis}. {row.words}" for row in hypotheses.itertuples()]
    if claims := against_claims(compared, bool(other_task(settings))):
        parts.append(f"- {claims}")
    return "\n".join(parts)


def _occlusion(folder: Path, occlusion: pd.DataFrame) -> Section:
    return Section(
        "Accuracy under occlusion",
        "Validation images with a square erased at a random place inside, the same for "
        "every network. A network that was wrong before has little to lose: read the "
        "accuracy that is left together with what was lost.",
        figures=occlusion_figures(folder, occlusion),
        tables=[
            (
                under_occlusion(occlusion),
                "Mean top-1 accuracy over the seeds in %, and what of it is lost "
                "against the same images without a patch.",
            )
        ],
    )
