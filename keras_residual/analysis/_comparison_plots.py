"""Figures that compare final results: by seed, as differences, and over depth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from keras_residual.analysis._axes import (
    COLOURS,
    MARKERS,
    axes,
    count,
    finish,
    interval_bar,
    label,
    seeds_in_words,
    styles,
)
from keras_residual.analysis._frames import (
    NETS,
    groups,
    in_order,
    intervals,
    one_condition,
)
from keras_residual.analysis.statistics import compare_paired


def accuracy_by_seed(
    results: pd.DataFrame, ax: Axes | None = None, *, by: str = "net"
) -> Axes:
    """Draw the final accuracy of each seed, joined across the groups.

    Args:
        results: Columns `by`, seed and accuracy; one row per group and seed.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".

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
    frame = one_condition(results, "results", [by, "seed"], "accuracy")
    ax = axes(ax)
    by_seed = frame.pivot(index="seed", columns=by, values="accuracy")
    names = styles(frame[by])
    ax.plot(
        range(len(names)), by_seed[list(names)].T, color="0.75", linewidth=1, zorder=1
    )
    ticks = []
    for position, (name, (colour, marker)) in enumerate(names.items()):
        values = by_seed[name].to_numpy(float)
        values = values[np.isfinite(values)]
        ax.scatter(
            np.full(values.size, position),
            values,
            color=colour,
            marker=marker,
            s=30,
            alpha=0.7,
        )
        ticks.append(f"{name}\nn = {seeds_in_words(values.size)}")
        # Beside the dots, outward, where the joining lines leave room.
        side = position + (-0.15 if position == 0 else 0.15)
        if values.size:
            interval_bar(ax, side, values, colour, vertical=True)
    ax.set_xticks(range(len(names)), ticks)
    ax.set_xlim(-0.5, len(names) - 0.5)
    return finish(
        ax,
        xlabel=by,
        ylabel=label("accuracy"),
        title="Final accuracy by seed",
        note="a grey line joins one seed; square and bar: mean and its 95 % t interval",
    )


def paired_difference(
    results: pd.DataFrame,
    metric: str = "accuracy",
    treatment: str = "residual",
    control: str = "plain",
    ax: Axes | None = None,
    *,
    by: str = "net",
) -> Axes:
    """Draw the difference of each seed, and their mean with its interval.

    Args:
        results: Columns `by`, seed and `metric`; one row per group and seed. Seeds
            without a finite value in both groups are left out, and the figure says so.
        metric: Column to compare.
        treatment: Group whose values count positive.
        control: Group whose values are subtracted.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".

    Returns:
        The axes.

    Raises:
        ValueError: If a column or a group is missing or several conditions are mixed.

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
    frame = one_condition(results, "results", [by, "seed"], metric)
    by_seed = frame.pivot(index="seed", columns=by, values=metric)
    for argument, name in (("treatment", treatment), ("control", control)):
        if name not in by_seed:
            raise ValueError(
                f"`{argument}` must be in the column {by} of `results`. "
                f"Received: {argument}={name!r}, {by} {in_order(frame[by])}"
            )
    ax = axes(ax)
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
        interval_bar(ax, 0, differences, "black", vertical=False)
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
    return finish(
        ax,
        xlabel=f"{label(metric)}: {treatment} minus {control}",
        ylabel="",
        title="Difference by seed",
        note=note,
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
    ax = axes(ax)
    blocks = np.unique(frame["blocks"])
    # The nets stand side by side at each depth, so that their bars do not cover.
    step = np.diff(blocks).min() if blocks.size > 1 else 1.0
    for net, rows in groups(frame, "net"):
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
            marker=MARKERS[net],
            linewidth=2,
            capsize=4,
            label=count(net, by_seed.shape[1]),
        )
    ax.set_xticks(blocks)
    return finish(
        ax,
        xlabel="number of blocks",
        ylabel=label("accuracy"),
        title="Accuracy against depth",
        note="line and bar: mean over seeds and its 95 % t interval; dots: seeds",
    )
