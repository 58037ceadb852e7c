"""Hypotheses that were stated before the runs, tested together and put into words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis.statistics import compare_paired, describe, holm, verdict

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
    """

    name: str
    claim: str
    pairs: pd.DataFrame
    treatment: str
    control: str


def test_family(hypotheses: Sequence[Hypothesis]) -> list[dict[str, Any]]:
    """One row for each hypothesis; their p-values are corrected together (Holm)."""
    comparisons = [_compare(hypothesis) for hypothesis in hypotheses]
    tested = [found.sign_flip_p_value for found in comparisons if found]
    corrected = iter(holm(tested) if tested else ())
    rows: list[dict[str, Any]] = []
    for hypothesis, found in zip(hypotheses, comparisons, strict=True):
        row: dict[str, Any] = {"hypothesis": hypothesis.name}
        if found is None:
            words = f"{hypothesis.claim}: cannot be tested, no seed has finite numbers."
            rows.append({**row, "n": 0, "words": words})
            continue
        p = float(next(corrected))
        decided = verdict(found, p, num_hypotheses=len(tested))
        words = describe(
            found, decided, hypothesis.claim, p_value=p, num_hypotheses=len(tested)
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


def _compare(hypothesis):
    pairs = hypothesis.pairs
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    if not len(pairs):
        return None
    return compare_paired(
        pairs[hypothesis.treatment], pairs[hypothesis.control], level=LEVEL
    )
