"""Figures of a report: panels with their findings, in rows of two, and a dashboard."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # Figures go to files, also where there is no display.

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from keras_residual._unbroken import wrapped

# Draws on the axes that it is given as `ax`.
Draw = Callable[..., Axes]
# Size of a panel in inches. Two fill the page of a report, where text keeps its size.
PANEL = (5.0, 4.0)


def panel(
    draw: Draw,
    *arguments: Any,
    about: str = "",
    finding: str = "",
    chance: float | None = None,
    **how: Any,
) -> Draw:
    """A draw function whose title is what the data show.

    Args:
        draw: A function of `keras_residual.analysis.plots`.
        *arguments: Its arguments.
        about: What stands before the title.
        finding: The title; "" keeps that of the figure.
        chance: Accuracy of guessing, drawn as a line.
        **how: More of its arguments.

    Example:
        ```python
        import pathlib, tempfile
        from keras_residual.analysis import plots
        from keras_residual.experiments.figures import panel, save_figure

        matrix, names = [[3, 1], [0, 4]], ["cat", "dog"]
        draw = panel(plots.confusion_matrix, matrix, names, about="Photos:")
        print(save_figure(pathlib.Path(tempfile.mkdtemp()), "matrix.png", draw))
        ```
    """

    def drawn(ax: Axes) -> Axes:
        draw(*arguments, ax=ax, **how)
        title = finding or " ".join(ax.get_title(loc="left").split())
        _retitle(ax, f"{about} {title}".strip())
        if chance is not None:
            _draw_chance(ax, chance)
        _move_legend(ax)
        return ax

    return drawn


def _draw_chance(ax: Axes, chance: float) -> None:
    ax.axhline(chance, color="0.5", linewidth=1, linestyle=":", zorder=1)
    low, high = ax.get_ylim()
    low, top = min(low, chance - 0.02), max(high, chance + 0.02)
    # With more below, the marks of the data need more room above.
    ax.set_ylim(low, max(top, min(top + 0.03 * (top - low), 1.02)))
    # Beside the axes, where no data can be.
    ax.text(
        *(1.01, chance, f"chance\n{100 * chance:.3g} %"),
        transform=ax.get_yaxis_transform(),
        va="center",
        fontsize=9,
        color="0.4",
    )


def _move_legend(ax: Axes) -> None:
    """Puts the legend below the label of the axis, where no data can be."""
    if ax.get_legend() is None:
        return
    lines = ax.get_xlabel().count("\n")
    points = ScaledTranslation(0, -(34 + 13 * lines) / 72, ax.figure.dpi_scale_trans)
    ax.legend(
        fontsize=9,
        ncols=min(2, len(ax.get_legend_handles_labels()[1])),
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + points,
        borderaxespad=0,
    )


def _retitle(ax: Axes, finding: str) -> None:
    """Changes the words of the title, which keeps its place above the note."""
    old = ax.get_title(loc="left")
    figure = ax.get_figure()
    width = ax.bbox.width / figure.dpi if figure else PANEL[0]
    # Not `findobj`, which makes all ticks of the axes.
    for text in ax.get_children():
        if isinstance(text, Text) and text.get_text() == old:
            text.set_text("\n".join(wrapped(finding, 13 * width)))
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
        figure.suptitle("\n".join(wrapped(title, 80)), fontweight="bold", fontsize=13)
    path = folder / ("" if title else "figures") / name
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    return path.relative_to(folder).as_posix()


def save_figures(
    folder: Path,
    panels: Mapping[str, Draw],
    figures: Iterable[tuple[str, Sequence[str], str]],
    suffix: str = "",
) -> list[tuple[str, str]]:
    """Draws figures from named panels; returns their files and captions.

    Args:
        folder: The run folder.
        panels: The panels by name.
        figures: Name of the file, names of the panels, caption. A figure whose first
            panel is not there is left out, and so is any other such panel.
        suffix: What follows the names of the files.
    """
    files = []
    for name, names, caption in figures:
        there = [panels[one] for one in names if one in panels]
        if names[0] in panels:
            file = save_figure(folder, f"{name}{suffix}.png", *there)
            files.append((file, caption))
    return files
