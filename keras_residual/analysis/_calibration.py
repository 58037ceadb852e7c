"""Calibration: does a network that is 80 % sure of its answers get 80 % right?"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_residual.layers._checks import check_positive_integer


class Bins(NamedTuple):
    """Images grouped by their confidence; means are NaN where a bin is empty."""

    number: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]


def expected_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, bins: int = 15
) -> float:
    """How far the confidence of a classifier is from its accuracy, on average.

    `ECE = sum over bins of (images in the bin / images) * |accuracy - confidence|`,
    with bins of equal width over the confidence, which contain their upper ends. It is
    0 for a classifier that is right as often as it claims, and at most 1. It depends on
    `bins`, and is too large for few images: compare only networks on the same images.

    Args:
        confidence: Probability of the predicted class, from 0 to 1, one per image.
        correct: Whether that class was the right one: booleans, or 0 and 1.
        bins: Positive integer. Number of bins.

    Returns:
        The error, from 0 to 1.

    Raises:
        ValueError: If the lengths differ, there are no images, or a value is outside
            its range.

    Example:
        ```python
        from keras_residual.analysis.statistics import expected_calibration_error

        # Says 0.9 four times and is right twice.
        print(expected_calibration_error([0.9] * 4, [True, True, False, False]))  # 0.4
        ```

    Reference:
        Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
        <https://arxiv.org/abs/1706.04599>
    """
    number, mean, accuracy = by_confidence(confidence, correct, bins)
    filled = number > 0
    gaps = np.abs(accuracy[filled] - mean[filled])
    return float(gaps @ number[filled] / number.sum())


def by_confidence(confidence: ArrayLike, correct: ArrayLike, bins: int) -> Bins:
    """Images, mean confidence and accuracy of each bin ((k - 1) / bins, k / bins].

    A confidence of 0 is in the first bin.
    """
    sure = np.asarray(confidence, dtype=np.float64)
    # A NaN fails the comparison too.
    if sure.ndim != 1 or sure.size == 0 or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError(
            "`confidence` must be a non-empty list of numbers from 0 to 1. "
            f"Received: confidence={confidence!r}"
        )
    right = np.asarray(correct)
    if (
        right.shape != sure.shape
        or right.dtype.kind not in "biuf"
        or not np.isin(right, (0, 1)).all()
    ):
        raise ValueError(
            f"`correct` must hold {sure.size} booleans, one for each confidence. "
            f"Received: correct={correct!r}"
        )
    check_positive_integer("bins", bins)
    place = np.digitize(sure, np.arange(1, bins) / bins, right=True)
    number = np.bincount(place, minlength=bins)
    means = [
        np.divide(
            np.bincount(place, values, minlength=bins),
            number,
            out=np.full(bins, np.nan),
            where=number > 0,
        )
        for values in (sure, right.astype(np.float64))
    ]
    return Bins(number, *means)
