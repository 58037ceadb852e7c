"""Figures of the cost of an approach to transfer learning: weights, images, time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from keras_residual.analysis._axes import (
    Styles,
    axes,
    count,
    finish,
    label_of,
    means_in_words,
    means_over_seeds,
    styled,
)
from keras_residual.analysis._frames import check_columns, one_condition


def trainable_parameters(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "approach",
    styles: Styles = None,
) -> Axes:
    """Draws how many parameters each group trains, on a logarithmic axis.

    Args:
        results: Columns `by` and trainable_parameters; all rows of a group have the
            same number.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing, or a group has several numbers or one
            that is not positive.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "approach": ["scratch", "frozen", "fine-tuned"],
            "trainable_parameters": [160_000, 262_000, 9_200_000],
        })
        ax = plots.trainable_parameters(results)
        ```
    """
    columns = [by, "trainable_parameters"]
    check_columns(results, "results", columns)
    pairs = results[columns].drop_duplicates()
    if pairs[by].duplicated().any():
        raise ValueError(
            f"`results` must have one number of trainable_parameters for each {by}. "
            f"Received: {sorted(map(tuple, pairs.to_numpy().tolist()))}"
        )
    numbers = pairs.set_index(by)["trainable_parameters"]
    _check_positive(numbers)
    ax = axes(ax)
    ax.set_yscale("log")
    names = styled(numbers.index, styles)
    for position, (name, (colour, marker)) in enumerate(names.items()):
        ax.scatter(position, numbers[name], color=colour, marker=marker, s=90)
        ax.annotate(
            f"{numbers[name]:,.0f}",
            (position, numbers[name]),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
        )
    ax.set_xticks(range(len(names)), list(names))
    ax.set_xlim(-0.5, len(names) - 0.5)
    # Leaves room for the numbers, and does not magnify a small difference.
    ax.set_ylim(numbers.min() / 4, numbers.max() * 4)
    return finish(
        ax,
        xlabel=by,
        ylabel="trainable parameters",
        title="; ".join(f"{name} trains {numbers[name]:,.0f}" for name in names),
        note="logarithmic axis: equal distances are equal ratios",
    )


def accuracy_by_images(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "approach",
    styles: Styles = None,
    reference: str | None = None,
) -> Axes:
    """Draws the accuracy against the number of training images, on a logarithmic axis.

    Args:
        results: Columns `by`, images, seed and accuracy; one row per group, number of
            training images and seed.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.
        reference: Group whose mean accuracy with all images is a horizontal line, if it
            is in `results`. Groups above the line do better with fewer images. None:
            no line.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing, several conditions are mixed, or a number
            of images is not positive.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "approach": ["scratch", "scratch", "frozen", "frozen"],
            "images": [60, 600, 60, 600],
            "seed": 0,
            "accuracy": [0.55, 0.70, 0.93, 0.97],
        })
        ax = plots.accuracy_by_images(results, reference="scratch")
        ```
    """
    frame = one_condition(results, "results", [by, "images", "seed"], "accuracy")
    _check_positive(frame["images"])
    ax = axes(ax)
    ax.set_xscale("log")
    numbers = np.unique(frame["images"])
    names = styled(frame[by], styles)
    groups = []
    for place, (name, style) in enumerate(names.items()):
        rows = frame[frame[by] == name]
        by_seed = rows.pivot(index="images", columns="seed", values="accuracy")
        # Side by side, so that the bars do not overlap.
        x = by_seed.index.to_numpy(float) * 1.05 ** (place - (len(names) - 1) / 2)
        groups.append((name, style, x, by_seed))
    note = means_over_seeds(ax, groups)
    full = frame[(frame[by] == reference) & (frame["images"] == numbers[-1])]
    values = full["accuracy"].to_numpy(float)
    values = values[np.isfinite(values)]
    if values.size:
        height = float(values.mean())
        ax.axhline(height, color="0.4", linewidth=1, linestyle="--", zorder=1)
        note += f"; dashed: {reference} with all {numbers[-1]:,.0f} images"
    ax.xaxis.set_major_locator(FixedLocator(numbers.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{number:,.0f}" for number in numbers])
    usable = frame[np.isfinite(frame["accuracy"].astype(float))]
    most = usable[usable["images"] == numbers[-1]]
    label = label_of("accuracy")
    ends = means_in_words(most, by, "accuracy", names, label)
    return finish(
        ax,
        xlabel="training images",
        ylabel=label,
        title=f"With {numbers[-1]:,.0f} training images: {ends}",
        note=note,
    )


def accuracy_by_time(
    results: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "approach",
    styles: Styles = None,
) -> Axes:
    """Draws the accuracy against the training time, on a logarithmic axis.

    Args:
        results: Columns `by`, share (of the training images), seed, accuracy and
            seconds; one row per group, share and seed. Rows without a finite accuracy
            and time are left out, which the figure reports.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.

    Returns:
        The axes.

    Raises:
        ValueError: If a column is missing, several conditions are mixed, or a time or
            a share is not positive.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        results = pd.DataFrame({
            "approach": ["scratch", "scratch", "frozen", "frozen"],
            "share": [0.1, 1.0, 0.1, 1.0],
            "seed": 0,
            "accuracy": [0.55, 0.70, 0.93, 0.97],
            "seconds": [20.0, 150.0, 8.0, 40.0],
        })
        ax = plots.accuracy_by_time(results)
        ```
    """
    key = [by, "share", "seed"]
    frame = one_condition(results, "results", key, "accuracy", "seconds")
    finite = np.isfinite(frame[["accuracy", "seconds"]].to_numpy(float)).all(axis=1)
    usable = frame[finite]
    _check_positive(usable["seconds"])
    _check_positive(frame["share"])
    ax = axes(ax)
    ax.set_xscale("log")
    longest = []
    for name, (colour, marker) in styled(frame[by], styles).items():
        rows = usable[usable[by] == name].sort_values(["share", "seed"])
        ax.scatter(rows["seconds"], rows["accuracy"], color=colour, s=9, alpha=0.45)
        # On a logarithmic axis the mean is geometric.
        logs = rows.assign(seconds=np.log(rows["seconds"]))
        means = logs.groupby("share")[["seconds", "accuracy"]].mean()
        x, y = np.exp(means["seconds"]), means["accuracy"]
        if len(x):
            longest.append(f"{name} {x.max():.3g} s")
        ax.plot(
            x,
            y,
            color=colour,
            marker=marker,
            markersize=8,
            linewidth=1,
            label=count(name, rows["seed"].nunique()),
        )
        for place in zip(x, y, means.index, strict=True):
            ax.annotate(
                f"{100 * place[2]:g} %",
                place[:2],
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=9,
                color="0.25",
            )
    note = (
        "large: mean over seeds (geometric of the time) with the share of the training "
        "images; small: seeds"
    )
    if not finite.all():
        note += f"; {(~finite).sum()} of {finite.size} rows have no value"
    ax.margins(y=0.12)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    return finish(
        ax,
        xlabel="training time (s)",
        ylabel=label_of("accuracy"),
        title=f"One training: {'; '.join(longest) or 'no value'}",
        note=note,
    )


def _check_positive(column: pd.Series) -> None:
    values = column.to_numpy(float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(
            f"`results` must have positive numbers in its column {column.name}. "
            f"Received: {column.tolist()}"
        )
