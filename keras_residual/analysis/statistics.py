"""Paired comparison of two nets over seeds: tests, intervals and a verdict.

A seed is the unit of evidence: it fixes data, split, order and initial weights, so
the two nets are compared seed by seed. Everything is computed by SciPy; this module
adds what SciPy leaves open, namely what to say when the seeds are too few or when
all differences are equal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from keras_residual.analysis._calibration import (
    expected_calibration_error as expected_calibration_error,
)

__all__ = [
    "PairedComparison",
    "compare_paired",
    "verdict",
    "describe",
    "holm",
    "mean_interval",
    "bootstrap_interval",
    "sign_flip_test",
    "expected_calibration_error",
]

Alternative = Literal["two-sided", "greater", "less"]
Verdict = Literal["supported", "contradicted", "undecided", "not enough seeds"]

# 2**20 sign patterns take about three seconds; beyond that the patterns are sampled.
_LARGEST_EXACT = 20
_SAMPLED_PATTERNS = 99_999


@dataclass(frozen=True)
class PairedComparison:
    """What `compare_paired` found; every difference is treatment minus control.

    Numbers that the data cannot give are NaN: intervals and t-test with one seed,
    and `t_p_value` and `effect_size` where all differences are equal but not zero
    (their spread is zero, so both would be a division by zero).

    Args:
        n: Number of seeds.
        mean_treatment: Mean of the treatment.
        mean_control: Mean of the control.
        mean_difference: Mean of the differences by seed.
        interval: Student t interval of the mean difference.
        bootstrap_interval: BCa bootstrap interval of the mean difference.
        t_p_value: Two-sided p-value of the paired t-test. It is 1 where every
            difference is zero.
        sign_flip_p_value: Two-sided p-value of the sign-flip test.
        smallest_p_value: The smallest p-value that the exact two-sided sign-flip
            test can give with `n` seeds, 2 / 2**n.
        effect_size: Cohen's d_z, the mean difference in units of the standard
            deviation of the differences. It is 0 where every difference is zero.
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
        """Whether the exact test could reach the level at all."""
        return self.smallest_p_value <= self.level


def mean_interval(
    values: ArrayLike, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean and its Student t interval.

    Args:
        values: One number per seed.
        confidence: Coverage of the interval, between 0 and 1.

    Returns:
        Mean, lower and upper end. With one value both ends are NaN: one value says
        nothing about the spread.

    Raises:
        ValueError: If `values` is empty, not one-dimensional or not finite.

    Example:
        ```python
        from keras_residual.analysis.statistics import mean_interval

        mean, low, high = mean_interval([0.79, 0.81, 0.83])
        ```
    """
    array = _finite_vector("values", values)
    _check_share("confidence", confidence)
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
    """BCa bootstrap interval of the mean.

    With few seeds it is too narrow; it is there to check the t interval where the
    values are skewed, not to replace it.

    Args:
        values: One number per seed.
        confidence: Coverage of the interval, between 0 and 1.
        resamples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end; NaN with one value, the value itself where all are equal.

    Raises:
        ValueError: If `values` is empty, not one-dimensional or not finite.

    Example:
        ```python
        from keras_residual.analysis.statistics import bootstrap_interval

        low, high = bootstrap_interval([0.79, 0.81, 0.80, 0.84], seed=1)
        ```
    """
    array = _finite_vector("values", values)
    _check_share("confidence", confidence)
    if array.size == 1:
        return math.nan, math.nan
    if np.ptp(array) == 0:
        return float(array[0]), float(array[0])
    # SciPy cubes the deviations. A power of two takes nothing from the digits.
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


def sign_flip_test(
    differences: ArrayLike, alternative: Alternative = "two-sided"
) -> float:
    """Sign-flip (paired permutation) test of a zero mean difference.

    If treatment and control do the same, each difference could as well have the other
    sign. The p-value is the share of all sign patterns whose mean is at least as
    extreme as the one seen: exact up to 20 differences, from 99,999 sampled patterns
    (with a fixed seed) above. No normal distribution is assumed.

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
        Fisher, The Design of Experiments (1935), section 21.
    """
    array = _finite_vector("differences", differences)
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
    # Accuracies are multiples of 1 / n_images, so many patterns tie with the observed
    # one exactly; rounding must not decide on which side of it they fall.
    tolerance = 1e-9 * np.abs(array).sum()

    def total(sample: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        sums = sample.sum(axis=axis)
        return np.where(np.abs(sums - observed) <= tolerance, observed, sums)

    exact = array.size <= _LARGEST_EXACT
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


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Holm's correction for several tests on the same experiment.

    Args:
        p_values: One p-value per hypothesis, in any order.

    Returns:
        Adjusted p-values in the same order; comparing each with the level keeps the
        chance of even one false finding below the level.

    Raises:
        ValueError: If a value is missing or outside 0 to 1.

    Example:
        ```python
        from keras_residual.analysis.statistics import holm

        print(holm([0.01, 0.04, 0.03]))  # [0.03 0.06 0.06]
        ```

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 6 (1979), 65-70.
    """
    array = _finite_vector("p_values", p_values)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"`p_values` must lie between 0 and 1. Received: p_values={p_values!r}"
        )
    order = np.argsort(array, kind="stable")
    factors = np.arange(array.size, 0, -1)
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * array[order]), 1.0)
    return adjusted


def compare_paired(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    level: float = 0.05,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedComparison:
    """Compare two nets that were trained on the same seeds.

    Args:
        treatment: One number per seed.
        control: The control's numbers, for the same seeds in the same order.
        level: Significance level, between 0 and 1.
        confidence: Coverage of the intervals, between 0 and 1.
        seed: Seed of the bootstrap.

    Returns:
        Means, intervals, p-values and effect size.

    Raises:
        ValueError: If the lengths differ, or a value is missing or not finite.

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
    first = _finite_vector("treatment", treatment)
    second = _finite_vector("control", control)
    _check_share("level", level)
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


def verdict(
    comparison: PairedComparison,
    p_value: float | None = None,
    *,
    num_hypotheses: int = 1,
) -> Verdict:
    """Say what the data say about "the treatment is larger than the control".

    Args:
        comparison: Result of `compare_paired`.
        p_value: The sign-flip p-value after `holm`, where several hypotheses are
            tested on the same experiment. Default: the comparison's own.
        num_hypotheses: How many hypotheses `holm` corrected together.

    Returns:
        "supported" (significant, treatment larger), "contradicted" (significant,
        treatment smaller), "undecided" (not significant) or "not enough seeds": with
        that few seeds the smallest of that many corrected p-values cannot be
        significant, whatever the data.

    Raises:
        ValueError: If `p_value` is not between 0 and 1, or `num_hypotheses` is less
            than 1.

    Example:
        ```python
        from keras_residual.analysis.statistics import compare_paired, verdict

        comparison = compare_paired([0.81, 0.82, 0.80], [0.76, 0.75, 0.77])
        print(verdict(comparison))  # not enough seeds
        ```
    """
    p = comparison.sign_flip_p_value if p_value is None else p_value
    if not 0 <= p <= 1:
        raise ValueError(
            f"`p_value` must lie between 0 and 1. Received: p_value={p_value!r}"
        )
    if num_hypotheses < 1:
        raise ValueError(
            "`num_hypotheses` must be a positive integer. "
            f"Received: num_hypotheses={num_hypotheses!r}"
        )
    if comparison.smallest_p_value * num_hypotheses > comparison.level:
        return "not enough seeds"
    if p <= comparison.level:
        return "supported" if comparison.mean_difference > 0 else "contradicted"
    return "undecided"


def describe(
    comparison: PairedComparison,
    verdict: Verdict,
    claim: str,
    unit: str = "",
    *,
    p_value: float | None = None,
    num_hypotheses: int = 1,
) -> str:
    """Put a comparison and its verdict into words.

    Args:
        comparison: Result of `compare_paired`.
        verdict: Result of `verdict`.
        claim: The hypothesis as a clause, such as "Residual beats plain in accuracy".
        unit: Unit of the numbers, such as "epochs".
        p_value: The corrected p-value that the verdict used, if any.
        num_hypotheses: How many hypotheses were corrected together.

    Returns:
        Claim, verdict, number of seeds, both means, their difference with its t
        interval, p-value and effect size.

    Example:
        ```python
        from keras_residual.analysis.statistics import compare_paired
        from keras_residual.analysis.statistics import describe, verdict

        comparison = compare_paired([0.81, 0.82, 0.80], [0.76, 0.75, 0.77])
        print(describe(comparison, verdict(comparison), "Residual beats plain"))
        ```
    """
    c = comparison
    low, high = c.interval
    number = _number_format(c.mean_difference, (high - low) / 2, c.mean_treatment)
    suffix = f" {unit}" if unit else ""
    if c.n == 1:
        interval = "no interval from one seed"
    else:
        interval = (
            f"{100 * c.confidence:g} % interval {low:{number}} to {high:{number}}"
        )
    notes = []
    if p_value is not None:
        notes.append(f"corrected for several tests {_p(p_value, c.level)}")
    smallest = min(1.0, c.smallest_p_value * num_hypotheses)
    if smallest > c.level:
        count = "1 seed" if c.n == 1 else f"{c.n} seeds"
        corrected = " after the correction" if num_hypotheses > 1 else ""
        notes.append(
            f"with {count} it cannot fall below {smallest:.4g}{corrected}, so it "
            f"cannot reach {c.level:g}"
        )
    if not math.isnan(c.effect_size):
        effect = f"Cohen d_z = {c.effect_size:z.1f}"
    elif c.n == 1:
        effect = "no effect size from one seed"
    else:
        effect = "Cohen d_z is not defined because all differences are equal"
    kind = "exact" if c.n <= _LARGEST_EXACT else "sampled"
    return (
        f"{claim}: {verdict}. n = {c.n} seed{'' if c.n == 1 else 's'}, "
        f"{c.mean_treatment:{number}} against {c.mean_control:{number}}{suffix}, "
        f"difference {c.mean_difference:+{number}}{suffix} ({interval}), "
        f"{kind} sign-flip {_p(c.sign_flip_p_value, c.level)}"
        f"{' (' + '; '.join(notes) + ')' if notes else ''}, {effect}."
    )


def _finite_vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be a non-empty list of finite numbers. "
            f"Received: {name}={values!r}"
        )
    return array


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(
            f"`{name}` must lie between 0 and 1, both excluded. "
            f"Received: {name}={value!r}"
        )


def _without_rounding(
    differences: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Make differences equal whose spread is only the rounding of a subtraction.

    Otherwise 0.85 - 0.80 and 0.80 - 0.75 would differ by 1e-16, and the t-test would
    report overwhelming evidence.
    """
    noise = 64 * np.finfo(np.float64).eps * scale
    if differences.std() > noise:
        return differences
    mean = differences.mean()
    return np.full_like(differences, mean if abs(mean) > noise else 0.0)


def _number_format(difference: float, half_width: float, mean: float) -> str:
    """Give the difference two digits, and the means as many decimals."""
    scale = max(abs(difference), 0.0 if math.isnan(half_width) else half_width / 10)
    if scale == 0:
        return "z.3f" if mean == 0 or 1e-3 <= abs(mean) < 1e6 else "z.2e"
    decimals = 1 - math.floor(math.log10(scale))
    return f"z.{max(decimals, 0)}f" if decimals <= 6 and scale < 1e6 else "z.2e"


def _p(p_value: float, level: float) -> str:
    if p_value < 0.001:
        return "p < 0.001"
    # Three decimals, unless they would round the p-value onto the level.
    return f"p = {p_value:.{3 if abs(p_value - level) >= 0.0005 else 4}f}"
