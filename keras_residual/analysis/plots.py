"""Figures of an experiment that compares a plain and a residual net over seeds.

Every function takes a tidy pandas frame of one condition and an axes, draws, and
returns the axes; `ax=None` makes a new figure of 1200 x 750 pixels. Nothing is ever
shown or saved here. What a band or a bar means is written above each figure.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from keras_residual.analysis._frames import (
    NETS,
    by_net,
    edges,
    intervals,
    one_condition,
    power_of_ten,
    with_logarithm,
)
from keras_residual.analysis._learning_rate_plots import (
    learning_rate_range as learning_rate_range,
)
from keras_residual.analysis.statistics import compare_paired, mean_interval

# Two colours of Okabe and Ito that colour-blind readers can tell apart; the markers
# do the same in black and white.
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}
_MARKERS = {"plain": "o", "residual": "^"}
_PERIODS = {"early (dotted)": ":", "middle (dashed)": "--", "late (solid)": "-"}
_LABELS = {
    "accuracy": "final accuracy (share of images)",
    "best_accuracy": "best accuracy (share of images)",
    "val_accuracy": "validation accuracy (share of images)",
    "loss": "training loss (mean per image)",
    "val_loss": "validation loss (mean per image)",
    "seconds": "time (s)",
    "epochs_to_threshold": "epochs to the threshold",
}


def training_curves(
    history: pd.DataFrame, metric: str = "val_accuracy", ax: Axes | None = None
) -> Axes:
    """Draw a metric over the epochs: mean and interval by net, seeds faint.

    The mean is drawn where every seed has a finite value, so a seed that diverged
    leaves a gap instead of silently dropping out.

    Args:
        history: Columns net, seed, epoch and `metric`; one row per net, seed, epoch.
        metric: Column to draw.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        history = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": 0,
            "epoch": [1, 2, 1, 2],
            "val_accuracy": [0.4, 0.5, 0.5, 0.7],
        })
        ax = plots.training_curves(history)
        ```
    """
    frame = one_condition(history, "history", ["net", "seed", "epoch"], metric)
    ax = _axes(ax)
    for net, rows in by_net(frame):
        by_seed = rows.pivot(index="epoch", columns="seed", values=metric)
        ax.plot(by_seed.index, by_seed, color=COLOURS[net], alpha=0.25, linewidth=0.8)
        mean, low, high = intervals(by_seed.to_numpy(float))
        ax.fill_between(by_seed.index, low, high, color=COLOURS[net], alpha=0.2, lw=0)
        ax.plot(
            by_seed.index,
            mean,
            color=COLOURS[net],
            linewidth=2,
            marker=_MARKERS[net],
            markersize=5,
            label=_count(net, by_seed.shape[1]),
        )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _finish(
        ax,
        xlabel="epoch",
        ylabel=_label(metric),
        title="Training curves",
        note="thick: mean over seeds; band: its 95 % t interval; thin: single seeds",
    )


def accuracy_by_seed(results: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the final accuracy of each seed, joined across the nets.

    Args:
        results: Columns net, seed and accuracy; one row per net and seed.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": [0, 1, 0, 1],
            "accuracy": [0.75, 0.77, 0.80, 0.83],
        })
        ax = plots.accuracy_by_seed(results)
        ```
    """
    frame = one_condition(results, "results", ["net", "seed"], "accuracy")
    ax = _axes(ax)
    by_seed = frame.pivot(index="seed", columns="net", values="accuracy")
    nets = [net for net in NETS if net in by_seed]
    ax.plot(range(len(nets)), by_seed[nets].T, color="0.75", linewidth=1, zorder=1)
    ticks = []
    for position, net in enumerate(nets):
        values = by_seed[net].to_numpy(float)
        values = values[np.isfinite(values)]
        ax.scatter(
            np.full(values.size, position),
            values,
            color=COLOURS[net],
            marker=_MARKERS[net],
            s=30,
            alpha=0.7,
        )
        ticks.append(f"{net}\nn = {_seeds(values.size)}")
        # Beside the dots, outward, where the joining lines leave room.
        side = position + (-0.15 if position == 0 else 0.15)
        if values.size:
            _interval_bar(ax, side, values, COLOURS[net], vertical=True)
    ax.set_xticks(range(len(nets)), ticks)
    ax.set_xlim(-0.5, len(nets) - 0.5)
    return _finish(
        ax,
        xlabel="net",
        ylabel=_label("accuracy"),
        title="Final accuracy by seed",
        note="a grey line joins one seed; square and bar: mean and its 95 % t interval",
    )


def paired_difference(
    results: pd.DataFrame,
    metric: str = "accuracy",
    treatment: str = "residual",
    control: str = "plain",
    ax: Axes | None = None,
) -> Axes:
    """Draw the difference of each seed, and their mean with its interval.

    Args:
        results: Columns net, seed and `metric`; one row per net and seed. Seeds
            without a finite value in both nets are left out, and the figure says so.
        metric: Column to compare.
        treatment: Net whose values count positive.
        control: Net whose values are taken away.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: If a column or a net is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": [0, 1, 0, 1],
            "accuracy": [0.75, 0.77, 0.80, 0.83],
        })
        ax = plots.paired_difference(results)
        ```
    """
    frame = one_condition(results, "results", ["net", "seed"], metric)
    by_seed = frame.pivot(index="seed", columns="net", values=metric)
    for name, net in (("treatment", treatment), ("control", control)):
        if net not in by_seed:
            raise ValueError(
                f"`{name}` must be a net in `results`. Received: {name}={net!r}, "
                f"nets {list(by_seed.columns)}"
            )
    ax = _axes(ax)
    finite = np.isfinite(by_seed[[treatment, control]].to_numpy(float)).all(axis=1)
    pairs = by_seed[finite]
    ax.axvline(0, color="0.4", linewidth=1, linestyle="--")
    if len(pairs):
        found = compare_paired(pairs[treatment], pairs[control])
        differences = (pairs[treatment] - pairs[control]).to_numpy(float)
        ax.scatter(
            differences,
            np.arange(1, differences.size + 1),
            color="0.35",
            s=36,
        )
        _interval_bar(ax, 0, differences, "black", vertical=False)
        low, high = found.interval
        interval = (
            "no interval from one seed"
            if found.n == 1
            else f"95 % t interval {low:.3g} to {high:.3g}"
        )
        note = (
            f"square and bar: mean {found.mean_difference:+.3g}, {interval}; "
            f"n\xa0=\xa0{found.n}; sign-flip p\xa0=\xa0{found.sign_flip_p_value:.3g}"
        )
    else:
        note = "nothing to compare"
    if not finite.all():
        note += f"; {(~finite).sum()} of {finite.size} seeds have no value"
    ax.set_yticks(
        range(len(pairs) + 1), ["mean", *(f"seed {seed}" for seed in pairs.index)]
    )
    ax.set_ylim(-0.7, len(pairs) + 0.7)
    return _finish(
        ax,
        xlabel=f"{_label(metric)}: {treatment} minus {control}",
        ylabel="",
        title="Difference by seed",
        note=note,
    )


def gradient_norm_by_depth(norms: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the gradient norm against depth, early, in the middle and late in training.

    Each third of the recorded steps gives one line by net: the geometric mean over
    its steps, then over seeds, with the t interval of the logarithms. Norms that are
    zero or not finite have no logarithm; they are left out, and the figure says so.

    Args:
        norms: Columns net, seed, step, depth and norm, of one kind of variable; one
            row per net, seed, step and depth.
        ax: Axes to draw on; a new figure by default.

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
    key = ["net", "seed", "step", "depth"]
    frame = with_logarithm(one_condition(norms, "norms", key, "norm"))
    ax = _axes(ax)
    ax.set_yscale("log")
    steps = np.unique(frame["step"])
    periods = np.array_split(steps, 3) if steps.size >= 3 else [steps]
    styles = tuple(_PERIODS.values())[-len(periods) :]
    drawn = []
    for net, rows in by_net(frame):
        for period, style in zip(periods, styles, strict=True):
            inside = rows[rows["step"].isin(period)]
            logs = inside.groupby(["depth", "seed"])["log"].mean().unstack("seed")
            mean, low, high = intervals(logs.to_numpy(float), skip_missing=True)
            ax.fill_between(
                logs.index,
                power_of_ten(low),
                power_of_ten(high),
                color=COLOURS[net],
                alpha=0.12,
                lw=0,
            )
            ax.plot(
                logs.index,
                power_of_ten(mean),
                color=COLOURS[net],
                linestyle=style,
                marker=_MARKERS[net],
                markersize=4,
                label=_count(net, rows["seed"].nunique()) if style == "-" else None,
            )
            drawn.append(mean)
    # The interval of two seeds can span hundreds of decades: the lines set the scale.
    logs = np.concatenate(drawn)
    if np.isfinite(logs).any():
        ax.set_ylim(
            *power_of_ten(np.array([np.nanmin(logs) - 0.3, np.nanmax(logs) + 0.3]))
        )
    meaning = "".join(
        f"; {word}: steps\xa0{period[0]}\xa0to\xa0{period[-1]}"
        for word, period in zip(_PERIODS, periods, strict=False)
        if len(periods) == 3
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return _finish(
        ax,
        xlabel="depth (1 = convolution nearest the input)",
        ylabel="gradient norm (L2)",
        title="Gradient norm by depth",
        note="line: geometric mean over steps and seeds; band: its 95 % t interval"
        + meaning
        + _left_out(frame),
    )


def gradient_norm_heatmap(
    norms: pd.DataFrame,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw the gradient norm of one net over depth and step, as colours.

    Args:
        norms: Columns net, seed, step, depth and norm, of one net and one kind of
            variable; one row per seed, step and depth. Norms that are zero or not
            finite are left out; a cell without any other is grey.
        ax: Axes to draw on; a new figure by default.
        limits: Lowest and highest norm of the colours. Two nets can be compared by
            colour only with the same limits.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several nets, conditions or kinds are
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
    key = ["net", "seed", "step", "depth"]
    frame = with_logarithm(one_condition(norms, "norms", key, "norm"))
    nets = frame["net"].unique()
    if len(nets) != 1:
        raise ValueError(
            "`norms` must hold one net; draw one heat map for each. "
            f"Received: nets {sorted(nets)}"
        )
    if limits is not None and not 0 < limits[0] < limits[1]:
        raise ValueError(
            "`limits` must be two positive norms, the lower one first. "
            f"Received: limits={limits!r}"
        )
    ax = _axes(ax)
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
    return _finish(
        ax,
        xlabel="training step",
        ylabel="depth (1 = convolution nearest the input)",
        title=f"Gradient norm of the {nets[0]} net",
        note=("one seed" if seeds == 1 else f"geometric mean over {seeds} seeds")
        + _left_out(frame),
        grid=False,
    )


def epochs_to_threshold(
    results: pd.DataFrame, threshold: float, ax: Axes | None = None
) -> Axes:
    """Draw how many epochs each seed took to reach a stated accuracy.

    Args:
        results: Columns net, seed and epochs_to_threshold (NaN: never reached); one
            row per net and seed.
        threshold: The accuracy, for the labels.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. Seeds that never reached the threshold stand in a row of their own
        above the others and count in the median as later than all of them.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": [0, 1, 0, 1],
            "epochs_to_threshold": [12, float("nan"), 6, 7],
        })
        ax = plots.epochs_to_threshold(results, threshold=0.7)
        ```
    """
    metric = "epochs_to_threshold"
    frame = one_condition(results, "results", ["net", "seed"], metric)
    ax = _axes(ax)
    reached = frame[metric].notna()
    latest = float(frame[metric].max()) if reached.any() else 1.0
    never = latest + max(1.0, 0.15 * latest)
    nets = []
    for position, (net, rows) in enumerate(by_net(frame)):
        epochs = rows.sort_values("seed")[metric].fillna(never).to_numpy(float)
        spread = np.linspace(-0.2, 0.2, epochs.size) if epochs.size > 1 else 0.0
        count = rows[metric].notna().sum()
        nets.append(f"{net}\n{count} of {_seeds(epochs.size)} reached it")
        ax.scatter(
            position + spread,
            epochs,
            color=COLOURS[net],
            marker=_MARKERS[net],
            s=40,
            alpha=0.8,
        )
        # Infinity for never, so that no median lies between a late epoch and never.
        median = min(np.median(rows[metric].fillna(np.inf)), never)
        ax.hlines(median, position - 0.3, position + 0.3, color=COLOURS[net], lw=2)
    ax.set_xticks(range(len(nets)), nets)
    ax.set_xlim(-0.5, len(nets) - 0.5)
    ax.set_ylim(0, never + 0.1 * never)
    ticks = list(MaxNLocator(8, integer=True).tick_values(0, latest))
    ticks = [tick for tick in ticks if 0 <= tick <= latest]
    labels = [f"{tick:g}" for tick in ticks]
    if not reached.all():
        ax.axhline((latest + never) / 2, color="0.7", linewidth=1, linestyle="--")
        ticks, labels = [*ticks, never], [*labels, "never"]
    ax.set_yticks(ticks, labels)
    return _finish(
        ax,
        xlabel="net",
        ylabel=f"epochs to accuracy {threshold:g}",
        title=f"Epochs to an accuracy of {threshold:g}",
        note="one mark per seed; bar: median, where never is later than any epoch",
    )


def degradation(results: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the final accuracy against the number of blocks.

    Args:
        results: Columns net, blocks, seed and accuracy; one row per net, number of
            blocks and seed.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "blocks": [2, 20, 2, 20],
            "seed": 0,
            "accuracy": [0.80, 0.65, 0.81, 0.84],
        })
        ax = plots.degradation(results)
        ```
    """
    key = ["net", "blocks", "seed"]
    frame = one_condition(results, "results", key, "accuracy")
    ax = _axes(ax)
    blocks = np.unique(frame["blocks"])
    # The nets stand side by side at each depth, so that their bars do not cover.
    step = np.diff(blocks).min() if blocks.size > 1 else 1.0
    for net, rows in by_net(frame):
        by_seed = rows.pivot(index="blocks", columns="seed", values="accuracy")
        x = by_seed.index.to_numpy(float) + step * (NETS.index(net) - 0.5) * 0.12
        ax.plot(
            x,
            by_seed,
            color=COLOURS[net],
            alpha=0.3,
            linestyle="none",
            marker=".",
        )
        mean, low, high = intervals(by_seed.to_numpy(float), skip_missing=True)
        ax.errorbar(
            x,
            mean,
            yerr=np.array([mean - low, high - mean]),
            color=COLOURS[net],
            marker=_MARKERS[net],
            linewidth=2,
            capsize=4,
            label=_count(net, by_seed.shape[1]),
        )
    ax.set_xticks(blocks)
    return _finish(
        ax,
        xlabel="number of blocks",
        ylabel=_label("accuracy"),
        title="Accuracy against depth",
        note="line and bar: mean over seeds and its 95 % t interval; dots: seeds",
    )


def _axes(ax: Axes | None) -> Axes:
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    return ax


def _finish(
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


def _interval_bar(
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


def _count(net: str, seeds: int) -> str:
    return f"{net} (n = {_seeds(seeds)})"


def _seeds(number: int) -> str:
    return f"{number} seed{'' if number == 1 else 's'}"


def _label(metric: str) -> str:
    return _LABELS.get(metric, metric.replace("_", " "))


def _left_out(frame: pd.DataFrame) -> str:
    count = int(frame["log"].isna().sum())
    if not count:
        return ""
    return f"; {count} of {len(frame)} norms left out: zero or not finite"
