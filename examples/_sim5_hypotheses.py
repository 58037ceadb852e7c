"""The hypotheses of simulation 5, stated before the runs, and their tests."""

from typing import Any

import pandas as pd
from _hypotheses import Hypothesis, test_family

# Claims about the test accuracy: name, words, treatment and control, each an approach
# and a share of the training images.
HYPOTHESES = (
    (
        "H2a",
        "Transfer beats training from scratch (frozen features, all training images)",
        ("frozen", 1.0),
        ("scratch", 1.0),
    ),
    (
        "H2b",
        "Fine-tuning beats feature extraction (all training images)",
        ("fine-tuned", 1.0),
        ("frozen", 1.0),
    ),
    (
        "H2c",
        "Transfer with a tenth of the training images beats training from scratch "
        "with all of them",
        ("frozen", 0.1),
        ("scratch", 1.0),
    ),
)


def test_hypotheses(results: pd.DataFrame) -> pd.DataFrame:
    """One row for each hypothesis whose shares were run, with a verdict in words."""
    shares = set(results["share"])
    pairs = results.pivot(
        index="seed", columns=["approach", "share"], values="accuracy"
    )
    family = [
        Hypothesis(
            name,
            claim,
            pd.DataFrame({"treatment": pairs[treatment], "control": pairs[control]}),
            "treatment",
            "control",
        )
        for name, claim, treatment, control in HYPOTHESES
        if {treatment[1], control[1]} <= shares
    ]
    return pd.DataFrame(test_family(family)) if family else pd.DataFrame()


def fewest_images(results: pd.DataFrame) -> list[dict[str, Any]]:
    """From how few images on an approach reaches scratch with all images, on average.

    "On" means at that amount and all larger ones. None if it never does.
    """
    means = results.groupby(["approach", "images"])["accuracy"].mean()
    all_images = int(results["images"].max())
    reference = means["scratch"][all_images]
    rows = []
    for approach in ("frozen", "fine-tuned"):
        reached = means[approach].sort_index(ascending=False) >= reference
        enough = reached[reached.cummin()].index
        rows.append(
            {
                "approach": approach,
                "reference": reference,
                "images": int(enough.min()) if len(enough) else None,
                "of": all_images,
            }
        )
    return rows
