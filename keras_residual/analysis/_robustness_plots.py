"""Figures beyond a single accuracy: overfitting and occlusion."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from keras_residual.analysis._axes import (
    Styles,
    axes,
    finish,
    means_in_words,
    means_over_seeds,
    seeds_in_words,
    styled,
)
from keras_residual.analysis._frames import one_condition
from keras_residual.analysis._intervals import mean_interval


def generalization_gap(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws the accuracy on training and on validation images, and the gap between.

    Args:
        results: Columns `by`, seed, train_accuracy and accuracy; one row per group and
            seed. The figure counts rows without two finite accuracies in its note.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes, with the mean gap of each group and its 95 % t interval below.

    Raises:
        ValueError: If a column is missing or several conditions are mixed.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": [0, 1, 0, 1],
            "train_accuracy": [0.90, 0.92, 0.97, 0.99],
            "accuracy": [0.75, 0.77, 0.80, 0.83],
        })
        ax = plots.generalization_gap(results)
        ```
    """
    frame = one_condition(
        results, "results", [by, "seed"], "train_accuracy", "accuracy"
    )
    finite = np.isfinite(frame[["train_accuracy", "accuracy"]].to_numpy(float)).all(1)
    ax = axes(ax)
    names = styled(frame[by], styles)
    ticks, gaps = [], []
    for position, (name, (colour, marker)) in enumerate(names.items()):
        rows = frame[finite & (frame[by] == name)].sort_values("seed")
        train, validation = (
            rows[column].to_numpy(float) for column in ("train_accuracy", "accuracy")
        )
        spread = np.linspace(-0.2, 0.2, len(rows)) if len(rows) > 1 else np.zeros(1)
        x = position + spread[: len(rows)]
        ends = [validation, train]
        ax.plot([x, x], ends, color=colour, alpha=0.45, linewidth=2, zorder=1)
        for heights, face in ((train, "white"), (validation, colour)):
            ax.scatter(
                x, heights, s=42, marker=marker, facecolor=face, edgecolor=colour
            )
        ticks.append("\n".join([str(name), *_gap_in_words(train - validation)]))
        if len(rows):
            gaps.append(f"{name} {100 * (train - validation).mean():.1f} points")
    ax.set_xticks(range(len(names)), ticks)
    ax.set_xlim(-0.5, len(names) - 0.5)
    note = (
        "open: training images; filled: validation images; line between them: the "
        "gap of one seed; below: its mean and 95 % t interval"
    )
    if not finite.all():
        note += f"; {(~finite).sum()} of {finite.size} trainings have no value"
    return finish(
        ax,
        xlabel=by,
        ylabel="accuracy (% of images)",
        title=f"Gap: {'; '.join(gaps) or 'no value'}",
        note=note,
    )


def accuracy_by_occlusion(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
) -> Axes:
    """Draws the accuracy against the share of each image that was erased.

    The mean is drawn where every seed has a finite value, so a seed that diverged
    leaves a gap and does not drop out silently.

    Args:
        results: Columns `by`, seed, erased_share (from 0 to 1) and accuracy; one row
            per group, seed and share.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing, several conditions are mixed, or a share is
            not between 0 and 1.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": 0,
            "erased_share": [0.0, 0.25, 0.0, 0.25],
            "accuracy": [0.75, 0.52, 0.80, 0.71],
        })
        ax = plots.accuracy_by_occlusion(results)
        ```
    """
    key = [by, "seed", "erased_share"]
    frame = one_condition(results, "results", key, "accuracy")
    shares = frame["erased_share"].to_numpy(float)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(
            "`results` must have numbers from 0 to 1 in its column erased_share. "
            f"Received: {np.unique(shares).tolist()}"
        )
    ax = axes(ax)
    names = styled(frame[by], styles)
    # Side by side, so that the bars do not overlap.
    step = 0.01 * np.ptp(shares)
    groups = []
    for place, (name, style) in enumerate(names.items()):
        rows = frame[frame[by] == name]
        by_seed = rows.pivot(index="erased_share", columns="seed", values="accuracy")
        x = by_seed.index.to_numpy(float) + step * (place - (len(names) - 1) / 2)
        groups.append((name, style, x, by_seed))
    note = means_over_seeds(ax, groups, skip_missing=False)
    ax.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    label = "accuracy (% of images)"
    most = frame[frame["erased_share"] == shares.max()]
    ends = means_in_words(most, by, "accuracy", names, label)
    return finish(
        ax,
        xlabel="erased share of the pixels",
        ylabel=label,
        title=f"With {100 * shares.max():.3g} % erased: {ends}",
        note=note,
    )


def _gap_in_words(gaps: np.ndarray) -> list[str]:
    if not gaps.size:
        return ["no value"]
    mean, low, high = (100 * value for value in mean_interval(gaps))
    lines = [f"gap {mean:+.1f} points"]
    if gaps.size > 1:
        lines.append(f"({low:+.1f} to {high:+.1f})")
    return [*lines, f"n = {seeds_in_words(gaps.size)}"]
