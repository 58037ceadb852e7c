"""The hypotheses of simulation 4, stated before the runs, and their tests."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _hypotheses import Hypothesis, test_family

CONDITION = ["blocks", "batch_norm"]
# A dead network has gradients of exactly zero, which have no logarithm.
FLOOR = float(np.finfo(np.float32).tiny)

# Name, claim, and the measure of each net: "treatment larger" is what is claimed.
H1A = (
    "H1a",
    "The gradient at the first block's first convolution is larger in the residual net "
    "(log10 of its kernel's norm)",
)
H1B = (
    "H1b",
    "Without shortcuts the gradient changes more between the first and the last "
    "convolution of the blocks (size of log10 first / last kernel norm, plain against "
    "residual)",
)
H2 = ("H2", "The final validation accuracy is higher in the residual net")


def read_norms(unit: Path) -> pd.DataFrame:
    """Norms of one training as rows: step, depth, kind, layer, norm.

    The depth counts convolutions from the input; what follows a convolution has its
    depth. The dense layer at the end is left out.
    """
    wide = pd.read_csv(unit / "gradient_norms.csv")
    depth = 0
    places = []
    for path in wide.columns.drop("step"):
        *_, layer, kind = path.split("/")
        if layer == "logits":
            continue
        depth += kind == "kernel"
        places.append((path, depth, kind))
    long = wide.melt("step", [path for path, _, _ in places], "path", "norm")
    table = pd.DataFrame(places, columns=["path", "depth", "kind"])
    return long.merge(table, on="path")[["step", "depth", "kind", "norm"]]


def gradient_scales(norms: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over training at the first and last convolution of the blocks.

    One row per training. A norm of zero counts as the smallest normal float32; norms
    that are not finite are left out.
    """
    # Depth 1 is the stem, which has another shape than the blocks' convolutions.
    rows = norms[(norms["depth"] > 1) & np.isfinite(norms["norm"])]
    rows = rows[rows["kind"] != "gamma"]
    deepest = rows.groupby(CONDITION)["depth"].transform("max")
    rows = rows.assign(
        log=np.log10(rows["norm"].clip(lower=FLOOR)),
        part=np.where(rows["kind"] == "kernel", "kernel", "shift"),
        end=np.select(
            [rows["depth"] == 2, rows["depth"] == deepest], ["first", "last"], ""
        ),
    )
    rows = rows[rows["end"] != ""]
    key = ["net", *CONDITION, "seed"]
    means = rows.groupby([*key, "end", "part"], sort=False)["log"].mean()
    wide = (10**means).unstack(["end", "part"])
    wide.columns = [f"{end}_{part}" for end, part in wide.columns]
    trained = norms[key].drop_duplicates()
    return trained.merge(wide.reset_index(), on=key, how="left")


def test_hypotheses(results: pd.DataFrame, scales: pd.DataFrame) -> pd.DataFrame:
    """One row for each condition and hypothesis, with a verdict in words."""
    frame = results.merge(scales, on=["net", *CONDITION, "seed"])
    frame["log_first"] = np.log10(frame["first_kernel"])
    frame["drift"] = np.log10(frame["first_kernel"] / frame["last_kernel"]).abs()
    rows: list[dict[str, Any]] = []
    for (blocks, batch_norm), group in frame.groupby(CONDITION, sort=False):
        family = [
            Hypothesis(
                name,
                claim,
                group.pivot(index="seed", columns="net", values=metric),
                treatment,
                control,
            )
            for (name, claim), metric, treatment, control in (
                (H1A, "log_first", "residual", "plain"),
                (H1B, "drift", "plain", "residual"),
                (H2, "accuracy", "residual", "plain"),
            )
        ]
        condition = {"blocks": blocks, "batch_norm": batch_norm}
        rows += [{**condition, **row} for row in test_family(family)]
    return pd.DataFrame(rows)
