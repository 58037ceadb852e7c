"""The report of simulation 4: reads the finished trainings and draws conclusions."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _experiment import RunFolder
from _reporting import (
    Draw,
    count,
    facts_table,
    read_results,
    read_with_keys,
    save_figure,
)
from _sim4_hypotheses import gradient_scales, read_norms, test_hypotheses
from _workers import Task

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section, write_report

NETS = {"plain": plots.STYLES[0], "residual": plots.STYLES[1]}

LIMITS = """\
- What holds here holds for these data, this size, one learning rate and one
optimizer; a plain network may need another learning rate than a residual one.

- The outcome is the accuracy after the last epoch on images that were not trained
on. They chose nothing (no epoch, no setting), so no third split is needed; but they
are few, and the interval over seeds covers split, order and initial weights, not
other data.

- Batch normalization by itself keeps the gradients of a plain network from vanishing
(He et al. 2015, section 4.1): what is said about networks with it does not hold
without it, and the other way round.

- A larger gradient norm is not better in itself: a norm that grows toward the input
is a gradient that explodes."""


def write_sim4_report(
    folder: RunFolder, tasks: Sequence[Task], settings: dict[str, Any]
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing."""
    units = [folder.units / task.name for task in tasks]
    results = read_results(units)
    results["epochs_to_threshold"] = results["epochs_to_threshold"].astype(float)
    keys = results[["net", "blocks", "batch_norm", "seed"]].to_dict("records")
    history = read_with_keys(
        units, keys, lambda unit: pd.read_csv(unit / "history.csv")
    )
    norms = read_with_keys(units, keys, read_norms)
    scales = gradient_scales(norms)
    hypotheses = test_hypotheses(results, scales)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("gradient_scales.csv", scales),
        ("hypotheses.csv", hypotheses),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    sections = [_method(folder, results, settings)]
    for (batch_norm, blocks), rows in results.groupby(
        ["batch_norm", "blocks"], sort=False
    ):
        chosen = {"batch_norm": batch_norm, "blocks": blocks}
        sections.append(
            _condition(
                folder.path,
                _heading(batch_norm, blocks),
                f"blocks{blocks:03d}-bn_{batch_norm}",
                rows,
                _select(history, chosen),
                _select(norms, chosen),
                _select(scales, chosen),
                settings["threshold"],
            )
        )
    if results["blocks"].nunique() > 1:
        sections.append(_depth_section(folder.path, results))
    sections.append(Section("What this does not show", LIMITS))
    title = f"Simulation 4: plain and residual networks on {settings['dataset']}"
    return write_report(folder.path, title, _summary(hypotheses), sections)


def _select(frame: pd.DataFrame, values: dict[str, Any]) -> pd.DataFrame:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def _heading(batch_norm: str, blocks: int) -> str:
    words = "with" if batch_norm == "on" else "without"
    return f"{count(blocks, 'block')}, {words} batch normalization"


def _summary(hypotheses: pd.DataFrame) -> str:
    parts = []
    for (batch_norm, blocks), rows in hypotheses.groupby(
        ["batch_norm", "blocks"], sort=False
    ):
        parts.append(f"{_heading(batch_norm, blocks)}:")
        parts += [f"- {row.hypothesis}. {row.words}" for row in rows.itertuples()]
    return "\n\n".join(parts)


def _method(
    folder: RunFolder, results: pd.DataFrame, settings: dict[str, Any]
) -> Section:
    data = f"{settings['images']} images, {len(settings['classes'])} classes"
    if settings["strength"] is not None:
        data += f", pattern strength {settings['strength']:g}"
    text = (
        "The hypotheses were stated before the runs. Each is tested by the sign-flip "
        "test (exact up to 20 seeds; beyond, from 99,999 sampled sign patterns), "
        "paired by seed, two-sided at level 0.05; within a condition the three "
        "p-values are corrected together (Holm). H1a is the claim as it is "
        "usually made; H1b is what it is usually meant to say, that the scale of the "
        "gradient survives the depth. Both use kernels, whose gradients also contain "
        "the size of their inputs: where a signal fades on its way through the net, "
        "read the figure of the biases or betas as well.\n\n"
        "The two nets of a seed have the same number of parameters, initial weights, "
        "training images, order of images, optimizer (Adam) and learning rate; they "
        "differ in the shortcuts alone. Each seed draws another split (80 % training, "
        "20 % validation), order and initial weights. The gradient norms are those of "
        "the gradients that updated the weights, recorded "
        f"every {count(settings['record_every'], 'step')}."
    )
    facts = {
        "dataset": f"{settings['dataset']}: {data}",
        "training": f"{count(settings['epochs'], 'epoch')}, batch size "
        f"{settings['batch_size']}, learning rate {settings['learning_rate']:g}",
        "seeds": str(len(settings["seeds"])),
    }
    size = (
        results.groupby(["blocks", "batch_norm", "net"], sort=False)
        .agg(parameters=("parameters", "first"), seconds=("seconds", "mean"))
        .reset_index()
    )
    return Section(
        "What was done",
        text,
        tables=[
            (facts_table(folder, facts), "Settings, versions and hardware."),
            (size, "Trainable parameters, and mean seconds for one training."),
        ],
    )


def _condition(
    folder: Path,
    heading: str,
    suffix: str,
    results: pd.DataFrame,
    history: pd.DataFrame,
    norms: pd.DataFrame,
    scales: pd.DataFrame,
    threshold: float,
) -> Section:
    kernels = norms[norms["kind"] == "kernel"]
    # The parameter that is added last to a convolution's output.
    shifts = norms[norms["kind"].isin(["bias", "beta"])]
    finite = kernels["norm"][np.isfinite(kernels["norm"]) & (kernels["norm"] > 0)]
    limits = (finite.min(), finite.max()) if finite.nunique() > 1 else None

    def save(name: str, *draw: Draw) -> str:
        return save_figure(folder, f"{name}-{suffix}.png", *draw)

    figures = [
        (
            save(
                "curves",
                functools.partial(plots.training_curves, history, styles=NETS),
                functools.partial(plots.training_curves, history, "loss", styles=NETS),
            ),
            "Validation accuracy and training loss over the epochs.",
        ),
        (
            save(
                "accuracy",
                functools.partial(plots.accuracy_by_seed, results, styles=NETS),
                functools.partial(
                    plots.paired_difference,
                    results,
                    treatment="residual",
                    control="plain",
                ),
            ),
            "Final validation accuracy by seed, and the difference by seed.",
        ),
        (
            save(
                "depth",
                functools.partial(plots.gradient_norm_by_depth, kernels, styles=NETS),
            ),
            "Gradient norm of each convolution's kernel against its depth.",
        ),
        (
            save(
                "shift_depth",
                functools.partial(plots.gradient_norm_by_depth, shifts, styles=NETS),
            ),
            "The same for the biases or, with batch normalization, its betas, which "
            "follow the gradient of the activations; a kernel's gradient also contains "
            "the size of its input.",
        ),
        (
            save(
                "heatmap",
                *(
                    functools.partial(
                        plots.gradient_norm_heatmap,
                        kernels[kernels["net"] == net],
                        limits=limits,
                    )
                    for net in NETS
                ),
            ),
            "Gradient norm of the kernels over depth and step, one colour scale.",
        ),
        (
            save(
                "epochs",
                functools.partial(
                    plots.epochs_to_threshold, results, threshold, styles=NETS
                ),
            ),
            f"Epochs until the validation accuracy first reached {threshold:g}.",
        ),
    ]
    means = results.groupby("net")[["accuracy", "best_accuracy"]].mean().reset_index()
    columns = ["first_kernel", "last_kernel", "first_shift", "last_shift"]
    logs = np.log10(scales.set_index("net")[columns])
    typical = (10 ** logs.groupby("net").mean()).reset_index()
    return Section(
        heading,
        figures=figures,
        tables=[
            (means, "Mean accuracy over seeds (the best epoch only for information)."),
            (
                typical,
                "Gradient norms of the first and the last convolution of the blocks "
                "(shift: bias or beta): geometric mean over training and seeds.",
            ),
        ],
    )


def _depth_section(folder: Path, results: pd.DataFrame) -> Section:
    figures = []
    for batch_norm, rows in results.groupby("batch_norm", sort=False):
        words = "with" if batch_norm == "on" else "without"
        name = save_figure(
            folder,
            f"degradation-bn_{batch_norm}.png",
            functools.partial(plots.degradation, rows, styles=NETS),
        )
        caption = f"Final accuracy against the depth, {words} batch normalization."
        figures.append((name, caption))
    return Section("Accuracy against depth", figures=figures)
