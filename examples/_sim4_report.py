"""The report of simulation 4: reads the finished trainings and draws conclusions."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section, write_report
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.reporting import (
    Draw,
    count,
    facts_table,
    finished_units,
    read_results,
    read_with_keys,
    save_figure,
)

CONDITION = ["blocks", "batch_norm"]
KEY = ["net", *CONDITION, "seed"]
# A dead network has gradients of exactly zero, which have no logarithm.
FLOOR = float(np.finfo(np.float32).tiny)
NUMBERS = ("accuracy", "best_accuracy", "epochs_to_threshold")

NETS = {"plain": plots.STYLES[0], "residual": plots.STYLES[1]}

LIMITS = """\
- What holds here holds for these data, this size, one learning rate and one
optimizer; a plain network may need another learning rate than a residual one.

- The outcome is the accuracy after the last epoch on images that were not trained
on. They chose no epoch; but the strength of the pattern in the synthetic images was
chosen, before the runs, on two of the seeds, so that neither net is right always or
never. They are few, and the interval over seeds covers split, order and initial
weights, not other data.

- Batch normalization by itself keeps the gradients of a plain network from vanishing
(He et al. 2015, section 4.1): what is said about networks with it does not hold
without it, and the other way round.

- A larger gradient norm is not better in itself: a norm that grows toward the input
is a gradient that explodes."""


def write_sim4_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    test: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame],
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        test: From results and gradient scales to the tested claims.
    """
    units, incomplete = finished_units(folder, tasks)
    settings = folder.settings
    results = read_results(units, NUMBERS)
    keys = results[KEY].to_dict("records")
    history = read_with_keys(
        units, keys, lambda unit: pd.read_csv(unit / "history.csv")
    )
    norms = read_with_keys(units, keys, read_norms)
    scales = gradient_scales(norms)
    claims = test(results, scales)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("gradient_scales.csv", scales),
        ("hypotheses.csv", claims),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    sections = [_method(folder, results, settings, claims)]
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
                _select(claims, chosen),
                settings["threshold"],
            )
        )
    if results["blocks"].nunique() > 1:
        sections.append(_depth_section(folder.path, results))
    sections.append(Section("What this does not show", LIMITS))
    title = f"Simulation 4: plain and residual networks on {settings['dataset']}"
    return write_report(folder.path, title, incomplete + _summary(claims), sections)


def read_norms(unit: Path) -> pd.DataFrame:
    """Norms of one training as rows: step, depth, kind, layer, norm.

    The depth counts convolutions from the input; what follows a convolution has its
    depth. The dense layer at the end is left out.
    """
    wide = pd.read_csv(unit / "gradient_norms.csv")
    depth = 0
    places = []
    for path in wide.columns.drop("step"):
        *_, layer, kind = path.split("/")
        if layer == "logits":
            continue
        depth += kind == "kernel"
        places.append((path, depth, kind))
    long = wide.melt("step", [path for path, _, _ in places], "path", "norm")
    table = pd.DataFrame(places, columns=["path", "depth", "kind"])
    return long.merge(table, on="path")[["step", "depth", "kind", "norm"]]


def gradient_scales(norms: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over training at the first and last convolution of the blocks.

    One row per training. A norm of zero counts as the smallest normal float32; norms
    that are not finite are left out.
    """
    # Depth 1 is the stem, which has another shape than the blocks' convolutions.
    rows = norms[(norms["depth"] > 1) & np.isfinite(norms["norm"])]
    rows = rows[rows["kind"] != "gamma"]
    deepest = rows.groupby(CONDITION)["depth"].transform("max")
    rows = rows.assign(
        log=np.log10(rows["norm"].clip(lower=FLOOR)),
        part=np.where(rows["kind"] == "kernel", "kernel", "shift"),
        end=np.select(
            [rows["depth"] == 2, rows["depth"] == deepest], ["first", "last"], ""
        ),
    )
    rows = rows[rows["end"] != ""]
    means = rows.groupby([*KEY, "end", "part"], sort=False)["log"].mean()
    wide = (10**means).unstack(["end", "part"])
    wide.columns = [f"{end}_{part}" for end, part in wide.columns]
    trained = norms[KEY].drop_duplicates()
    return trained.merge(wide.reset_index(), on=KEY, how="left")


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
    folder: RunFolder,
    results: pd.DataFrame,
    settings: dict[str, Any],
    claims: pd.DataFrame,
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
    families = len(claims[CONDITION].drop_duplicates())
    if families > 1:
        text += (
            f"\n\nThere are {families} conditions, each a family of its own: over "
            f"all of them up to {families} times as many false findings are to be "
            "expected as in one. A finding in one condition alone is weak."
        )
    facts = {
        "dataset": f"{settings['dataset']}: {data}",
        "training": f"{count(settings['epochs'], 'epoch')}, batch size "
        f"{settings['batch_size']}, learning rate {settings['learning_rate']:g}",
        "seeds": str(settings["seeds"]),
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
    claims: pd.DataFrame,
    threshold: float,
) -> Section:
    kernels = norms[norms["kind"] == "kernel"]
    # The parameter that is added last to a convolution's output.
    shifts = norms[norms["kind"].isin(["bias", "beta"])]
    finite = kernels["norm"][np.isfinite(kernels["norm"]) & (kernels["norm"] > 0)]
    limits = (finite.min(), finite.max()) if finite.nunique() > 1 else None

    corrected = claims.loc[claims["hypothesis"] == "H2"].get("p_holm")
    difference = functools.partial(
        plots.paired_difference, results, treatment="residual", control="plain"
    )
    if corrected is not None and corrected.notna().any():
        difference.keywords["p_value"] = float(corrected.iloc[0])
    nets = [net for net in NETS if net in set(results["net"])]

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
                *([difference] if len(nets) == 2 else []),
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
                    for net in nets
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
