"""Figures that compare final results: by seed, as differences, and over depth."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from keras_residual.analysis._axes import (
    NO_INTERVAL,
    PERCENT,
    Styles,
    axes,
    finish,
    interval_bar,
    label_of,
    means_in_words,
    means_over_seeds,
    seeds_in_words,
    styled,
)
from keras_residual.analysis._frames import one_condition, too_wide
from keras_residual.analysis._intervals import mean_interval
from keras_residual.analysis._paired import compare_paired


def accuracy_by_seed(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws the final accuracy of each seed, joined across the groups.

    Args:
        results: Columns `by`, seed and accuracy; one row per group and seed.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain"] * 3 + ["residual"] * 3,
            "seed": [0, 1, 2] * 2,
            "accuracy": [0.75, 0.77, 0.76, 0.80, 0.83, 0.82],
        })
        ax = plots.accuracy_by_seed(results)
        ```
    """
    frame = one_condition(results, "results", [by, "seed"], "accuracy")
    ax = axes(ax)
    by_seed = frame.pivot(index="seed", columns=by, values="accuracy")
    names = styled(frame[by], styles)
    ax.plot(
        range(len(names)), by_seed[list(names)].T, color="0.75", linewidth=1, zorder=1
    )
    finite = [by_seed[name].to_numpy(float) for name in names]
    finite = [values[np.isfinite(values)] for values in finite]
    bands = [mean_interval(values) for values in finite if values.size]
    wide = too_wide((high - low for _, low, high in bands), frame["accuracy"])
    drawn = "square and bar: mean and its 95 % t interval"
    if wide:
        drawn = f"square: mean; {NO_INTERVAL}"
    ticks = []
    for position, (name, (colour, marker)) in enumerate(names.items()):
        values = finite[position]
        ax.scatter(
            np.full(values.size, position),
            values,
            color=colour,
            marker=marker,
            s=30,
            alpha=0.7,
        )
        ticks.append(f"{name}\nn = {seeds_in_words(values.size)}")
        # Beside the dots, on the side without joining lines.
        side = position + (-0.15 if position == 0 else 0.15)
        if values.size:
            interval_bar(ax, side, values, colour, vertical=True, has_bar=not wide)
    ax.set_xticks(range(len(names)), ticks)
    ax.set_xlim(-0.5, len(names) - 0.5)
    label = label_of("accuracy")
    usable = frame[np.isfinite(frame["accuracy"].astype(float))]
    ends = means_in_words(usable, by, "accuracy", names, label)
    return finish(
        ax,
        xlabel=by,
        ylabel=label,
        title=f"Final accuracy: {ends}",
        note=f"a grey line joins one seed; {drawn}",
    )


def paired_difference(
    results: pd.DataFrame,
    metric: str = "accuracy",
    ax: Axes | None = None,
    *,
    treatment: str,
    control: str,
    by: str = "net",
    label: str | None = None,
    p_value: float | None = None,
) -> Axes:
    """Draws the difference of each seed, and their mean with its interval.

    Args:
        results: Columns `by`, seed and `metric`; one row per group and seed. Seeds
            without a finite value in both groups are left out, which the figure
            reports.
        metric: Column to compare.
        ax: Axes to draw on; a new figure by default.
        treatment: Group from which the control is subtracted.
        control: Group that is subtracted.
        by: Column that names the groups, such as "net" or "approach".
        label: Label of the metric in the figure. With "(%" in it, values are shares
            that the figure shows in percent.
        p_value: The p-value to show, corrected for all tests of the experiment. None:
            that of this comparison alone.

    Returns:
        The axes.

    Raises:
        ValueError: If a column or a group is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain"] * 3 + ["residual"] * 3,
            "seed": [0, 1, 2] * 2,
            "accuracy": [0.75, 0.77, 0.76, 0.80, 0.83, 0.82],
        })
        ax = plots.paired_difference(results, treatment="residual", control="plain")
        ```
    """
    frame = one_condition(results, "results", [by, "seed"], metric)
    by_seed = frame.pivot(index="seed", columns=by, values=metric)
    for argument, name in (("treatment", treatment), ("control", control)):
        if name not in by_seed:
            raise ValueError(
                f"`{argument}` must be in the column {by} of `results`. "
                f"Received: {argument}={name!r}, {by} {sorted(frame[by].unique())}"
            )
    label = label or label_of(metric)
    scale, unit = (100, " points") if PERCENT in label else (1, "")
    ax = axes(ax)
    finite = np.isfinite(by_seed[[treatment, control]].to_numpy(float)).all(axis=1)
    pairs = by_seed[finite]
    ax.axvline(0, color="0.4", linewidth=1, linestyle="--")
    title = f"{treatment} minus {control}"
    if len(pairs):
        found = compare_paired(pairs[treatment], pairs[control])
        differences = (pairs[treatment] - pairs[control]).to_numpy(float)
        ax.scatter(
            differences,
            np.arange(1, differences.size + 1),
            color="0.35",
            s=36,
        )
        low, high = (scale * end for end in found.interval)
        # Beside zero, which is drawn as well.
        wide = too_wide([high - low], scale * np.append(differences, 0))
        interval_bar(ax, 0, differences, "black", vertical=False, has_bar=not wide)
        interval = (
            "no interval from one seed"
            if found.n == 1
            else f"95 % t interval {low:.3g} to {high:.3g}"
        )
        p = f"sign-flip p = {found.sign_flip_p_value:.3g}"
        if p_value is not None:
            p = f"corrected p = {p_value:.3g}"
        mean = f"{scale * found.mean_difference:+.3g}{unit}"
        title += f": {mean}"
        drawn = "square" if wide else "square and bar"
        note = f"{drawn}: mean {mean}, {interval}; n = {found.n}; {p}"
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
        xlabel=f"{label}: {treatment} minus {control}",
        ylabel="",
        title=title,
        note=note,
    )


def degradation(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws the final accuracy against the number of blocks.

    Args:
        results: Columns `by`, blocks, seed and accuracy; one row per group, number of
            blocks and seed.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

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
    frame = one_condition(results, "results", [by, "blocks", "seed"], "accuracy")
    ax = axes(ax)
    blocks = np.unique(frame["blocks"])
    names = styled(frame[by], styles)
    # Side by side at each depth, so that the bars do not overlap.
    step = 0.12 * np.diff(blocks).min() if blocks.size > 1 else 0.12
    groups = []
    for place, (name, style) in enumerate(names.items()):
        rows = frame[frame[by] == name]
        by_seed = rows.pivot(index="blocks", columns="seed", values="accuracy")
        x = by_seed.index.to_numpy(float) + step * (place - (len(names) - 1) / 2)
        groups.append((name, style, x, by_seed))
    note = means_over_seeds(ax, groups)
    ax.set_xticks(blocks)
    label = label_of("accuracy")
    usable = frame[np.isfinite(frame["accuracy"].astype(float))]
    ends = {
        number: means_in_words(rows, by, "accuracy", names, label)
        for number, rows in usable.groupby("blocks")
        if number in (blocks[0], blocks[-1])
    }
    return finish(
        ax,
        xlabel="number of blocks",
        ylabel=label,
        title=". ".join(f"With {n} blocks: {words}" for n, words in ends.items())
        or "no value",
        note=note,
    )
