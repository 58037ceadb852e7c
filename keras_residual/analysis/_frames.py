"""Checks, intervals and logarithms of tidy frames, for the figures."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from keras_residual.analysis._intervals import mean_interval


def one_condition(
    frame: pd.DataFrame, name: str, key: list[str], *values: str
) -> pd.DataFrame:
    """Returns the columns `key` and `values`, with exactly one row for each `key`.

    Raises an error for other frames: rows of several conditions must not be averaged.
    """
    check_columns(frame, name, [*key, *values])
    repeated = frame[frame.duplicated(key, keep=False)]
    if len(repeated):
        others = frame.columns.difference([*key, *values], sort=False)
        differing = repeated.groupby(key, dropna=False)[list(others)].nunique().max()
        # A condition has few values, a measurement has many.
        values_of = repeated[differing[differing > 1].index].nunique()
        mixed = values_of.sort_values(kind="stable").index[:3]
        advice = f"; select one value of {', '.join(mixed)}" if len(mixed) else ""
        raise ValueError(
            f"`{name}` must have one row for each {', '.join(key)}{advice}. "
            f"Received: {len(repeated)} rows that share these with others"
        )
    return frame[[*key, *values]]


def check_columns(frame: pd.DataFrame, name: str, columns: list[str]) -> None:
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ValueError(
            f"`{name}` must have the columns {columns}; missing: {missing}. "
            f"Received: columns {list(frame.columns)}"
        )
    if frame.empty:
        raise ValueError(f"`{name}` must have rows. Received: an empty frame")


def intervals(
    matrix: NDArray[np.float64], *, skip_missing: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and 95 % t interval of each row, over its columns (seeds).

    NaN for a row with a value that is not finite; with `skip_missing`, only for a row
    without any finite value.
    """
    result = np.full((len(matrix), 3), np.nan)
    for row, values in zip(result, matrix, strict=True):
        finite = values[np.isfinite(values)]
        if finite.size == values.size or (skip_missing and finite.size):
            row[:] = mean_interval(finite)
    return result[:, 0], result[:, 1], result[:, 2]


def too_wide(widths: Iterable[ArrayLike], values: ArrayLike) -> bool:
    """Whether an interval is wider than all the values, so that it fills the figure.

    It takes few seeds: from seven on no t interval is wider than its own values.

    Args:
        widths: Widths of the intervals; NaN where there is none.
        values: All values of the figure.
    """
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return False
    widest = max(np.fmax.reduce(np.ravel(width), initial=0.0) for width in widths)
    # Equal values may have an interval of rounding errors.
    return bool(widest > np.ptp(finite) + 1e-9 * np.abs(finite).max())


def with_logarithm(frame: pd.DataFrame) -> pd.DataFrame:
    """Adds the column log: log10 of norm, NaN where the norm is zero or not finite."""
    norm = frame["norm"].to_numpy(float)
    usable = np.isfinite(norm) & (norm > 0)
    return frame.assign(
        log=np.where(usable, np.log10(np.where(usable, norm, 1)), np.nan)
    )


def toward_input(frame: pd.DataFrame, by: str, names: Iterable[str]) -> str:
    """How the norm goes from the last convolution to the second, for a title.

    The first one has another shape than the others; it counts where there are only two.

    Args:
        frame: Columns `by`, depth and log.
        by: Column that names the groups.
        names: The groups, in the order of drawing.
    """
    depths = np.unique(frame["depth"])
    logs = frame.groupby([by, "depth"])["log"].mean().unstack()
    first = depths[1] if depths.size > 2 else depths[0]
    changes = logs[first] - logs[depths[-1]]
    words = [f"{name} {_fold(changes[name])}" for name in names]
    return f"The gradient toward the input: {'; '.join(words)}"


def _fold(change: float) -> str:
    """A change of the logarithm to the base 10 in words."""
    size = 10 ** abs(change)
    if np.isnan(change):
        return "has no value"
    if f"{size:.2g}" == "1":
        return "stays level"
    words = f"{float(f'{size:.1e}'):,.6g}" if size < 1e5 else f"10^{abs(change):.0f}"
    return f"{'grows' if change > 0 else 'shrinks'} {words}-fold"


def power_of_ten(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undoes the logarithm, within bounds: intervals of two seeds can overflow floats.

    The bounds leave room for the margin that matplotlib adds on a log axis.
    """
    return 10 ** np.clip(logs, -250, 250)


def edges(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell borders half-way between sorted centres, which may be unevenly spaced."""
    if centres.size == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[:-1] + centres[1:]) / 2
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])
