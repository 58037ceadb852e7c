"""The paired comparison of two groups of trainings, seed by seed."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from keras_residual.analysis._intervals import (
    bootstrap_interval,
    check_share,
    finite_vector,
    mean_interval,
)

Alternative = Literal["two-sided", "greater", "less"]

# 2**20 sign patterns take about three seconds; beyond that the patterns are sampled.
LARGEST_EXACT = 20
_SAMPLED_PATTERNS = 99_999


@dataclass(frozen=True)
class PairedComparison:
    """What `compare_paired` found; every difference is treatment minus control.

    Undetermined numbers are NaN: the intervals and the t-test with one seed, and
    `t_p_value` and `effect_size` if all differences are equal but not zero (both divide
    by their spread).

    Args:
        n: Number of seeds.
        mean_treatment: Mean of the treatment.
        mean_control: Mean of the control.
        mean_difference: Mean of the differences by seed.
        interval: Student t interval of the mean difference.
        bootstrap_interval: BCa bootstrap interval of the mean difference.
        t_p_value: Two-sided p-value of the paired t-test. It is 1 if all
            differences are zero.
        sign_flip_p_value: Two-sided p-value of the sign-flip test.
        smallest_p_value: The smallest p-value that the exact two-sided sign-flip
            test can give with `n` seeds, 2 / 2**n.
        effect_size: Cohen's d_z, the mean difference in units of the standard
            deviation of the differences. It is 0 if all differences are zero.
        level: Significance level.
        confidence: Confidence of both intervals.

    Example:
        ```python
        from keras_residual.analysis.statistics import compare_paired

        comparison = compare_paired([0.81, 0.82, 0.80], [0.76, 0.75, 0.77])
        print(comparison.smallest_p_value)  # 0.25: three seeds cannot reach 0.05
        print(comparison.enough_seeds)  # False
        ```
    """

    n: int
    mean_treatment: float
    mean_control: float
    mean_difference: float
    interval: tuple[float, float]
    bootstrap_interval: tuple[float, float]
    t_p_value: float
    sign_flip_p_value: float
    smallest_p_value: float
    effect_size: float
    level: float
    confidence: float

    @property
    def enough_seeds(self) -> bool:
        """Whether the exact test can reach the level with this number of seeds."""
        return self.smallest_p_value <= self.level


def compare_paired(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    level: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compares two networks that were trained with the same seeds.

    Args:
        treatment: One number per seed.
        control: The control's numbers, for the same seeds in the same order.
        level: Significance level, between 0 and 1.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: Seed of the bootstrap.

    Returns:
        A [`PairedComparison`][keras_residual.analysis.statistics.PairedComparison].

    Raises:
        ValueError: If the lengths differ, a value is missing or not finite, or an
            argument is outside its range.

    Example:
        ```python
        from keras_residual.analysis.statistics import compare_paired

        comparison = compare_paired(
            treatment=[0.81, 0.82, 0.80, 0.84, 0.79, 0.83],
            control=[0.76, 0.79, 0.77, 0.78, 0.77, 0.76],
        )
        print(comparison.sign_flip_p_value)  # 0.03125
        ```
    """
    first = finite_vector("treatment", treatment)
    second = finite_vector("control", control)
    check_share("level", level)
    if first.size != second.size:
        raise ValueError(
            "`treatment` and `control` must hold one value for each of the same "
            f"seeds. Received: {first.size} and {second.size} values"
        )
    differences = _without_rounding(
        first - second, max(abs(first).max(), abs(second).max())
    )
    n = differences.size
    mean, low, high = mean_interval(differences, confidence)
    t_p_value, effect_size = math.nan, math.nan
    if n > 1 and not differences.any():
        t_p_value, effect_size = 1.0, 0.0
    elif n > 1 and np.ptp(differences) > 0:
        t_p_value = float(stats.ttest_1samp(differences, 0.0).pvalue)
        effect_size = float(mean / differences.std(ddof=1))
    return PairedComparison(
        n=n,
        mean_treatment=float(first.mean()),
        mean_control=float(second.mean()),
        mean_difference=mean,
        interval=(low, high),
        bootstrap_interval=bootstrap_interval(
            differences, confidence=confidence, seed=seed
        ),
        t_p_value=t_p_value,
        sign_flip_p_value=sign_flip_test(differences),
        smallest_p_value=2.0 / 2.0**n,
        effect_size=effect_size,
        level=level,
        confidence=confidence,
    )


def sign_flip_test(
    differences: ArrayLike, alternative: Alternative = "two-sided"
) -> float:
    """Runs the sign-flip (paired permutation) test of a zero mean difference.

    If the treatment has no effect, each difference is equally likely to have the other
    sign. The p-value is the share of all sign patterns whose mean is at least as
    extreme as the observed one. It is exact up to 20 differences; above, it comes from
    99,999 sampled patterns with a fixed seed. No normal distribution is assumed.

    Args:
        differences: Treatment minus control, one per seed.
        alternative: "two-sided", "greater" (treatment larger) or "less".

    Returns:
        The p-value. The exact two-sided one is never below 2 / 2**n.

    Raises:
        ValueError: If `differences` is empty, not one-dimensional or not finite, or
            `alternative` is unknown.

    Example:
        ```python
        from keras_residual.analysis.statistics import sign_flip_test

        print(sign_flip_test([0.03, 0.05, 0.04, 0.06, 0.02, 0.05]))  # 0.03125 = 2/64
        ```

    Reference:
        Fisher, "The Design of Experiments", 1935, section 21.
    """
    array = finite_vector("differences", differences)
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(
            '`alternative` must be "two-sided", "greater" or "less". '
            f"Received: alternative={alternative!r}"
        )
    if array.size == 1:  # SciPy rejects a single pair.
        if alternative == "two-sided":
            return 1.0
        in_favour = array[0] > 0 if alternative == "greater" else array[0] < 0
        return 0.5 if in_favour else 1.0

    observed = array.sum()
    # Accuracies are multiples of 1 / n_images, so many patterns tie exactly with the
    # observed one. Rounding must not decide on which side they fall.
    tolerance = 1e-9 * np.abs(array).sum()

    def total(sample: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        sums = sample.sum(axis=axis)
        return np.where(np.abs(sums - observed) <= tolerance, observed, sums)

    exact = array.size <= LARGEST_EXACT
    result = stats.permutation_test(
        (array,),
        total,
        permutation_type="samples",
        vectorized=True,
        n_resamples=2**array.size if exact else _SAMPLED_PATTERNS,
        batch=10_000,
        alternative=alternative,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def _without_rounding(
    differences: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Makes differences equal when only the rounding of the subtraction differs.

    Otherwise 0.85 - 0.80 and 0.80 - 0.75 would differ by 1e-16, and the t-test would
    report overwhelming evidence.
    """
    noise = 64 * np.finfo(np.float64).eps * scale
    if differences.std() > noise:
        return differences
    mean = differences.mean()
    return np.full_like(differences, mean if abs(mean) > noise else 0.0)
