"""The figure of calibration: accuracy against confidence."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from keras_residual.analysis._axes import Styles, axes, finish, seeds_in_words, styled
from keras_residual.analysis._calibration import (
    by_confidence,
    expected_calibration_error,
)
from keras_residual.analysis._frames import one_condition

_LARGEST_DOT = 260.0  # points squared, for the bin with most images
_SMALLEST_DOT = 9.0


def reliability_diagram(
    predictions: pd.DataFrame,
    ax: Axes | None = None,
    *,
    by: str = "net",
    styles: Styles = None,
    bins: int = 15,
) -> Axes:
    """Draws the accuracy against the confidence; calibrated networks are on a diagonal.

    Args:
        predictions: Columns `by`, seed, image, confidence (probability of the predicted
            class) and correct (booleans, or 0 and 1); one row per group, seed and
            image. Rows without a finite confidence are left out, which the figure
            reports.
        ax: Axes to draw on; a new figure by default.
        by: Column that names the groups, such as "net" or "approach".
        styles: Colour and marker of each group, in the order of drawing. Groups without
            one follow by name with free ones of `STYLES`.
        bins: Positive integer. Number of bins of equal width over the confidence.

    Returns:
        The axes. A dot is a bin with the images of all seeds, at their mean confidence
        and accuracy; its area shows their number. The expected calibration error in the
        legend is the mean over seeds.

    Raises:
        ValueError: If a column is missing, several conditions are mixed, or a value is
            not in its range.

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis import plots

        predictions = pd.DataFrame({
            "net": ["plain", "plain", "residual", "residual"],
            "seed": 0,
            "image": [0, 1, 0, 1],
            "confidence": [0.9, 0.8, 0.7, 0.95],
            "correct": [False, True, True, True],
        })
        ax = plots.reliability_diagram(predictions, bins=5)
        ```

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
        <https://arxiv.org/abs/1706.04599>
    """
    key = [by, "seed", "image"]
    frame = one_condition(predictions, "predictions", key, "confidence", "correct")
    finite = np.isfinite(frame["confidence"].to_numpy(float))
    drawn = []
    for name, look in styled(frame[by], styles).items():
        rows = frame[finite & (frame[by] == name)]
        if len(rows):
            found = by_confidence(rows["confidence"], rows["correct"], bins)
            errors = [
                expected_calibration_error(seed["confidence"], seed["correct"], bins)
                for _, seed in rows.groupby("seed")
            ]
            drawn.append((name, look, found, errors))
    ax = axes(ax)
    ax.plot([0, 1], [0, 1], color="0.4", linewidth=1, linestyle="--", zorder=1)
    most = max((found.number.max() for _, _, found, _ in drawn), default=1)
    for name, (colour, marker), found, errors in drawn:
        filled = found.number > 0
        x, y = found.confidence[filled], found.accuracy[filled]
        # Bins with few images scatter, so the joining line must not dominate.
        ax.plot(x, y, color=colour, linewidth=1.2, alpha=0.5)
        ax.scatter(
            x,
            y,
            s=np.maximum(_LARGEST_DOT * found.number[filled] / most, _SMALLEST_DOT),
            color=colour,
            marker=marker,
            alpha=0.75,
            linewidth=0,
            clip_on=False,  # a large dot in a corner
        )
        # The legend shows every marker in the same size.
        ax.plot(
            *([], []),
            color=colour,
            marker=marker,
            markersize=7,
            label=f"{name}: ECE {100 * np.mean(errors):.1f} % "
            f"(n = {seeds_in_words(len(errors))})",
        )
    for place, words in (((0.03, 0.62), "not sure enough"), ((0.97, 0.3), "too sure")):
        ax.text(
            *place,
            words,
            ha="left" if place[0] < 0.5 else "right",
            color="0.45",
            style="italic",
            fontsize=10,
        )
    ax.set_xlim(-0.03, 1.03)
    ax.set_ylim(-0.03, 1.03)
    ends = "; ".join(
        f"{name} {100 * np.mean(errors):.1f} %" for name, *_, errors in drawn
    )
    note = (
        f"{bins} bin{'' if bins == 1 else 's'}; area: how many images; dashed: "
        "right as often as claimed; ECE: expected calibration error"
    )
    if not finite.all():
        note += f"; {(~finite).sum()} of {finite.size} predictions have no value"
    return finish(
        ax,
        xlabel="confidence (% probability of the predicted class)",
        ylabel="accuracy (% of images)",
        title=f"Calibration error: {ends}",
        note=note,
    )
