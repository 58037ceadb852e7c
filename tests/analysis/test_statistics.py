"""Statistics against hand-computed cases, brute force and published numbers."""

import inspect
import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from code_blocks import python_blocks, run_blocks
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_residual.analysis.statistics import (
    PairedComparison,
    bootstrap_interval,
    compare_paired,
    describe,
    holm,
    mean_interval,
    sign_flip_test,
    verdict,
)

pytestmark = pytest.mark.once

# Darwin's maize, cross- minus self-fertilised, in eighths of an inch. Fisher (The
# Design of Experiments, 1935, sections 17 and 21) counts 863 of the 2**15 sign
# patterns with a sum of at least 314, and finds t = 2.148.
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
few_steps = st.lists(st.integers(-4, 4), min_size=1, max_size=8)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=7)


def brute_force(differences, alternative):
    """The definition of the test, in exact arithmetic."""
    exact = [Fraction(value) for value in differences]
    observed = sum(exact)
    totals = [
        sum(sign * abs(value) for sign, value in zip(signs, exact, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(exact))
    ]
    extreme = {
        "two-sided": lambda total: abs(total) >= abs(observed),
        "greater": lambda total: total >= observed,
        "less": lambda total: total <= observed,
    }[alternative]
    return sum(map(extreme, totals)) / len(totals)


def test_mean_interval_by_hand():
    # s^2 = 2.5, standard error sqrt(0.5), t(0.975; 4 degrees) = 2.776445 (tables).
    mean, low, high = mean_interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert high - mean == pytest.approx(2.776445 * math.sqrt(0.5), rel=1e-6)
    assert mean - low == pytest.approx(high - mean)


@given(numbers, numbers, st.floats(0.5, 0.999))
def test_mean_interval_of_two_values_has_a_closed_form(first, second, confidence):
    # With one degree of freedom Student's t is Cauchy: its quantile is a tangent.
    mean, low, high = mean_interval([first, second], confidence)
    half = abs(first - second) / 2 * math.tan(math.pi * confidence / 2)
    assert mean == pytest.approx((first + second) / 2)
    assert (high - low) / 2 == pytest.approx(half, rel=1e-6, abs=1e-9)


@pytest.mark.slow
def test_mean_interval_covers_as_often_as_it_says():
    samples = np.random.default_rng(3).normal(10, 2, size=(4000, 5))
    covered = np.mean(
        [low <= 10 <= high for _, low, high in map(mean_interval, samples)]
    )
    # Four standard errors of a share of 0.95 in 4,000 samples.
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 4000))


def test_one_value_has_a_mean_but_no_interval():
    mean, low, high = mean_interval([0.8])
    assert mean == 0.8
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(map(math.isnan, bootstrap_interval([0.8])))


def test_bootstrap_of_a_large_sample_is_the_normal_interval():
    values = np.random.default_rng(0).normal(5, 1, 400)
    low, high = bootstrap_interval(values)
    half = 1.959964 * values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_is_bca():
    # Efron's formulas (1987) over all 5**5 resamples of five values, without chance.
    values = np.array([1, 1, 2, 4, 20.0])
    means = np.array([np.mean(r) for r in itertools.product(values, repeat=5)])
    normal = NormalDist()
    below = (means < values.mean()).mean() + (means == values.mean()).mean() / 2
    bias = normal.inv_cdf(below)
    influence = values - values.mean()
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)

    def end(z):
        shifted = bias + (bias + z) / (1 - acceleration * (bias + z))
        return np.quantile(means, normal.cdf(shifted))

    expected = end(-1.959964), end(1.959964)
    assert bootstrap_interval(values) == pytest.approx(expected, abs=0.6)
    # The plain percentile interval is another one.
    assert np.quantile(means, 0.975) < expected[1] - 1


def test_bootstrap_depends_on_its_seed_alone():
    np.random.seed(1)
    first = bootstrap_interval(MAIZE, seed=5)
    np.random.seed(2)
    assert bootstrap_interval(MAIZE, seed=5) == first
    assert bootstrap_interval(MAIZE, seed=6) != first


@pytest.mark.parametrize("power", [-450, 450])
def test_bootstrap_has_the_scale_of_its_values(power):
    # The cubes of such numbers are no floats.
    low, high = bootstrap_interval(np.array(MAIZE) * 2.0**power)
    assert (low / 2.0**power, high / 2.0**power) == bootstrap_interval(MAIZE)


def test_bootstrap_of_equal_values_is_the_value():
    assert bootstrap_interval([0.3] * 5) == (0.3, 0.3)


@given(few_steps, st.sampled_from(["two-sided", "greater", "less"]))
def test_sign_flip_equals_brute_force(steps, alternative):
    # Multiples of 1/400 are not exact in binary, as accuracies are not: sums that tie
    # in truth differ by rounding, and must still count as ties.
    p_value = sign_flip_test([step / 400 for step in steps], alternative)
    assert p_value == pytest.approx(brute_force(steps, alternative), abs=1e-12)


def test_sign_flip_gives_fishers_number():
    assert sign_flip_test(MAIZE, "greater") == pytest.approx(863 / 2**15, abs=1e-12)
    assert sign_flip_test(MAIZE) == pytest.approx(2 * 863 / 2**15, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 11))
def test_sign_flip_of_agreeing_seeds_is_two_in_all_patterns(n):
    assert sign_flip_test(np.arange(1, n + 1)) == pytest.approx(2 / 2**n)


def test_sign_flip_of_many_seeds_is_sampled_and_repeatable():
    differences = np.tile(MAIZE, 2)
    p_value = sign_flip_test(differences)
    assert sign_flip_test(differences) == p_value
    # Normal limit of the sum: P(|Z| >= sum / sqrt(sum of squares)).
    z = differences.sum() / math.sqrt((differences**2).sum())
    assert p_value == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.004)


def test_holm_by_hand():
    # Sorted 0.005 0.01 0.03 0.04 times 4 3 2 1 = 0.02 0.03 0.06 0.04 -> 0.06.
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_never_helps(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(np.multiply(len(p_values), p_values), 1)).all()
    in_order = adjusted[np.argsort(p_values, kind="stable")]
    assert (np.diff(in_order) >= 0).all()


def test_compare_paired_gives_fishers_t_test():
    comparison = compare_paired(np.add(MAIZE, 100), np.full(15, 100))
    assert comparison.n == 15
    assert comparison.mean_control == 100
    assert comparison.mean_difference == pytest.approx(314 / 15)
    assert comparison.mean_treatment == pytest.approx(100 + 314 / 15)
    assert comparison.t_p_value == pytest.approx(0.0497, abs=5e-5)
    assert comparison.effect_size == pytest.approx(2.148 / math.sqrt(15), abs=2e-4)
    # Standard error from t; t(0.975; 14 degrees) = 2.144787 (tables).
    half = 2.144787 * (314 / 15) / 2.148
    assert comparison.interval[0] == pytest.approx(314 / 15 - half, abs=0.01)
    assert comparison.interval[1] == pytest.approx(314 / 15 + half, abs=0.01)
    assert comparison.sign_flip_p_value == pytest.approx(2 * 863 / 2**15)
    assert comparison.smallest_p_value == 2 / 2**15


@given(pairs)
def test_swapping_the_nets_swaps_the_sign_and_nothing_else(rows):
    treatment, control = map(list, zip(*rows, strict=True))
    one, other = compare_paired(treatment, control), compare_paired(control, treatment)
    close = {"rel": 1e-9, "abs": 1e-12, "nan_ok": True}
    assert one.mean_difference == pytest.approx(-other.mean_difference, **close)
    assert one.interval == pytest.approx([-x for x in other.interval[::-1]], **close)
    assert one.effect_size == pytest.approx(-other.effect_size, **close)
    assert one.t_p_value == pytest.approx(other.t_p_value, **close)
    assert one.sign_flip_p_value == other.sign_flip_p_value
    assert (one.mean_treatment, one.mean_control) == (
        other.mean_control,
        other.mean_treatment,
    )


@pytest.mark.slow
@given(pairs, st.permutations(range(7)))
def test_the_order_of_the_seeds_does_not_matter(rows, order):
    assume(len(rows) > 1)
    shuffled = [rows[i] for i in order if i < len(rows)]
    one = compare_paired(*zip(*rows, strict=True))
    other = compare_paired(*zip(*shuffled, strict=True))
    assert one.sign_flip_p_value == pytest.approx(other.sign_flip_p_value)
    assert one.interval == pytest.approx(other.interval, rel=1e-9, abs=1e-9)


@given(pairs)
def test_every_sentence_is_readable(rows):
    comparison = compare_paired(*zip(*rows, strict=True))
    sentence = describe(comparison, verdict(comparison), "Claim", "units")
    assert "nan" not in sentence
    assert "inf" not in sentence
    assert "-0 " not in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(("n", "enough"), [(1, 0), (3, 0), (5, 0), (6, 1), (10, 1)])
def test_enough_seeds_at_five_percent(n, enough):
    comparison = compare_paired(np.arange(1, n + 1), np.zeros(n))
    assert comparison.smallest_p_value == 2 / 2**n
    assert comparison.enough_seeds == enough
    assert verdict(comparison) == ("supported" if enough else "not enough seeds")


def test_level_decides_how_many_seeds_are_enough():
    strict = compare_paired(np.arange(1, 8), np.zeros(7), level=0.01)
    assert verdict(strict) == "not enough seeds"
    loose = compare_paired([1, 2, 3], [0, 0, 0], level=0.25)
    assert verdict(loose) == "supported"


def test_no_difference_at_all():
    comparison = compare_paired([0.8] * 8, [0.8] * 8)
    assert comparison.interval == (0, 0)
    assert comparison.t_p_value == 1
    assert comparison.sign_flip_p_value == 1
    assert comparison.effect_size == 0
    assert verdict(comparison) == "undecided"


def test_equal_differences_leave_t_and_effect_size_undefined():
    # Each difference is 0.05 in truth, and another float after subtraction.
    treatment = [0.85, 0.80, 0.90, 0.75, 0.95, 0.30]
    control = [0.80, 0.75, 0.85, 0.70, 0.90, 0.25]
    assert len(set(np.subtract(treatment, control))) > 1
    comparison = compare_paired(treatment, control)
    assert comparison.interval == pytest.approx((0.05, 0.05))
    assert comparison.bootstrap_interval == pytest.approx((0.05, 0.05))
    assert math.isnan(comparison.t_p_value)
    assert math.isnan(comparison.effect_size)
    assert comparison.sign_flip_p_value == 2 / 2**6
    assert verdict(comparison) == "supported"
    assert "not defined because all differences are equal" in describe(
        comparison, "supported", "Claim"
    )


def test_rounding_alone_is_no_difference():
    comparison = compare_paired([0.1 + 0.2] * 6, [0.3] * 6)
    assert comparison.mean_difference == 0
    assert verdict(comparison) == "undecided"


def test_verdict_has_a_direction():
    assert verdict(compare_paired([2, 3, 4, 5, 6, 7], [0] * 6)) == "supported"
    assert verdict(compare_paired([0] * 6, [2, 3, 4, 5, 6, 7])) == "contradicted"
    assert verdict(compare_paired([1, -1, 2, -2, 1, -1], [0] * 6)) == "undecided"


def test_verdict_after_a_correction():
    eight = compare_paired(np.arange(1, 9), np.zeros(8))  # p = 2/256
    assert verdict(eight, p_value=0.04) == "supported"
    ten = compare_paired([*range(1, 10), -1], np.zeros(10))
    assert verdict(ten) == "supported"
    assert verdict(ten, p_value=0.06) == "undecided"
    # All six agree, so only the correction stands in the way.
    six = compare_paired(np.arange(1, 7), np.zeros(6))
    assert (
        verdict(six, p_value=4 / 2**6, smallest_p_value=4 / 2**6) == "not enough seeds"
    )
    # Not the data but the number of seeds decides whether they are enough.
    mixed = compare_paired([2, 3, 4, 5, 6, -1], [0] * 6)
    assert mixed.sign_flip_p_value > mixed.smallest_p_value
    adjusted = 3 * mixed.sign_flip_p_value
    assert verdict(mixed, adjusted, smallest_p_value=6 / 2**6) == "not enough seeds"
    seven = compare_paired([2, 3, 4, 5, 6, 7, -1], [0] * 7)
    adjusted = 3 * seven.sign_flip_p_value
    assert verdict(seven, adjusted, smallest_p_value=6 / 2**7) == "undecided"
    sentence = describe(mixed, "not enough seeds", "Claim", smallest_p_value=6 / 2**6)
    assert "with 6 seeds it cannot fall below 0.09375 after the correction" in sentence
    with pytest.raises(ValueError, match="`smallest_p_value` must lie between 0 and 1"):
        verdict(six, smallest_p_value=1.5)


def test_description_for_a_student():
    treatment = np.array([0.80, 0.82, 0.79, 0.83, 0.81, 0.84])
    control = treatment - [0.04, 0.05, 0.06, 0.04, 0.05, 0.06]
    comparison = compare_paired(treatment, control)
    sentence = describe(
        comparison, verdict(comparison), "Residual beats plain in accuracy"
    )
    # s = sqrt(8e-5), half width 2.570582 * s / sqrt(6) = 0.0094, d_z = 0.05 / s.
    assert sentence == (
        "Residual beats plain in accuracy: supported. n = 6 seeds, 0.815 against "
        "0.765, difference +0.050 (95 % interval 0.041 to 0.059), exact sign-flip "
        "p = 0.031, Cohen d_z = 5.6."
    )


def test_description_says_why_three_seeds_are_too_few():
    comparison = compare_paired([12, 14, 13], [9, 10, 12], confidence=0.9)
    sentence = describe(comparison, verdict(comparison), "Slower", "epochs")
    assert sentence.startswith("Slower: not enough seeds. n = 3 seeds, 13.0 against ")
    assert "difference +2.7 epochs (90 % interval " in sentence
    assert "with 3 seeds it cannot fall below 0.25, so it cannot reach 0.05" in sentence


def test_description_of_one_seed():
    comparison = compare_paired([0.8], [0.7])
    sentence = describe(comparison, verdict(comparison), "Claim")
    assert "n = 1 seed, 0.80 against 0.70, difference +0.10 (no interval" in sentence
    assert sentence.endswith("no effect size from one seed.")


def test_description_of_tiny_numbers_and_corrected_p_values():
    comparison = compare_paired([4e-9, 5e-9, 6e-9], [1e-9, 1e-9, 2e-9])
    sentence = describe(comparison, "not enough seeds", "Claim", p_value=0.5)
    assert "5.00e-09 against 1.33e-09, difference +3.67e-09" in sentence
    assert "corrected for several tests p = 0.500" in sentence


def test_description_does_not_round_a_p_value_onto_the_level():
    # 102 of 2048 patterns: p = 0.0498 is significant, "0.050" would not look so.
    comparison = compare_paired(np.arange(1, 7), np.zeros(6))
    assert "p = 0.0498" in describe(comparison, "supported", "Claim", p_value=0.0498)


def test_description_of_many_seeds_says_sampled():
    comparison = compare_paired(np.tile(MAIZE, 2), np.zeros(30))
    assert "sampled sign-flip p = " in describe(comparison, "undecided", "Claim")


@pytest.mark.parametrize("bad", [[], [0.1, math.nan], [0.1, math.inf], [[0.1], [0.2]]])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (mean_interval, "values"),
        (bootstrap_interval, "values"),
        (sign_flip_test, "differences"),
        (holm, "p_values"),
        (lambda bad: compare_paired(bad, [1, 2]), "treatment"),
        (lambda bad: compare_paired([1, 2], bad), "control"),
    ],
)
def test_values_that_are_no_list_of_numbers(function, argument, bad):
    expected = f"`{argument}` must be a non-empty list .* Received: {argument}="
    with pytest.raises(ValueError, match=expected):
        function(bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_paired([1, 2], [1]), "Received: 2 and 1 values"),
        (lambda: compare_paired([1], [1], level=5), "`level` must .* level=5"),
        (lambda: mean_interval([1], 95), "`confidence` must .* confidence=95"),
        (lambda: bootstrap_interval([1], confidence=1), "Received: confidence=1"),
        (lambda: sign_flip_test([1], "both"), "Received: alternative='both'"),
        (lambda: holm([0.5, 1.5]), "`p_values` must lie between 0 and 1"),
        (
            lambda: verdict(compare_paired([1], [2]), math.nan),
            "`p_value` must .* p_value=nan",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_example_of_the_dataclass_runs(capsys):
    run_blocks(python_blocks(inspect.getdoc(PairedComparison)), "PairedComparison")
    assert capsys.readouterr().out.split() == ["0.25", "False"]
