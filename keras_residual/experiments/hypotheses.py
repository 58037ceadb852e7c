"""Hypotheses that were stated before the runs, tested together and put into words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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


def compare_hypotheses(hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """Test hypotheses of one experiment together, by paired sign-flip tests.

    Their p-values are corrected together (Holm). What a corrected p-value could have
    been at best follows from the number of seeds of each of them: a hypothesis with
    enough seeds is not held back by one that has few.

    Args:
        hypotheses: The hypotheses.

    Returns:
        One row for each: "hypothesis", "verdict", "n", "mean_difference", "low" and
        "high" (the t interval), "p", "p_holm", "t_test_p", "cohen_d_z" and "words".
        Where no seed has finite numbers, only "hypothesis", "n" and "words".
    """
    comparisons = [_compare(hypothesis) for hypothesis in hypotheses]
    tested = [found for found in comparisons if found]
    corrected = _corrected([found.sign_flip_p_value for found in tested])
    # Holm's p-values grow with each of those that go in: all at their smallest give
    # the smallest that each could have become.
    reachable = _corrected([min(1.0, found.smallest_p_value) for found in tested])
    rows: list[dict[str, Any]] = []
    for hypothesis, found in zip(hypotheses, comparisons, strict=True):
        row: dict[str, Any] = {"hypothesis": hypothesis.name}
        if found is None:
            words = f"{hypothesis.claim}: cannot be tested, no seed has finite numbers."
            rows.append({**row, "n": 0, "words": words})
            continue
        p, smallest = next(corrected), next(reachable)
        decided = verdict(found, p, smallest_p_value=smallest)
        words = describe(
            found, decided, hypothesis.claim, p_value=p, smallest_p_value=smallest
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
                "words": words,
            }
        )
    return rows


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
