"""Intervals of a mean over seeds."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


def mean_interval(
    values: ArrayLike, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Returns the mean and its Student t interval.

    Args:
        values: One number per seed.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        Mean, lower and upper end. With one value both ends are NaN: one value does not
        show the spread.

    Raises:
        ValueError: If `values` is empty, not one-dimensional or not finite, or
            `confidence` is outside its range.

    Example:
        ```python
        from keras_residual.analysis.statistics import mean_interval

        mean, low, high = mean_interval([0.79, 0.81, 0.83])
        ```
    """
    array = finite_vector("values", values)
    check_share("confidence", confidence)
    mean = float(array.mean())
    if array.size == 1:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + confidence) / 2, array.size - 1) * stats.sem(array)
    return mean, float(mean - half), float(mean + half)


def bootstrap_interval(
    values: ArrayLike,
    *,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the BCa bootstrap interval of the mean.

    It is too narrow for few seeds. Use it to check the t interval of skewed values, not
    to replace it.

    Args:
        values: One number per seed.
        confidence: Coverage of the interval, between 0 and 1.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end; NaN with one value, the value itself if all are equal.

    Raises:
        ValueError: If `values` is empty, not one-dimensional or not finite, or
            `confidence` is outside its range.

    Example:
        ```python
        from keras_residual.analysis.statistics import bootstrap_interval

        low, high = bootstrap_interval([0.79, 0.81, 0.80, 0.84], seed=1)
        ```

    Reference:
        Efron, "Better Bootstrap Confidence Intervals", Journal of the American
        Statistical Association 82 (1987), 171-185.
    """
    array = finite_vector("values", values)
    check_share("confidence", confidence)
    if array.size == 1:
        return math.nan, math.nan
    if np.ptp(array) == 0:
        return float(array[0]), float(array[0])
    # SciPy cubes the deviations. Division by a power of two is exact.
    scale = 2.0 ** (math.frexp(np.abs(array).max())[1] - 1)
    result = stats.bootstrap(
        (array / scale,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return float(low * scale), float(high * scale)


def finite_vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be a non-empty list of finite numbers. "
            f"Received: {name}={values!r}"
        )
    return array


def check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(
            f"`{name}` must lie between 0 and 1, both excluded. "
            f"Received: {name}={value!r}"
        )
