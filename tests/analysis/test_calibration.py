"""The calibration error against its definition and closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_residual.analysis.statistics import expected_calibration_error

pytestmark = pytest.mark.once

# Sixtieths meet the borders of 1, 2, 3, 4, 5, 6, 10, 12 and 15 bins exactly.
answers = st.lists(
    st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=30
)


def definition(answers, bins):
    """Guo et al. 2017, equation 5, in exact arithmetic."""
    groups = {}
    for sixtieths, right in answers:
        confidence = Fraction(sixtieths, 60)
        # ((m - 1) / M, m / M]; zero counts into the first.
        groups.setdefault(max(1, math.ceil(confidence * bins)), []).append(
            (confidence, right)
        )
    return sum(
        abs(sum(Fraction(right) - confidence for confidence, right in group))
        for group in groups.values()
    ) / Fraction(len(answers))


@given(answers, st.sampled_from([1, 2, 3, 4, 5, 6, 10, 12, 15]))
def test_definition(answers, bins):
    confidence = [sixtieths / 60 for sixtieths, _ in answers]
    correct = [right for _, right in answers]
    found = expected_calibration_error(confidence, correct, bins)
    assert found == pytest.approx(float(definition(answers, bins)), abs=1e-12)


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [(1.0, 10, 0.0), (1.0, 0, 1.0), (0.9, 9, 0.0), (0.9, 4, 0.5), (0.3, 5, 0.2)],
)
def test_one_confidence_is_compared_with_its_share(confidence, right, error):
    correct = np.arange(10) < right
    found = expected_calibration_error([confidence] * 10, correct)
    assert found == pytest.approx(error)


def test_gaps_of_two_bins_do_not_cancel():
    # 0.6 is right always, 1.0 never more than half: + 0.4 and - 0.5, 4 images each.
    confidence = [0.6] * 4 + [1.0] * 4
    correct = [1] * 4 + [1, 1, 0, 0]
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.45)
    # In a single bin they do: 6 of 8 are right, the confidence is 0.8 on average.
    assert expected_calibration_error(confidence, correct, 1) == pytest.approx(0.05)


def test_answers_that_are_drawn_with_their_confidence_are_calibrated():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0, 1, 100_000)
    correct = generator.uniform(0, 1, 100_000) < confidence
    # About sqrt(2 / pi * p * (1 - p) * bins / n), 0.004 at most.
    assert expected_calibration_error(confidence, correct) < 0.01
    assert expected_calibration_error(confidence**2, correct) == pytest.approx(
        1 / 2 - 1 / 3, abs=0.01
    )


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("confidence", []),
        ("confidence", [0.5, 1.01]),
        ("confidence", [0.5, -0.1]),
        ("confidence", [0.5, math.nan]),
        ("confidence", [[0.5, 0.5]]),
        ("correct", [True]),
        ("correct", [0, 2]),
        ("correct", [0.0, math.nan]),
        ("correct", ["yes", "no"]),
        ("bins", 0),
        ("bins", 2.0),
        ("bins", True),
    ],
)
def test_bad_arguments_are_named(argument, value):
    good = {"confidence": [0.5, 0.5], "correct": [True, False], "bins": 15}
    with pytest.raises(
        ValueError, match=rf"`{argument}` must .* Received: {argument}="
    ):
        expected_calibration_error(**good | {argument: value})
