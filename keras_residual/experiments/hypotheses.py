"""Hypotheses stated before the runs, tested together and put into words."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from keras_residual.analysis.statistics import (
    PairedComparison,
    compare_paired,
    describe,
    holm,
    verdict,
)

LEVEL = 0.05

_EQUAL = "equally large"


@dataclass(frozen=True)
class Hypothesis:
    """The claim that one column is larger than another, row by row.

    Args:
        name: Short name.
        claim: What is claimed, in words.
        pairs: One row for each seed. Rows with a number that is not finite are left
            out.
        treatment: Column that is claimed to be larger.
        control: Column that it is compared with.
        unit: "percent" for shares, "factor" for ratios, given as logarithms to the base
            10, or the name of a unit.
        shown: Texts for treatment and control in the answer, for numbers that mean
            little to a reader, such as ranks.

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments import Hypothesis, compare_hypotheses

        pairs = pd.DataFrame({"residual": [0.81, 0.84], "plain": [0.76, 0.79]})
        claim = Hypothesis("H1", "Residual is better", pairs, "residual", "plain")
        print(compare_hypotheses([claim])[0]["verdict"])  # not enough seeds
        ```
    """

    name: str
    claim: str
    pairs: pd.DataFrame
    treatment: str
    control: str
    unit: str = ""
    shown: tuple[str, str] | None = None


class Claim(NamedTuple):
    """The claim that a measure of one group of trainings is larger than of another.

    Args:
        name: Short name.
        measure: Column of the measure.
        larger: Group whose measure is claimed to be larger.
        smaller: Group that it is compared with.
        unit: See `Hypothesis`.
        claim: What is claimed, in words.
    """

    name: str
    measure: str
    larger: str
    smaller: str
    unit: str
    claim: str


def about_groups(claims: Sequence[Claim], groups: Iterable[str]) -> list[Claim]:
    """The claims both of whose groups are there."""
    there = set(groups)
    return [claim for claim in claims if {claim.larger, claim.smaller} <= there]


def compare_claims(
    claims: Sequence[Claim],
    frame: pd.DataFrame,
    by: str,
    shown: Mapping[str, Mapping[str, str]] | None = None,
) -> pd.DataFrame:
    """Tests claims of one experiment together, paired by seed.

    Args:
        claims: The claims.
        frame: Columns `by`, seed and the measures; one row for each training.
        by: Column that names the groups.
        shown: By name of a claim, what stands for each group in its answer.

    Returns:
        The rows of `compare_hypotheses`.
    """
    family = []
    for claim in claims:
        pairs = frame.pivot(index="seed", columns=by, values=claim.measure)
        groups = claim.larger, claim.smaller
        # An unfinished run may lack one.
        pairs = pairs.reindex(columns=list(groups)).astype(float)
        words = (shown or {}).get(claim.name)
        both = (words[groups[0]], words[groups[1]]) if words else None
        family.append(
            Hypothesis(claim.name, claim.claim, pairs, *groups, claim.unit, both)
        )
    return pd.DataFrame(compare_hypotheses(family))


def compare_hypotheses(hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Tests hypotheses of one experiment together, by paired sign-flip tests.

    Their p-values are corrected together (Holm). The smallest possible corrected
    p-value depends on the number of seeds of each hypothesis, so that one with few
    seeds does not block the verdict on another.

    Args:
        hypotheses: The hypotheses.

    Returns:
        One row for each: "hypothesis", "claim", "verdict", "n", "mean_difference",
        "low" and "high" (the t interval), "p", "p_holm", "t_test_p", "cohen_d_z",
        "answer" (a few words), "finding" (the title of a figure) and "words" (all
        numbers). Where no seed has finite numbers, only "hypothesis", "claim", "n",
        "answer", "finding" ("") and "words".

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments import Hypothesis, compare_hypotheses

        pairs = pd.DataFrame({"plain": [0.76, 0.79, 0.75, 0.80, 0.78, 0.77]})
        pairs["residual"] = pairs["plain"] + [0.05, 0.04, 0.06, 0.05, 0.03, 0.04]
        claim = Hypothesis("H1", "Residual is better", pairs, "residual", "plain")
        (row,) = compare_hypotheses([claim])
        print(row["verdict"], row["p_holm"])  # supported 0.03125
        ```
    """
    comparisons = [_compare(hypothesis) for hypothesis in hypotheses]
    tested = [found for found in comparisons if found]
    corrected = _corrected([found.sign_flip_p_value for found in tested])
    # Holm's p-values grow with each input, so the smallest inputs give the smallest
    # possible outputs.
    reachable = _corrected([min(1.0, found.smallest_p_value) for found in tested])
    rows: list[dict[str, Any]] = []
    for hypothesis, found in zip(hypotheses, comparisons, strict=True):
        row: dict[str, Any] = {
            "hypothesis": hypothesis.name,
            "claim": hypothesis.claim,
        }
        if found is None:
            words = f"{hypothesis.claim}: cannot be tested, no seed has finite numbers."
            answer = "no verdict, since no seed has finite numbers"
            nothing = {"n": 0, "answer": answer, "finding": "", "words": words}
            rows.append({**row, **nothing})
            continue
        p, smallest = next(corrected), next(reachable)
        decided = verdict(found, p, smallest_p_value=smallest)
        percent = hypothesis.unit == "percent"
        words = describe(
            _times_100(found) if percent else found,
            decided,
            hypothesis.claim,
            "%" if percent else "",
            p_value=p,
            smallest_p_value=smallest,
        )
        rows.append(
            {
                **row,
                "verdict": decided,
                "n": found.n,
                "mean_difference": found.mean_difference,
                "low": found.interval[0],
                "high": found.interval[1],
                "p": found.sign_flip_p_value,
                "p_holm": p,
                "t_test_p": found.t_p_value,
                "cohen_d_z": found.effect_size,
                "answer": _answer(hypothesis, found, decided),
                "finding": _finding(hypothesis, found, p),
                "words": words,
            }
        )
    return rows


def _answer(hypothesis: Hypothesis, found: PairedComparison, decided: str) -> str:
    """The answer for a reader, with one number; with two if there is no verdict."""
    unit = hypothesis.unit
    first, second = hypothesis.shown or (
        _value(found.mean_treatment, unit),
        _value(found.mean_control, unit),
    )
    against = f"{hypothesis.treatment} {first}, {hypothesis.control} {second}"
    if decided == "not enough seeds":
        seeds = "one seed" if found.n == 1 else f"{found.n} seeds"
        return f"{against}; {seeds}: no verdict"
    size = against if hypothesis.shown else _difference(found, unit)
    if unit == "percent" and decided != "undecided":
        size = f"by {100 * abs(found.mean_difference):.1f} points"
    words = {"supported": "yes", "contradicted": "no, the other way round"}
    return f"{words.get(decided, decided)}, {size}"


def _finding(hypothesis: Hypothesis, found: PairedComparison, p_value: float) -> str:
    """Which group is ahead, with the corrected p-value."""
    first, second = hypothesis.treatment, hypothesis.control
    difference = _difference(found, hypothesis.unit)
    words = f"{first} minus {second}: {difference}"
    if hypothesis.shown:
        words = f"{first}: {hypothesis.shown[0]}; {second}: {hypothesis.shown[1]}"
    elif difference == _EQUAL:
        words = f"{first} and {second} {difference}"
    elif hypothesis.unit == "factor":
        words = f"{first} {difference} than {second}"
    return f"{words} (corrected p = {p_value:.2g})"


def _value(mean: float, unit: str) -> str:
    if unit == "percent":
        return f"{100 * mean:.1f} %"
    if unit == "factor":
        return f"{10**mean:.2g}"
    return f"{mean:.3g} {unit}".strip()


def _difference(found: PairedComparison, unit: str) -> str:
    difference = found.mean_difference
    if unit == "percent":
        return f"{100 * difference:+.1f} points"
    if unit == "factor":
        factor = f"{10 ** abs(difference):.3g}"
        if factor == "1":
            return _EQUAL
        return f"{factor} times {'larger' if difference > 0 else 'smaller'}"
    return f"{difference:+.2g} {unit}".strip()


def _times_100(found: PairedComparison) -> PairedComparison:
    low, high = found.interval
    return replace(
        found,
        mean_treatment=100 * found.mean_treatment,
        mean_control=100 * found.mean_control,
        mean_difference=100 * found.mean_difference,
        interval=(100 * low, 100 * high),
    )


def needed_seeds(hypotheses: int) -> int:
    """How many seeds that many tests need, corrected together, to find anything."""
    # The smallest p-value, 2 / 2**n, is multiplied by the number of tests.
    return math.ceil(math.log2(2 * hypotheses / LEVEL))


def _corrected(p_values: list[float]) -> Iterator[float]:
    return iter(holm(p_values).tolist() if p_values else ())


def _compare(hypothesis: Hypothesis) -> PairedComparison | None:
    pairs = hypothesis.pairs
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return None
    return compare_paired(
        pairs[hypothesis.treatment], pairs[hypothesis.control], level=LEVEL
    )
