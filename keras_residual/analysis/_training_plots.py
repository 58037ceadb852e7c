"""Figures of training over time: curves, and epochs to a stated accuracy."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from keras_residual.analysis._axes import (
    NO_INTERVAL,
    Styles,
    axes,
    count,
    finish,
    label_of,
    means_in_words,
    seeds_in_words,
    styled,
)
from keras_residual.analysis._frames import intervals, one_condition, too_wide


def training_curves(
    history: pd.DataFrame,
    metric: str = "val_accuracy",
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
    label: str | None = None,
) -> Axes:
    """Draws a metric over the epochs: mean and interval by group, seeds faint.

    The mean is drawn where every seed has a finite value, so a seed that diverged
    leaves a gap and does not drop out silently. Where few seeds make an interval wider
    than all values, the seeds alone are drawn, and the figure says so.

    Args:
        history: Columns `by`, seed, epoch and `metric`; one row per group, seed and
            epoch.
        metric: Column to draw.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.
        label: Label of the metric in the figure. With "(%" in it, values are shares
            that the figure shows in percent.

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
    frame = one_condition(history, "history", [by, "seed", "epoch"], metric)
    ax = axes(ax)
    names = styled(frame[by], styles)
    tables = [
        frame[frame[by] == name].pivot(index="epoch", columns="seed", values=metric)
        for name in names
    ]
    bands = [intervals(by_seed.to_numpy(float)) for by_seed in tables]
    wide = too_wide((high - low for _, low, high in bands), frame[metric])
    alone, note = 0.25, "band: its 95 % t interval; thin: single seeds"
    if wide:
        alone, note = 0.5, f"thin: single seeds; {NO_INTERVAL}"
    for (name, (colour, marker)), by_seed, (mean, low, high) in zip(
        names.items(), tables, bands, strict=True
    ):
        ax.plot(by_seed.index, by_seed, color=colour, alpha=alone, linewidth=0.8)
        if not wide:
            ax.fill_between(by_seed.index, low, high, color=colour, alpha=0.2, lw=0)
        ax.plot(
            by_seed.index,
            mean,
            color=colour,
            linewidth=2,
            marker=marker,
            markersize=5,
            label=count(name, by_seed.shape[1]),
        )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    label = label or label_of(metric)
    last = frame.sort_values("epoch").drop_duplicates([by, "seed"], keep="last")
    ends = means_in_words(last, by, metric, names, label)
    what = label.partition(" (")[0].capitalize()
    return finish(
        ax,
        xlabel="epoch",
        ylabel=label,
        title=f"{what} at the end: {ends}",
        note=f"thick: mean over seeds; {note}",
    )


def epochs_to_threshold(
    results: pd.DataFrame,
    threshold: float,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws how many epochs each seed took to reach a stated accuracy.

    Args:
        results: Columns `by`, seed and epochs_to_threshold (NaN: never reached); one
            row per group and seed.
        threshold: The accuracy, for the labels.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes. Seeds that never reached the threshold are in a row above the others,
        and count in the median as later than all of them.

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
    frame = one_condition(results, "results", [by, "seed"], metric)
    ax = axes(ax)
    reached = frame[metric].notna()
    latest = float(frame[metric].max()) if reached.any() else 1.0
    never = latest + max(1.0, 0.15 * latest)
    names, medians = [], []
    for position, (name, (colour, marker)) in enumerate(
        styled(frame[by], styles).items()
    ):
        rows = frame[frame[by] == name]
        epochs = rows.sort_values("seed")[metric].fillna(never).to_numpy(float)
        spread = np.linspace(-0.2, 0.2, epochs.size) if epochs.size > 1 else 0.0
        reaching = rows[metric].notna().sum()
        names.append(f"{name}\n{reaching} of {seeds_in_words(epochs.size)} reached it")
        ax.scatter(
            position + spread,
            epochs,
            color=colour,
            marker=marker,
            s=40,
            alpha=0.8,
        )
        # Infinity for never, so that no median lies between a late epoch and never.
        median = np.median(rows[metric].fillna(np.inf))
        medians.append(f"{name} {f'{median:g}' if median < np.inf else 'never'}")
        median = min(median, never)
        ax.hlines(median, position - 0.3, position + 0.3, color=colour, lw=2)
    ax.set_xticks(range(len(names)), names)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(0, never + 0.1 * never)
    ticks = list(MaxNLocator(8, integer=True).tick_values(0, latest))
    ticks = [tick for tick in ticks if 0 <= tick <= latest]
    labels = [f"{tick:g}" for tick in ticks]
    if not reached.all():
        ax.axhline((latest + never) / 2, color="0.7", linewidth=1, linestyle="--")
        ticks, labels = [*ticks, never], [*labels, "never"]
    ax.set_yticks(ticks, labels)
    return finish(
        ax,
        xlabel=by,
        ylabel="epochs",
        title=f"Epochs to {100 * threshold:g} %: {'; '.join(medians)}",
        note="one mark per seed; bar: median, where never is later than any epoch",
    )
