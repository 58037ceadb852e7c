"""Verdicts on the hypotheses of an experiment, in words."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from keras_residual.analysis._intervals import finite_vector
from keras_residual.analysis._paired import LARGEST_EXACT, PairedComparison

Verdict = Literal["supported", "contradicted", "undecided", "not enough seeds"]


def holm(p_values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Applies Holm's correction for several tests on the same experiment.

    Args:
        p_values: One p-value per hypothesis, in any order.

    Returns:
        Adjusted p-values in the same order. If each is compared with the level, the
        probability of any false finding is at most the level.

    Raises:
        ValueError: If a value is missing or outside 0 to 1.

    Example:
        ```python
        from keras_residual.analysis.statistics import holm

        print(holm([0.01, 0.04, 0.03]))  # [0.03 0.06 0.06]
        ```

    Reference:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
        Journal of Statistics 6 (1979), 65-70.
    """
    array = finite_vector("p_values", p_values)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"`p_values` must lie between 0 and 1. Received: p_values={p_values!r}"
        )
    order = np.argsort(array, kind="stable")
    factors = np.arange(array.size, 0, -1)
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * array[order]), 1.0)
    return adjusted


def verdict(
    comparison: PairedComparison,
    p_value: float | None = None,
    *,
    smallest_p_value: float | None = None,
) -> Verdict:
    """Decides on the claim "the treatment is larger than the control".

    Args:
        comparison: Result of `compare_paired`.
        p_value: The sign-flip p-value after `holm`, if several hypotheses are tested on
            the same experiment. None: that of the comparison.
        smallest_p_value: The smallest possible `p_value`: `holm` of the smallest
            p-values of all hypotheses. None: that of the comparison.

    Returns:
        "supported" (significant, treatment larger), "contradicted" (significant,
        treatment smaller), "undecided" (not significant) or "not enough seeds" (with so
        few the p-value cannot be significant, whatever the data).

    Raises:
        ValueError: If `p_value` or `smallest_p_value` is not between 0 and 1.

    Example:
        ```python
        from keras_residual.analysis.statistics import compare_paired, verdict

        comparison = compare_paired([0.81, 0.82, 0.80], [0.76, 0.75, 0.77])
        print(verdict(comparison))  # not enough seeds
        ```
    """
    p = comparison.sign_flip_p_value if p_value is None else p_value
    smallest = _smallest(comparison, smallest_p_value)
    for name, value in (("p_value", p), ("smallest_p_value", smallest)):
        if not 0 <= value <= 1:
            raise ValueError(
                f"`{name}` must lie between 0 and 1. Received: {name}={value!r}"
            )
    if smallest > comparison.level:
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
    smallest_p_value: float | None = None,
) -> str:
    """Puts a comparison and its verdict into words.

    Args:
        comparison: Result of `compare_paired`.
        verdict: Result of `verdict`.
        claim: The hypothesis as a clause, such as "Residual beats plain in accuracy".
        unit: Unit of the numbers, such as "epochs".
        p_value: The corrected p-value that the verdict used, or None.
        smallest_p_value: The smallest possible `p_value`, or None.

    Returns:
        A sentence with claim, verdict, number of seeds, both means, their difference
        with its t interval, p-value and effect size.

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
    smallest = _smallest(c, smallest_p_value)
    if smallest > c.level:
        count = "1 seed" if c.n == 1 else f"{c.n} seeds"
        corrected = " after the correction" if smallest > c.smallest_p_value else ""
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
    kind = "exact" if c.n <= LARGEST_EXACT else "sampled"
    return (
        f"{claim}: {verdict}. n = {c.n} seed{'' if c.n == 1 else 's'}, "
        f"{c.mean_treatment:{number}} against {c.mean_control:{number}}{suffix}, "
        f"difference {c.mean_difference:+{number}}{suffix} ({interval}), "
        f"{kind} sign-flip {_p(c.sign_flip_p_value, c.level)}"
        f"{' (' + '; '.join(notes) + ')' if notes else ''}, {effect}."
    )


def _smallest(comparison: PairedComparison, given: float | None) -> float:
    return min(1.0, comparison.smallest_p_value) if given is None else given


def _number_format(difference: float, half_width: float, mean: float) -> str:
    """A format with two digits for the difference, and as many decimals for means."""
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
