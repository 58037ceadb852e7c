"""Colours, labels and everything around the data, shared by all figures."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from keras_residual._unbroken import wrapped
from keras_residual.analysis._frames import intervals, too_wide
from keras_residual.analysis._intervals import mean_interval

Style = tuple[str, str]
Styles = Mapping[str, Style] | None

VERMILLION, BLUE, GREEN = "#D55E00", "#0072B2", "#009E73"
# Colours of Okabe and Ito (2008) that colour-blind readers can tell apart; the markers
# do the same in black and white.
STYLES: tuple[Style, ...] = (
    (VERMILLION, "o"),
    (BLUE, "^"),
    (GREEN, "D"),
    ("#CC79A7", "v"),
    ("#E69F00", "P"),
    ("#000000", "X"),
    ("#56B4E9", "s"),
)
# In the label of shares, which figures show in percent.
PERCENT = "(%"
# Why only single seeds are drawn.
NO_INTERVAL = "no 95 % t intervals: with so few seeds they are wider than all values"
# Labels of Keras's metrics.
_LABELS = {
    "accuracy": "final accuracy (% of images)",
    "val_accuracy": "validation accuracy (% of images)",
    "loss": "training loss (mean per image)",
    "val_loss": "validation loss (mean per image)",
}


def styled(names: Iterable[str], styles: Styles) -> dict[str, Style]:
    """Colour and marker of each name that occurs, in the order of drawing.

    Names without a style come last, sorted, so that the order of rows does not matter.
    """
    chosen = dict(styles or {})
    occurring = set(names)
    free = [style for style in STYLES if style not in chosen.values()] or STYLES
    for place, name in enumerate(sorted(occurring - set(chosen))):
        chosen[name] = free[place % len(free)]
    return {name: style for name, style in chosen.items() if name in occurring}


def axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    return ax


def finish(
    ax: Axes, xlabel: str, ylabel: str, title: str, note: str, grid: bool = True
) -> Axes:
    """Writes everything around the data, alike in every figure."""
    # Titles do not wrap by themselves and would overlap the next axes.
    figure = ax.get_figure()
    width = ax.bbox.width / figure.dpi if figure else 6.0
    lines = wrapped(note, 17 * width)
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
    title = "\n".join(wrapped(title, 12 * width))
    ax.set_title(title, loc="left", fontweight="bold", pad=8 + 11 * len(lines))
    ax.set_xlabel("\n".join(wrapped(xlabel, 15 * width)))
    ax.set_ylabel(ylabel)
    if PERCENT in ylabel:
        # The interval of two seeds may leave what an accuracy can be.
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, -0.02), min(high, 1.02))
    for axis, label in ((ax.xaxis, xlabel), (ax.yaxis, ylabel)):
        if PERCENT in label:
            axis.set_major_formatter(lambda share, _: f"{100 * share:.6g}")
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(color="0.92")
        ax.set_axisbelow(True)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=9)
    return ax


def interval_bar(
    ax: Axes,
    position: float,
    values: NDArray[np.float64],
    colour: str,
    *,
    vertical: bool,
    has_bar: bool,
) -> None:
    mean, low, high = mean_interval(values)
    bar = np.array([[mean - low], [high - mean]]) if has_bar else None
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


def means_over_seeds(
    ax: Axes,
    groups: Sequence[tuple[str, Style, NDArray[np.float64], pd.DataFrame]],
    *,
    skip_missing: bool = True,
) -> str:
    """Draw a line of means with their intervals, and the seeds as dots.

    Args:
        ax: The axes.
        groups: Name, style, places on the x axis, and a column for each seed.
        skip_missing: See `intervals`.

    Returns:
        What is drawn, in words.
    """
    matrices = [by_seed.to_numpy(float) for *_, by_seed in groups]
    bands = [intervals(matrix, skip_missing=skip_missing) for matrix in matrices]
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    wide = too_wide((high - low for _, low, high in bands), values)
    for (name, (colour, marker), x, by_seed), band in zip(groups, bands, strict=True):
        ax.plot(x, by_seed, color=colour, alpha=0.35, linestyle="none", marker=".")
        mean, low, high = band
        ax.errorbar(
            x,
            mean,
            yerr=None if wide else np.array([mean - low, high - mean]),
            color=colour,
            marker=marker,
            linewidth=2,
            elinewidth=1.2,
            capsize=3,
            label=count(name, by_seed.shape[1]),
        )
    if wide:
        return f"line: mean over seeds; dots: seeds; {NO_INTERVAL}"
    return "line and bar: mean over seeds and its 95 % t interval; dots: seeds"


def count(name: str, seeds: int) -> str:
    return f"{name} (n = {seeds_in_words(seeds)})"


def seeds_in_words(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def means_in_words(
    rows: pd.DataFrame, by: str, metric: str, names: Iterable[str], label: str
) -> str:
    """The mean of each group over its seeds, for the title of a figure.

    Args:
        rows: Columns `by` and `metric`, one row for each group and seed. A group in
            which a seed has no finite value is left out.
        by: Column that names the groups.
        metric: Column of the values.
        names: The groups, in the order of drawing.
        label: The label of the values, which says whether they are shares.
    """
    means = {name: group.mean(skipna=False) for name, group in rows.groupby(by)[metric]}
    shown = (
        f"{name} {100 * means[name]:.1f} %"
        if PERCENT in label
        else f"{name} {means[name]:.3g}"
        for name in names
        if np.isfinite(means.get(name, np.nan))
    )
    return "; ".join(shown) or "no value"


def label_of(metric: str) -> str:
    return _LABELS.get(metric, metric.replace("_", " "))
