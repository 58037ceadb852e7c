"""Hypotheses that are tested together, each with the seeds that it has."""

import numpy as np
import pandas as pd
import pytest

from keras_residual.experiments import Hypothesis, compare_hypotheses

pytestmark = pytest.mark.once


def hypothesis(name, differences):
    pairs = pd.DataFrame({"new": differences, "old": 0.0})
    return Hypothesis(name, f"Claim {name}", pairs, "new", "old")


def test_few_seeds_of_one_do_not_hold_back_the_other():
    """By hand: 2/2^7 = 0.0156 twice is 0.031; 2/2^3 = 0.25."""
    many, few = compare_hypotheses(
        [hypothesis("many", [1, 2, 3, 4, 5, 6, 7]), hypothesis("few", [1, 2, 3])]
    )

    assert many["p_holm"] == pytest.approx(0.03125)
    assert many["verdict"] == "supported"
    assert "cannot fall below" not in many["words"]
    assert few["p_holm"] == pytest.approx(0.25)
    assert few["verdict"] == "not enough seeds"
    assert "with 3 seeds it cannot fall below 0.25" in few["words"]


def test_words_and_numbers_never_contradict_each_other():
    generator = np.random.default_rng(0)
    for _ in range(30):
        family = [
            hypothesis(str(number), generator.normal(0.5, 1, generator.integers(1, 9)))
            for number in range(3)
        ]
        for row in compare_hypotheses(family):
            reached = row["p_holm"] <= 0.05
            assert (row["verdict"] in ("supported", "contradicted")) == reached
            if reached:
                assert "cannot fall below" not in row["words"]


def test_seeds_without_numbers_are_left_out():
    (row,) = compare_hypotheses([hypothesis("gap", [1, np.nan, 3])])
    assert row["n"] == 2
    nothing, other = compare_hypotheses(
        [hypothesis("none", [np.nan] * 2), hypothesis("other", range(1, 7))]
    )
    assert nothing["n"] == 0
    assert "cannot be tested" in nothing["words"]
    assert other["p_holm"] == other["p"]  # a family of one
    assert compare_hypotheses([]) == []
