"""What all figures share: colours, labels, and everything around the data."""

import textwrap
from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from keras_residual.analysis._frames import NETS, in_order
from keras_residual.analysis.statistics import mean_interval

# Colours of Okabe and Ito that colour-blind readers can tell apart; the markers do the
# same in black and white.
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}
MARKERS = {"plain": "o", "residual": "^"}
_KNOWN = {
    **{net: (COLOURS[net], MARKERS[net]) for net in NETS},
    "scratch": ("#D55E00", "o"),
    "frozen": ("#009E73", "D"),
    "fine-tuned": ("#0072B2", "^"),
    "resnet": ("#0072B2", "^"),
    "resnet-cutout": ("#009E73", "D"),
}
_OTHERS = (
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
    ("#000000", "X"),
    ("#56B4E9", "s"),
    ("#009E73", "D"),
    ("#D55E00", "o"),
    ("#0072B2", "^"),
)
_LABELS = {
    "accuracy": "final accuracy (share of images)",
    "best_accuracy": "best accuracy (share of images)",
    "val_accuracy": "validation accuracy (share of images)",
    "loss": "training loss (mean per image)",
    "val_loss": "validation loss (mean per image)",
    "val_top5": "validation top-5 accuracy (share of images)",
    "gap": "gap between training and validation accuracy",
    "ece": "expected calibration error",
    "seconds": "time (s)",
    "epochs_to_threshold": "epochs to the threshold",
}


def styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each name, in the order in which they are drawn."""
    names = in_order(names)
    unknown = [name for name in names if name not in _KNOWN]
    taken = {_KNOWN[name] for name in names if name in _KNOWN}
    free = [style for style in _OTHERS if style not in taken]
    return {
        name: _KNOWN.get(name) or free[unknown.index(name) % len(free)]
        for name in names
    }


def axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    return ax


def finish(
    ax: Axes, xlabel: str, ylabel: str, title: str, note: str, grid: bool = True
) -> Axes:
    """Write everything around the data, in the same way in every figure."""
    # Titles do not wrap by themselves and would run into the next axes.
    figure = ax.get_figure()
    width = ax.bbox.width / figure.dpi if figure else 6.0
    lines = textwrap.wrap(note, max(24, int(17 * width)))
    ax.text(
        0,
        1.015,
        "\n".join(lines),
        transform=ax.transAxes,
        fontsize=9,
        color="0.3",
        va="bottom",
        gid="note",
    )
    ax.set_title(title, loc="left", fontweight="bold", pad=8 + 11 * len(lines))
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=9)
    return ax


def interval_bar(
    ax: Axes, position: float, values: NDArray[np.float64], colour: str, vertical: bool
) -> None:
    mean, low, high = mean_interval(values)
    bar = np.array([[mean - low], [high - mean]])
    x, y = (position, mean) if vertical else (mean, position)
    ax.errorbar(
        x,
        y,
        yerr=bar if vertical else None,
        xerr=None if vertical else bar,
        color=colour,
        marker="s",
        markersize=7,
        linewidth=2,
        capsize=5,
    )


def count(net: str, seeds: int) -> str:
    return f"{net} (n = {seeds_in_words(seeds)})"


def seeds_in_words(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def label(metric: str) -> str:
    return _LABELS.get(metric, metric.replace("_", " "))
