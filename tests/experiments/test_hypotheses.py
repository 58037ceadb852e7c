"""Hypotheses that are tested together, each with the seeds that it has."""

import numpy as np
import pandas as pd
import pytest

from keras_residual.experiments import Hypothesis, compare_hypotheses
from keras_residual.experiments.hypotheses import Claim, compare_claims, needed_seeds
from keras_residual.experiments.reporting import verdicts

pytestmark = pytest.mark.once


WAYS = ("new", "old")


def frame(new, old):
    return pd.DataFrame({"new": new, "old": old})


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
    tested = pd.DataFrame([nothing, other])
    words = verdicts(tested, "none", "other", "untested")
    assert words == "no verdict (none); supported (other)"
    assert compare_hypotheses([]) == []


def test_answers_are_plain_words_with_one_number():
    """Logarithms by hand: 0.3 is a factor of 2.0, and 10^-1 is 0.1."""
    many = np.full(8, 0.1)
    rows = compare_hypotheses(
        [
            Hypothesis("H1", "C", frame(0.8 + many, 0.7), *WAYS, "percent"),
            Hypothesis("H2", "C", frame(-1 - 3 * many, -1), *WAYS, "factor"),
            Hypothesis("H3", "C", frame(many, 0), *WAYS, "rank", ("9", "5 epochs")),
            Hypothesis("H4", "C", frame([1, 2, 3], 1), *WAYS, "s"),
            Hypothesis("H5", "C", frame([0.8], 0.7), *WAYS, "percent"),
        ]
    )

    assert [row["answer"] for row in rows] == [
        "yes, by 20.0 points",
        "no, the other way round, 2 times smaller",
        "yes, new 9, old 5 epochs",
        "new 2 s, old 1 s; 3 seeds: no verdict",
        "new 80.0 %, old 70.0 %; one seed: no verdict",
    ]
    p = "(corrected p = 0.039)"
    assert [row["finding"] for row in rows[:3]] == [
        f"new minus old: +20.0 points {p}",
        f"new 2 times smaller than old {p}",
        f"new: 9; old: 5 epochs {p}",
    ]
    assert "90 against 70 %, difference +20 %" in rows[0]["words"]
    assert rows[0]["mean_difference"] == pytest.approx(0.2)

    about_zero = frame([0.001, -0.001] * 4, 0)
    (row,) = compare_hypotheses([Hypothesis("H6", "C", about_zero, *WAYS, "factor")])
    assert row["answer"] == "undecided, equally large"


@pytest.mark.parametrize(("tests", "seeds"), [(1, 6), (3, 7), (5, 8), (6, 8), (7, 9)])
def test_needed_seeds(tests, seeds):
    assert needed_seeds(tests) == seeds
    assert 2 * tests / 2**seeds <= 0.05 < 2 * tests / 2 ** (seeds - 1)


def test_claims_are_paired_by_seed():
    rows = [("new", 0, 2.0), ("old", 0, 1.0), ("old", 1, 5.0), ("new", 1, 6.0)]
    frame = pd.DataFrame(rows, columns=["way", "seed", "speed"])
    claims = [
        Claim("faster", "speed", "new", "old", "km/h", "The new way is faster"),
        Claim("fastest", "speed", "new", "other", "km/h", "No other way is there"),
    ]

    tested = compare_claims(claims, frame, "way", {"faster": {"new": "6", "old": "5"}})

    assert tested["n"].tolist() == [2, 0]
    assert tested["mean_difference"][0] == pytest.approx(1.0)
    assert tested["answer"][0] == "new 6, old 5; 2 seeds: no verdict"
    assert compare_claims([], frame, "way").empty
