"""The report of simulation 4: reads the finished trainings and draws conclusions."""

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sim4_residual import CLAIMS, CONDITION, KEY, test_claims

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments import RunFolder, Task, gradients, reporting
from keras_residual.experiments.figures import Draw, panel, save_figures
from keras_residual.experiments.reporting import count, verdicts
from keras_residual.experiments.tables import by_group
from keras_residual.experiments.trainings import Trainings

NETS = {"plain": plots.STYLES[0], "residual": plots.STYLES[1]}
NUMBERS = ("accuracy", "best_accuracy", "epochs_to_threshold")
SHARES = {"accuracy (%)": "accuracy", "best epoch's accuracy (%)": "best_accuracy"}
MEANS = "Means over seeds, 95 % t intervals (the best epoch only for information)."
# Figures of each condition: name, panels, caption.
FIGURES = (
    ("curves", ("curves", "loss"), "Validation accuracy and training loss by epoch."),
    ("accuracy", ("seeds", "H2"), "Final accuracy and its difference, by seed."),
    ("depth", ("kernels", "shifts"), "Gradient norms: kernels, and biases or betas."),
    ("heatmap", ("plain", "residual"), "Gradient norm of the kernels, in one scale."),
    ("epochs", ("reached", "unrest"), "How soon and how steadily the nets learn."),
)
LEADING = ("kernels", "curves", "H2")

INITIAL = """\
New networks, whose weights are drawn and not trained, and the gradients of one batch.
Without batch normalization the levels part: the signal of the plain network fades from
block to block, that of the residual one grows, and the gradients with it. Batch
normalization evens the signals. Then the plain network's gradient grows toward the
input by a factor per layer, so that the depth decides, and shortcuts keep it almost
even."""
ON_EQUAL_TERMS = (
    "H1a on equal terms: gradient norm of the first convolution of the blocks, "
    "geometric means over steps and seeds, and their ratio with its 95 % t interval. A "
    "smaller loss makes smaller gradients; at equal loss each net is measured in the "
    "first epoch whose training loss is as low as the lowest that the other reaches."
)
METHOD = """\
The two nets of a seed have the same number of parameters, initial weights, training
images, order of images, optimizer (Adam) and learning rate; they differ in the
shortcuts alone. Each seed draws another split (80 % training, 20 % validation), order
and initial weights. The gradient norms are those of the gradients that updated the
weights.

- H1a is the claim as it is usually made: the gradient of the first block's first
convolution (log10 of its kernel's norm). H1b is what it is usually meant to say, that
the scale of the gradient survives the depth (size of log10 of first / last kernel
norm). Both use kernels, whose gradients also contain the size of their inputs: where a
signal fades on its way through the net, read the figure of the biases or, with batch
normalization, betas as well, which follow the gradient of the activations.
- H4 counts the epochs until the validation accuracy first reaches {threshold} %. It
compares ranks, so that a net that never gets there counts as later than all others;
medians are shown.
- H5 compares the standard deviation of the changes of the validation loss from one
epoch to the next (log10); a steady fall counts as none."""
FAMILIES = """

There are {0} conditions, each a family of its own: over all of them up to {0} times as
many false findings are to be expected as in one. A finding in one condition alone is
weak."""
LIMITS = """\
- What holds here holds for these data, this size, one learning rate and one
optimizer; a plain network may need another learning rate than a residual one.

- H1a mixes two things: a net that has learnt more has a smaller loss, and with it
smaller gradients everywhere. So its gradients are shown at the first steps and at equal
loss as well, as an estimate and not as a test.

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


class Condition(NamedTuple):
    """The tables of one depth with or without batch normalization."""

    results: pd.DataFrame
    history: pd.DataFrame
    norms: pd.DataFrame
    scales: pd.DataFrame
    claims: pd.DataFrame


def write_sim4_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    trained = [task for task in tasks if "net" in task.arguments]
    trainings = Trainings(folder, trained, KEY, NUMBERS)
    results, history = trainings.results, trainings.read("history.csv")
    norms = trainings.read("gradient_norms.csv", gradients.read_norms)
    scales = gradients.gradient_scales(norms, history, KEY)
    claims = test_claims(results, scales, history)
    initial = read_initial(folder, [t for t in tasks if "net" not in t.arguments])
    folder.write_tables(
        results=results,
        history=history,
        gradient_scales=scales,
        initial_norms=initial,
        hypotheses=claims,
    )

    draw = partial(save_figures, folder.path)
    sections, leading = [], []
    if len(initial):
        panels = initial_panels(initial)
        seeds = count(initial["seed"].nunique(), "seed")
        caption = f"Gradient norm of each kernel at step 0, {seeds}."
        drawn = draw(panels, [("initialization", tuple(panels), caption)])
        sections.append(Section("Before the first step", INITIAL, figures=drawn))
        leading = list(panels.values())[-1:]
    conditions = list(results.groupby(CONDITION, sort=False).groups)
    # Of several, the deepest one with batch normalization stands for the run.
    lead = max(conditions, key=lambda key: (key[0], key[1] == "on"))
    for key in conditions:
        frames = (results, history, norms, scales, claims)
        of = Condition(*(select(frame, *key) for frame in frames))
        panels = condition_panels(of, settings)
        said = [
            f"- {words}: {answer}." for words, answer in reporting.answers(of.claims)
        ]
        if key == lead:
            leading += [panels[name] for name in LEADING if name in panels]
            tested, others, said = of.claims, against_claims(of, settings), []
        drawn = draw(panels, FIGURES, f"-blocks{key[0]:03d}-bn_{key[1]}")
        means = by_group(of.results, "net", "accuracy", SHARES, "parameters", "seconds")
        tables = [(means, MEANS), (on_equal_terms(of.scales), ON_EQUAL_TERMS)]
        sections.append(Section(heading(*key), "\n".join(said), drawn, tables))
    if results["blocks"].nunique() > 1:
        panels = {
            f"degradation-bn_{batch_norm}": panel(
                *(plots.degradation, rows),
                about=f"Batch normalization {batch_norm}.",
                styles=NETS,
            )
            for batch_norm, rows in results.groupby("batch_norm", sort=False)
        }
        caption = "Final accuracy against the depth."
        drawn = draw(panels, [(name, (name,), caption) for name in panels])
        sections.append(Section("Accuracy against depth", figures=drawn))
    data = settings["dataset"].replace("synthetic", "synthetic images")
    method = METHOD.format(threshold=f"{100 * settings['threshold']:g}")
    if len(conditions) > 1:
        method += FAMILIES.format(len(conditions))
    story = reporting.Story(
        title=f"Simulation 4: plain and residual networks on {data}",
        question="Do shortcuts keep the gradients of a deep network stronger, and does "
        "it pay? A plain and a residual network that differ in the shortcuts alone "
        f"({heading(*lead)}) are trained with each of "
        f"{count(settings['seeds'], 'seed')}.",
        tested=tested,
        panels=leading,
        others=reporting.of_course_project(others),
        others_note=reporting.COURSE_PROJECT_NOTE,
        limits=LIMITS,
        method=method,
    )
    return reporting.write_story(
        folder, story, sections, incomplete=trainings.incomplete, quick=quick
    )


def read_initial(folder: RunFolder, tasks: Sequence[Task]) -> pd.DataFrame:
    """Norms of the kernels of new networks as rows: key, step, depth, kind, norm."""
    columns, frames = [*KEY, "step", "depth", "kind", "norm"], []
    for task in folder.finished(tasks):
        norms = pd.read_csv(folder.units / task.name / "initial_norms.csv")
        # All networks have the same convolutions in the same order, up to their depth.
        kernels = gradients.with_depth(norms[norms["path"].str.endswith("/kernel")])
        frames.append(kernels.assign(step=0, **task.arguments)[columns])
    if not frames:
        return pd.DataFrame(columns=columns)
    return pd.concat(frames, ignore_index=True)


def on_equal_terms(scales: pd.DataFrame) -> pd.DataFrame:
    """How the gradient at the first convolution compares, and where."""
    rows = []
    for column, words in (
        ("first_kernel", "whole training (H1a)"),
        ("first_start", f"first {gradients.FIRST_RECORDS} records"),
        ("first_equal_loss", "at equal training loss"),
    ):
        logs = np.log10(scales.pivot(index="seed", columns="net", values=column))
        logs = logs.reindex(columns=list(NETS)).dropna()
        row = {"measured": words, **{net: 10 ** logs[net].mean() for net in logs}}
        ratio = "n/a"
        if len(logs):
            ends = mean_interval(logs["residual"] - logs["plain"])
            mean, low, high = (
                f"{10 ** float(np.clip(end, -99, 99)):.2g}" for end in ends
            )
            ratio = mean if len(logs) == 1 else f"{mean} ({low} to {high})"
        rows.append({**row, "residual / plain": ratio})
    return pd.DataFrame(rows)


def initial_panels(initial: pd.DataFrame) -> dict[str, Draw]:
    """One panel for each depth, first without and then with batch normalization."""
    panels = {}
    for key in itertools.product(sorted(set(initial["blocks"])), ("off", "on")):
        rows, finding = select(initial, *key), ""
        if key[1] == "off":
            # The levels part, and not the slopes.
            logs = gradients.log_norms(rows["norm"])[rows["depth"] == 2]
            levels = 10 ** logs.groupby(rows["net"]).mean()
            words = (
                f"{net} {float(f'{level:.2g}'):,g}" for net, level in levels.items()
            )
            finding = f"Near the input: {'; '.join(words)}"
        panels[heading(*key)] = panel(
            *(plots.gradient_norm_by_depth, rows),
            about=f"Untrained, {heading(*key)}.",
            finding=finding,
            styles=NETS,
        )
    return panels


def condition_panels(of: Condition, settings: dict[str, Any]) -> dict[str, Draw]:
    """The panels of one condition by name."""
    threshold, chance = settings["threshold"], 1 / len(settings["classes"])
    curves = partial(panel, plots.training_curves, of.history, styles=NETS)
    by_depth = partial(panel, plots.gradient_norm_by_depth, styles=NETS)
    unrest = of.claims.set_index("hypothesis")["finding"]["H5"]
    kernels = of.norms[of.norms["kind"] == "kernel"]
    # The parameter that is added last to a convolution's output is a shift.
    shifts = of.norms[of.norms["kind"].isin(gradients.SHIFTS)]
    visible = kernels["norm"][np.isfinite(kernels["norm"]) & (kernels["norm"] > 0)]
    limits = (visible.min(), visible.max()) if visible.nunique() > 1 else None
    return {
        "curves": curves(chance=chance),
        "loss": curves("loss"),
        "unrest": curves("val_loss", finding=unrest and f"Fluctuation: {unrest}"),
        "seeds": panel(plots.accuracy_by_seed, of.results, chance=chance, styles=NETS),
        "reached": panel(plots.epochs_to_threshold, of.results, threshold, styles=NETS),
        "kernels": by_depth(kernels),
        "shifts": by_depth(shifts),
        **{
            net: panel(plots.gradient_norm_heatmap, rows, limits=limits)
            for net, rows in kernels.groupby("net")
        },
        **reporting.claim_panels(CLAIMS, of.claims, of.results, "net"),
    }


def against_claims(
    of: Condition, settings: dict[str, Any]
) -> list[tuple[str, str, str]]:
    """What is said elsewhere, what was measured here, and the verdict."""
    means = of.results.groupby("net")[["accuracy", "parameters"]].mean()
    if len(means) < len(NETS):
        return []
    claims = of.claims.set_index("hypothesis")
    kernels = of.norms[(of.norms["kind"] == "kernel") & (of.norms["norm"] > 0)]
    tenth = min(10, int(kernels["depth"].max()))
    logs = np.log10(kernels["norm"]).groupby([kernels["net"], kernels["depth"]]).mean()
    logs = logs.unstack("depth")
    ratio = 10 ** (logs[tenth] - logs[1])
    steeper = "the plain net falls more"
    if ratio["plain"] >= ratio["residual"]:
        steeper = "not so: the plain net falls no more than the residual one"
    plain, residual = 100 * means["accuracy"][list(NETS)]
    # The difference is one of logarithms of deviations.
    h5 = claims.loc["H5"].get("mean_difference", np.nan)
    less = 100 * (1 - 10 ** (-2 * h5))
    words = f"{less:.0f} % less" if less >= 0 else f"{-less:.0f} % more"
    parameters = int(means["parameters"].iloc[0])
    return [
        (
            "Gradients shrink from 1.0 at the first to 0.01 at the tenth layer of the "
            "plain net, to 0.4 in the residual net",
            f"{ratio['plain']:.2g} and {ratio['residual']:.2g} at layer {tenth}, if "
            "1.0 at the first (from the input, kernels)",
            steeper,
        ),
        (
            "Accuracy 68.5 % plain, 82.3 % residual",
            f"{plain:.1f} % and {residual:.1f} %",
            verdicts(of.claims, "H2"),
        ),
        (
            "15 epochs to converge without shortcuts, 10 with them",
            f"{claims.loc['H4', 'answer']}, to {100 * settings['threshold']:g} %",
            verdicts(of.claims, "H4"),
        ),
        (
            "Shortcuts: 40 % less variance of the validation loss",
            f"{words} variance of its changes" if np.isfinite(less) else "n/a",
            verdicts(of.claims, "H5"),
        ),
        (
            "59,752 parameters",
            f"{parameters:,}",
            "met" if parameters == 59752 else "another depth, width or norm",
        ),
    ]


def heading(blocks: int, batch_norm: str) -> str:
    words = "with" if batch_norm == "on" else "without"
    return f"{count(blocks, 'block')}, {words} batch normalization"


def select(frame: pd.DataFrame, blocks: int, batch_norm: str) -> pd.DataFrame:
    return frame[(frame["blocks"] == blocks) & (frame["batch_norm"] == batch_norm)]
