"""Figures of gradient norms: against depth, and over depth and step."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from keras_residual.analysis._axes import (
    NO_INTERVAL,
    Styles,
    axes,
    count,
    finish,
    styled,
)
from keras_residual.analysis._frames import (
    edges,
    intervals,
    one_condition,
    power_of_ten,
    too_wide,
    toward_input,
    with_logarithm,
)

_PERIODS = {"early": ":", "middle": "--", "late": "-"}


def gradient_norm_by_depth(
    norms: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws the gradient norm against depth, early, in the middle and late in training.

    Each third of the recorded steps gives one line by group: the geometric mean over
    its steps, then over seeds, with the t interval of the logarithms. Where few seeds
    make it wider than all values, each seed has a thin line in its place. Norms that
    are zero or not finite have no logarithm; they are left out. The figure says so.

    Args:
        norms: Columns `by`, seed, step, depth and norm, of one kind of variable; one
            row per group, seed, step and depth.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several conditions or kinds are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        norms = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": 0,
            "step": 0,
            "depth": [1, 2, 1, 2],
            "norm": [0.01, 0.1, 0.2, 0.3],
        })
        ax = plots.gradient_norm_by_depth(norms)
        ```
    """
    key = [by, "seed", "step", "depth"]
    frame = with_logarithm(one_condition(norms, "norms", key, "norm"))
    ax = axes(ax)
    ax.set_yscale("log")
    steps = np.unique(frame["step"])
    periods = np.array_split(steps, 3) if steps.size >= 3 else [steps]
    lines = tuple(_PERIODS.values())[-len(periods) :]
    parts = []
    names = styled(frame[by], styles)
    for name, style in names.items():
        rows = frame[frame[by] == name]
        words = count(name, rows["seed"].nunique())
        for period, line in zip(periods, lines, strict=True):
            inside = rows[rows["step"].isin(period)]
            logs = inside.groupby(["depth", "seed"])["log"].mean().unstack("seed")
            band = intervals(logs.to_numpy(float), skip_missing=True)
            parts.append((words if line == "-" else None, style, line, logs, band))
    values = np.concatenate([logs.to_numpy(float).ravel() for *_, logs, _ in parts])
    wide = too_wide((high - low for *_, (_, low, high) in parts), values)
    for label, (colour, marker), line, logs, (mean, low, high) in parts:
        if wide:
            each = power_of_ten(logs.to_numpy(float))
            ax.plot(logs.index, each, line, color=colour, alpha=0.5, linewidth=0.8)
        else:
            ends = power_of_ten(low), power_of_ten(high)
            ax.fill_between(logs.index, *ends, color=colour, alpha=0.12, lw=0)
        ax.plot(
            logs.index,
            power_of_ten(mean),
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            label=label,
        )
    # A band may be as wide as all values: what is drawn as lines sets the scale.
    logs = values if wide else np.concatenate([band[0] for *_, band in parts])
    if np.isfinite(logs).any():
        ax.set_ylim(
            *power_of_ten(np.array([np.nanmin(logs) - 0.3, np.nanmax(logs) + 0.3]))
        )
    if len(periods) == 3:
        for (word, line), period in zip(_PERIODS.items(), periods, strict=True):
            words = f"{word}: {_steps_in_words(period)}"
            ax.plot([], [], color="0.3", linestyle=line, label=words)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return finish(
        ax,
        xlabel="depth (1 = convolution nearest the input)",
        ylabel="gradient norm (L2)",
        title=toward_input(frame, by, names),
        note="line: geometric mean over steps and seeds; "
        + (
            f"thin: single seeds; {NO_INTERVAL}"
            if wide
            else "band: its 95 % t interval"
        )
        + _left_out(frame),
    )


def gradient_norm_heatmap(
    norms: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draws the gradient norm of one network over depth and step, as colours.

    Args:
        norms: Columns `by`, seed, step, depth and norm, of one group and one kind of
            variable; one row per seed, step and depth. Norms that are zero or not
            finite are left out; a cell with no others is grey.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the group.
        limits: Lowest and highest norm of the colours. Colours of two networks are
            comparable only with the same limits. None: the range of the norms.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several groups, conditions or kinds are
            mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        norms = pd.DataFrame({
            "net": "residual",
            "seed": 0,
            "step": [0, 0, 10, 10],
            "depth": [1, 2, 1, 2],
            "norm": [0.2, 0.3, 0.1, 0.2],
        })
        ax = plots.gradient_norm_heatmap(norms, limits=(0.01, 1.0))
        ```
    """
    key = [by, "seed", "step", "depth"]
    frame = with_logarithm(one_condition(norms, "norms", key, "norm"))
    names = frame[by].unique()
    if len(names) != 1:
        raise ValueError(
            f"`norms` must hold one {by}; draw one heat map for each. "
            f"Received: {by} {sorted(names)}"
        )
    if limits is not None and not 0 < limits[0] < limits[1]:
        raise ValueError(
            "`limits` must be two positive norms, the lower one first. "
            f"Received: limits={limits!r}"
        )
    ax = axes(ax)
    logs = frame.groupby(["depth", "step"])["log"].mean().unstack("step")
    cells = np.ma.masked_invalid(power_of_ten(logs.to_numpy(float)))
    low, high = limits or ((cells.min(), cells.max()) if cells.count() else (0.1, 10.0))
    if low == high:  # One colour still needs a scale around it.
        low, high = low / 2, high * 2
    mesh = ax.pcolormesh(
        edges(logs.columns.to_numpy(float)),
        edges(logs.index.to_numpy(float)),
        cells,
        norm=LogNorm(low, high),
        cmap="viridis",
        rasterized=True,
    )
    ax.set_facecolor("0.8")
    ax.figure.colorbar(mesh, ax=ax, label="gradient norm (L2)", pad=0.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    seeds = frame["seed"].nunique()
    return finish(
        ax,
        xlabel="training step",
        ylabel="depth (1 = convolution nearest the input)",
        title=toward_input(frame, by, names),
        note=("one seed" if seeds == 1 else f"geometric mean over {seeds} seeds")
        + _left_out(frame),
        grid=False,
    )


def _steps_in_words(steps: np.ndarray) -> str:
    if steps.size == 1:
        return f"step {steps[0]}"
    return f"steps {steps[0]} to {steps[-1]}"


def _left_out(frame: pd.DataFrame) -> str:
    count = int(frame["log"].isna().sum())
    if not count:
        return ""
    return f"; {count} of {len(frame)} norms left out: zero or not finite"
