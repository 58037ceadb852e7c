"""Figures of a report: panels with their findings, in rows of two, and a dashboard."""

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # Figures go to files, also where there is no display.

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text

# Draws on the axes that it is given as `ax`.
Draw = Callable[..., Axes]
# Size of a panel in inches. Two fill the page of a report, where text keeps its size.
PANEL = (5.0, 4.0)


def panel(
    finding: str, draw: Draw, *arguments: Any, chance: float | None = None, **how: Any
) -> Draw:
    """A draw function whose title is what the data show.

    Args:
        finding: The title; "" keeps that of the figure.
        draw: A function of `keras_residual.analysis.plots`.
        *arguments: Its arguments.
        chance: Accuracy of guessing, drawn as a line.
        **how: More of its arguments.
    """

    def drawn(ax: Axes) -> Axes:
        draw(*arguments, ax=ax, **how)
        if finding:
            _retitle(ax, finding)
        if chance is not None:
            ax.axhline(chance, color="0.5", linewidth=1, linestyle=":", zorder=1)
            # The interval of two seeds may leave what an accuracy can be.
            low, high = ax.get_ylim()
            ax.set_ylim(max(low, -0.02), min(high, 1.02))
            ax.text(
                *(0.99, chance, f"chance {100 * chance:.3g} %"),
                transform=ax.get_yaxis_transform(),
                ha="right",
                va="bottom",
                fontsize=9,
                color="0.4",
            )
        return ax

    return drawn


def _retitle(ax: Axes, finding: str) -> None:
    """Changes the words of the title, which keeps its place above the note."""
    old = ax.get_title(loc="left")
    figure = ax.get_figure()
    width = ax.bbox.width / figure.dpi if figure else PANEL[0]
    # Not `findobj`, which makes all ticks of the axes.
    for text in ax.get_children():
        if isinstance(text, Text) and text.get_text() == old:
            words = finding.replace(" = ", "\xa0=\xa0")
            text.set_text(textwrap.fill(words, max(24, int(13 * width))))
            text.set_fontsize(11)


def save_figure(folder: Path, name: str, *draw: Draw, title: str = "") -> str:
    """Draws axes in rows of two; returns the file's path in the run folder."""
    columns = min(2, len(draw))
    rows = math.ceil(len(draw) / columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        # One alone is as high, and wider.
        figsize=(max(7.0, PANEL[0] * columns), PANEL[1] * rows + 0.6 * bool(title)),
        dpi=110,
        layout="constrained",
        squeeze=False,
    )
    for place, ax in enumerate(axes.flat):
        if place < len(draw):
            draw[place](ax=ax)
        else:
            ax.remove()
    if title:
        figure.suptitle(textwrap.fill(title, 80), fontweight="bold", fontsize=13)
    path = folder / ("" if title else "figures") / name
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    return path.relative_to(folder).as_posix()


def fold(log: float) -> str:
    """A ratio in words, from its logarithm to the base 10: how it goes to the input."""
    verb = "grows" if log >= 0 else "shrinks"
    size = (
        f"{float(f'{10 ** abs(log):.1e}'):,.6g}"
        if abs(log) < 5
        else f"10^{abs(log):.0f}"
    )
    return f"{verb} {size}-fold"
