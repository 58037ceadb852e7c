"""The report of simulation 4: reads the finished trainings and draws conclusions."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _course_project import SOURCE, SOURCE_NOTE
from _sim4_norms import (
    CONDITION,
    KEY,
    gradient_scales,
    on_equal_terms,
    read_initial,
    read_norms,
    slope,
)

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.figures import Draw, fold, panel, save_figure
from keras_residual.experiments.reporting import (
    Story,
    answers,
    corrected,
    count,
    findings,
    finished_units,
    read_results,
    read_with_keys,
    verdicts,
    write_story,
)

NUMBERS = ("accuracy", "best_accuracy", "epochs_to_threshold")
NETS = {"plain": plots.STYLES[0], "residual": plots.STYLES[1]}

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


def write_sim4_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    test: Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], pd.DataFrame],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        test: From results, gradient scales and history to the tested claims.
        quick: Whether the run is a demonstration.
    """
    trainings = [task for task in tasks if "net" in task.arguments]
    units, incomplete = finished_units(folder, trainings)
    settings = folder.settings
    results = read_results(units, NUMBERS)
    keys = results[KEY].to_dict("records")
    history = read_with_keys(
        units, keys, lambda unit: pd.read_csv(unit / "history.csv")
    )
    norms = read_with_keys(units, keys, read_norms)
    scales = gradient_scales(norms, history)
    claims = test(results, scales, history)
    others = [task for task in tasks if task not in trainings]
    initial = read_initial([folder.units / t.name for t in folder.finished(others)])
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("gradient_scales.csv", scales),
        ("initial_norms.csv", initial),
        ("hypotheses.csv", claims),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    start = _initial_panels(initial)
    frames = results, history, norms, scales, claims
    conditions = {}
    for key in dict.fromkeys(results[CONDITION].itertuples(index=False, name=None)):
        chosen = [_select(frame, key) for frame in frames]
        conditions[key] = _Condition(key, settings, *chosen)
    # Of several, the deepest one with batch normalization stands for the run.
    lead = conditions[max(conditions, key=lambda key: (key[0], key[1] == "on"))]
    sections = []
    if start:
        sections.append(_initial_section(folder.path, initial, start))
    sections += [
        condition.section(folder.path, told=condition is not lead)
        for condition in conditions.values()
    ]
    if results["blocks"].nunique() > 1:
        sections.append(_depth_section(folder.path, results))
    story = Story(
        title=f"Simulation 4: plain and residual networks on {_data(settings)}",
        question="Do shortcuts keep the gradients of a deep network stronger, and does "
        "it pay? A plain and a residual network that differ in the shortcuts alone "
        f"({lead.heading}) are trained with each of "
        f"{count(settings['seeds'], 'seed')}.",
        tested=lead.claims,
        panels=[*list(start.values())[-1:], *lead.dashboard()],
        others=lead.others(),
        others_note=SOURCE_NOTE,
        limits=LIMITS,
        method=_method(settings, len(conditions)),
        facts=_facts(settings),
        tables=[(_sizes(results), "Trainable parameters; mean seconds of a training.")],
    )
    return write_story(folder, story, sections, incomplete=incomplete, quick=quick)


class _Condition:
    """Figures, tables and words of one depth with or without batch normalization."""

    def __init__(self, key, settings, results, history, norms, scales, claims):
        self.heading = heading(*key)
        self.suffix = f"blocks{key[0]:03d}-bn_{key[1]}"
        self.settings, self.results, self.history = settings, results, history
        self.norms, self.scales, self.claims = norms, scales, claims
        self.found, self.p = findings(claims), corrected(claims)
        self.nets = [net for net in NETS if net in set(results["net"])]
        self.chance = 1 / len(settings["classes"])

    def curves(self) -> Draw:
        last = 100 * self.results.groupby("net")["accuracy"].mean()
        words = ", ".join(f"{net} at {last[net]:.1f} %" for net in self.nets)
        return panel(
            f"After the last epoch: {words}",
            *(plots.training_curves, self.history),
            chance=self.chance,
            styles=NETS,
        )

    def difference(self) -> Draw:
        return panel(
            self.found["H2"],
            *(plots.paired_difference, self.results),
            treatment="residual",
            control="plain",
            p_value=self.p.get("H2"),
        )

    def by_depth(self, part: str = "kernel") -> Draw:
        # The parameter that is added last to a convolution's output is a shift.
        kinds = ["kernel"] if part == "kernel" else ["bias", "beta"]
        ratios = slope(self.scales, part)
        words = "; ".join(f"{net} {fold(ratios[net])}" for net in self.nets)
        return panel(
            f"The gradient toward the input: {words}",
            *(plots.gradient_norm_by_depth, _of_kind(self.norms, kinds)),
            styles=NETS,
        )

    def dashboard(self) -> list[Draw]:
        both = [self.difference()] if len(self.nets) == 2 else []
        return [self.by_depth(), self.curves(), *both]

    def heatmaps(self) -> list[Draw]:
        kernels = _of_kind(self.norms, ["kernel"])
        finite = kernels["norm"][np.isfinite(kernels["norm"]) & (kernels["norm"] > 0)]
        limits = (finite.min(), finite.max()) if finite.nunique() > 1 else None
        ratios = slope(self.scales, "kernel")
        return [
            panel(
                f"{net}: {fold(ratios[net])} toward the input",
                *(plots.gradient_norm_heatmap, kernels[kernels["net"] == net]),
                limits=limits,
            )
            for net in self.nets
        ]

    def section(self, folder: Path, told: bool) -> Section:
        """`told`: whether the answers stand here and not above."""
        threshold = self.settings["threshold"]
        results = self.results
        both = [self.difference()] if len(self.nets) == 2 else []
        loss = panel("", plots.training_curves, self.history, "loss", styles=NETS)
        seeds = panel(
            *("", plots.accuracy_by_seed, results), chance=self.chance, styles=NETS
        )
        reached = panel(
            f"To {100 * threshold:g} %: {self.found['H4']}",
            *(plots.epochs_to_threshold, results, threshold),
            styles=NETS,
        )
        unrest = panel(
            f"Fluctuation: {self.found['H5']}",
            *(plots.training_curves, self.history, "val_loss"),
            styles=NETS,
        )
        drawn = (
            (
                *("curves", [self.curves(), loss]),
                "Validation accuracy and training loss over the epochs.",
            ),
            (
                *("accuracy", [seeds, *both]),
                "Final validation accuracy by seed, and the difference by seed.",
            ),
            (
                *("depth", [self.by_depth(), self.by_depth("shift")]),
                "Gradient norm of each convolution against its depth: of the kernel, "
                "which also contains the size of the convolution's input, and of the "
                "bias or, with batch normalization, beta, which follows the gradient "
                "of the activations.",
            ),
            (
                *("heatmap", self.heatmaps()),
                "Gradient norm of the kernels over depth and step, one colour scale.",
            ),
            (
                *("epochs", [reached, unrest]),
                "How soon and how steadily: epochs until the validation accuracy first "
                f"reached {100 * threshold:g} %, and the validation loss.",
            ),
        )
        figures = [
            (save_figure(folder, f"{name}-{self.suffix}.png", *draw), caption)
            for name, draw, caption in drawn
        ]
        means = 100 * results.groupby("net")[["accuracy", "best_accuracy"]].mean()
        means = means.rename(columns="{} (%)".format).reset_index()
        text = [f"- {claim}: {answer}." for claim, answer in answers(self.claims)]
        return Section(
            self.heading,
            "\n".join(text) if told else "",
            figures=figures,
            tables=[
                (means, "Means over seeds (the best epoch only for information)."),
                (
                    on_equal_terms(self.scales),
                    "H1a on equal terms: gradient norm of the first convolution of the "
                    "blocks, geometric means over steps and seeds, and their ratio "
                    "with its 95 % t interval. A smaller loss makes smaller gradients; "
                    "at equal loss each net is measured in the first epoch whose "
                    "training loss is as low as the lowest that the other reaches.",
                ),
            ],
        )

    def others(self) -> list[tuple[str, str, str, str]]:
        """What is said elsewhere, and what was measured here."""
        claims = self.claims.set_index("hypothesis")
        means = self.results.groupby("net")[["accuracy", "parameters"]].mean()
        if set(self.nets) != set(NETS):
            return []
        first = _of_kind(self.norms, ["kernel"])
        tenth = min(10, int(first["depth"].max()))
        logs = first.assign(log=np.log10(first["norm"].where(first["norm"] > 0)))
        logs = logs.groupby(["net", "depth"])["log"].mean().unstack("depth")
        ratio = 10 ** (logs[tenth] - logs[1])
        steeper = (
            "the plain net falls more" if ratio["plain"] < ratio["residual"] else ""
        )
        accuracy = 100 * means["accuracy"]
        h5 = claims.loc["H5"].get("mean_difference", np.nan)
        # The difference is one of logarithms of deviations.
        less = 100 * (1 - 10 ** (-2 * h5))
        words = f"{less:.0f} % less" if less >= 0 else f"{-less:.0f} % more"
        parameters = int(means["parameters"].iloc[0])
        rows = (
            (
                "Gradients shrink from 1.0 at the first to 0.01 at the tenth layer of "
                "the plain net, to 0.4 in the residual net",
                f"{ratio['plain']:.2g} and {ratio['residual']:.2g} at layer {tenth}, "
                "if 1.0 at the first (from the input, kernels)",
                steeper or "not so: the plain net falls no more than the residual one",
            ),
            (
                "Accuracy 68.5 % plain, 82.3 % residual",
                f"{accuracy['plain']:.1f} % and {accuracy['residual']:.1f} %",
                verdicts(self.claims, "H2"),
            ),
            (
                "15 epochs to converge without shortcuts, 10 with them",
                f"{claims.loc['H4', 'answer']}, to "
                f"{100 * self.settings['threshold']:g} %",
                verdicts(self.claims, "H4"),
            ),
            (
                "Shortcuts: 40 % less variance of the validation loss",
                f"{words} variance of its changes" if np.isfinite(less) else "n/a",
                verdicts(self.claims, "H5"),
            ),
            (
                "59,752 parameters",
                f"{parameters:,}",
                "met" if parameters == 59752 else "another depth, width or norm",
            ),
        )
        return [(claim, SOURCE, found, verdict) for claim, found, verdict in rows]


def _data(settings: dict[str, Any]) -> str:
    name = settings["dataset"]
    return "synthetic images" if name == "synthetic" else str(name)


def heading(blocks: int, batch_norm: str) -> str:
    words = "with" if batch_norm == "on" else "without"
    return f"{count(blocks, 'block')}, {words} batch normalization"


def _select(frame: pd.DataFrame, key: tuple[int, str]) -> pd.DataFrame:
    return frame[(frame["blocks"] == key[0]) & (frame["batch_norm"] == key[1])]


def _of_kind(norms: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    return norms[norms["kind"].isin(kinds)]


def _initial_panels(initial: pd.DataFrame) -> dict[tuple[int, str], Draw]:
    """One panel for each depth, first without and then with batch normalization."""
    panels = {}
    for batch_norm in ("off", "on"):
        for blocks in sorted(set(initial["blocks"])):
            rows = _select(initial, (blocks, batch_norm))
            scales = gradient_scales(rows)
            ratios = slope(scales, "kernel")
            words = "; ".join(f"{net} {fold(ratios[net])}" for net in NETS)
            words = f"toward the input {words}"
            if batch_norm == "off":
                # The levels part, and not the slopes.
                logs = np.log10(scales["first_kernel"]).groupby(scales["net"]).mean()
                levels = "; ".join(f"{net} {10 ** logs[net]:.2g}" for net in NETS)
                words = f"near the input {levels}"
            panels[blocks, batch_norm] = panel(
                f"Untrained, {heading(blocks, batch_norm)}: {words}",
                *(plots.gradient_norm_by_depth, rows),
                styles=NETS,
            )
    return panels


def _initial_section(
    folder: Path, initial: pd.DataFrame, panels: dict[tuple[int, str], Draw]
) -> Section:
    name = save_figure(folder, "initialization.png", *panels.values())
    seeds = count(initial["seed"].nunique(), "seed")
    return Section(
        "Before the first step",
        "New networks, whose weights are drawn and not trained, and the gradients of "
        "one batch. Without batch normalization the levels part: the signal of the "
        "plain network fades from block to block, that of the residual one grows, and "
        "the gradients with it. Batch normalization evens the signals. Then the plain "
        "network's gradient grows toward the input by a factor per layer, so that the "
        "depth decides, and shortcuts keep it almost even.",
        figures=[(name, f"Gradient norm of each kernel at step 0, {seeds}.")],
    )


def _depth_section(folder: Path, results: pd.DataFrame) -> Section:
    figures = []
    for batch_norm, rows in results.groupby("batch_norm", sort=False):
        words = "with" if batch_norm == "on" else "without"
        means = 100 * rows.groupby(["net", "blocks"])["accuracy"].mean()
        ends = "; ".join(
            f"{net}: {means[net].iloc[0]:.0f} % to {means[net].iloc[-1]:.0f} %"
            for net in NETS
            if net in means
        )
        draw = panel(f"With the depth, {ends}", plots.degradation, rows, styles=NETS)
        name = save_figure(folder, f"degradation-bn_{batch_norm}.png", draw)
        caption = f"Final accuracy against the depth, {words} batch normalization."
        figures.append((name, caption))
    return Section("Accuracy against depth", figures=figures)


def _sizes(results: pd.DataFrame) -> pd.DataFrame:
    groups = results.groupby([*CONDITION, "net"], sort=False)
    sizes = groups.agg(parameters=("parameters", "first"), seconds=("seconds", "mean"))
    return sizes.reset_index()


def _facts(settings: dict[str, Any]) -> dict[str, str]:
    data = f"{settings['images']} images, {len(settings['classes'])} classes"
    if settings["strength"] is not None:
        data += f", pattern strength {settings['strength']:g}"
    return {
        "dataset": f"{settings['dataset']}: {data}",
        "training": f"{count(settings['epochs'], 'epoch')}, batch size "
        f"{settings['batch_size']}, learning rate {settings['learning_rate']:g}",
        "seeds": str(settings["seeds"]),
        "gradients": f"recorded every {count(settings['record_every'], 'step')}",
    }


def _method(settings: dict[str, Any], families: int) -> str:
    text = (
        "The two nets of a seed have the same number of parameters, initial weights, "
        "training images, order of images, optimizer (Adam) and learning rate; they "
        "differ in the shortcuts alone. Each seed draws another split (80 % training, "
        "20 % validation), order and initial weights. The gradient norms are those of "
        "the gradients that updated the weights.\n\n"
        "- H1a is the claim as it is usually made: the gradient of the first block's "
        "first convolution (log10 of its kernel's norm). H1b is what it is usually "
        "meant to say, that the scale of the gradient survives the depth (size of "
        "log10 of first / last kernel norm). Both use kernels, whose gradients also "
        "contain the size of their inputs: where a signal fades on its way through the "
        "net, read the figure of the biases or betas as well.\n"
        "- H4 counts the epochs until the validation accuracy first reaches "
        f"{100 * settings['threshold']:g} %. It compares ranks, so that a net that "
        "never gets there counts as later than all others; medians are shown.\n"
        "- H5 compares the standard deviation of the changes of the validation loss "
        "from one epoch to the next (log10); a steady fall counts as none."
    )
    if families > 1:
        text += (
            f"\n\nThere are {families} conditions, each a family of its own: over "
            f"all of them up to {families} times as many false findings are to be "
            "expected as in one. A finding in one condition alone is weak."
        )
    return text
