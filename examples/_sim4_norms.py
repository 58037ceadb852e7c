"""The gradient norms of simulation 4: read, by depth, and on equal terms."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from keras_residual import gradient_norms
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments.training import standardized

# What makes one condition, and one training: columns of the tables.
CONDITION = ["blocks", "batch_norm"]
KEY = ["net", *CONDITION, "seed"]
# A dead network has gradients of exactly zero, which have no logarithm.
FLOOR = float(np.finfo(np.float32).tiny)
FIRST_RECORDS = 3
INITIAL_IMAGES = 32


def measure_new_networks(
    build: Callable[..., keras.Model], nets: Sequence[str], seed: int, shared: Any
) -> Any:
    """The gradient norms of one batch before the first step: nothing is trained."""
    start = time.perf_counter()
    images, labels, num_classes, settings = shared
    batch = images[:INITIAL_IMAGES]
    batch, _ = standardized(batch, batch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rows = []
    for blocks in settings.initial_blocks:
        for batch_norm in ("on", "off"):
            for net in nets:
                keras.utils.clear_session()
                keras.utils.set_random_seed(seed)
                with_bn = batch_norm == "on"
                model = build(net, blocks, settings.width, with_bn, num_classes)
                norms = gradient_norms(model, batch, labels[: len(batch)], loss=loss)
                rows += [(net, blocks, batch_norm, *pair) for pair in norms.items()]
    columns = ["net", "blocks", "batch_norm", "path", "norm"]
    files = {"initial_norms.csv": pd.DataFrame(rows, columns=columns)}
    return {"seed": seed, "seconds": round(time.perf_counter() - start, 3)}, files


def read_norms(unit: Path) -> pd.DataFrame:
    """Norms of one training as rows: step, depth, kind, norm.

    The depth counts convolutions from the input; what follows a convolution has its
    depth. The dense layer at the end is left out.
    """
    wide = pd.read_csv(unit / "gradient_norms.csv")
    places = _places(wide.columns.drop("step"))
    long = wide.melt("step", list(places["path"]), "path", "norm")
    return long.merge(places, on="path")[["step", "depth", "kind", "norm"]]


def read_initial(units: Sequence[Path]) -> pd.DataFrame:
    """Norms of the kernels of new networks as rows: key, depth, kind, norm."""
    # Draws on Matplotlib, which workers do without.
    from keras_residual.experiments.reporting import read_result

    frames = []
    for unit in units:
        rows = pd.read_csv(unit / "initial_norms.csv")
        for _, net in rows.groupby(["net", *CONDITION], sort=False):
            frame = net.merge(_places(net["path"]), on="path")
            frames.append(frame.assign(seed=read_result(unit)["seed"], step=0))
    columns = [*KEY, "step", "depth", "kind", "norm"]
    if not frames:
        return pd.DataFrame(columns=columns)
    together = pd.concat(frames, ignore_index=True)
    return together.loc[together["kind"] == "kernel", columns]


def _places(paths: Sequence[str]) -> pd.DataFrame:
    depth = 0
    places = []
    for path in paths:
        *_, layer, kind = path.split("/")
        if layer == "logits":
            continue
        depth += kind == "kernel"
        places.append((path, depth, kind))
    return pd.DataFrame(places, columns=["path", "depth", "kind"])


def gradient_scales(
    norms: pd.DataFrame, history: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Geometric means over training at the first and last convolution of the blocks.

    One row per training. A norm of zero counts as the smallest normal float32; norms
    that are not finite are left out. With a history also of the first convolution's
    kernel at the first recorded steps and, by `epochs_of_equal_loss`, at equal loss.
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
    means = rows.groupby([*KEY, "end", "part"], sort=False)["log"].mean()
    wide = (10**means).unstack(["end", "part"])
    wide.columns = [f"{end}_{part}" for end, part in wide.columns]
    trained = norms[KEY].drop_duplicates()
    scales = trained.merge(wide.reset_index(), on=KEY, how="left")
    if history is None:
        return scales
    first = rows[(rows["end"] == "first") & (rows["part"] == "kernel")]
    early = first[first["step"].isin(np.unique(norms["step"])[:FIRST_RECORDS])]
    steps = int(history["steps"].iloc[0])
    epochs = first.assign(epoch=first["step"] // steps + 1)
    equal = epochs.merge(epochs_of_equal_loss(history), on=[*KEY, "epoch"])
    for name, chosen in (("start", early), ("equal_loss", equal)):
        column = (10 ** chosen.groupby(KEY)["log"].mean()).rename(f"first_{name}")
        scales = scales.merge(column.reset_index(), on=KEY, how="left")
    return scales


def epochs_of_equal_loss(history: pd.DataFrame) -> pd.DataFrame:
    """The first epoch of each net whose training loss both nets of the seed reach."""
    lowest = history.groupby(KEY)["loss"].min()
    level = lowest.groupby([*CONDITION, "seed"]).max().rename("level").reset_index()
    rows = history.merge(level, on=[*CONDITION, "seed"])
    rows = rows[rows["loss"] <= rows["level"]]
    return rows.groupby(KEY, as_index=False)["epoch"].min()


def on_equal_terms(scales: pd.DataFrame) -> pd.DataFrame:
    """How the gradient at the first convolution compares, and where."""
    rows = []
    for column, words in (
        ("first_kernel", "whole training (H1a)"),
        ("first_start", f"first {FIRST_RECORDS} records"),
        ("first_equal_loss", "at equal training loss"),
    ):
        logs = np.log10(scales.pivot(index="seed", columns="net", values=column))
        logs = logs.reindex(columns=["plain", "residual"]).dropna()
        row = {"measured": words, **{net: 10 ** logs[net].mean() for net in logs}}
        ratio = "n/a"
        if len(logs):
            ends = mean_interval(logs["residual"] - logs["plain"])
            mean, low, high = (
                f"{10 ** float(np.clip(end, -99, 99)):.2g}" for end in ends
            )
            ratio = mean if len(logs) == 1 else f"{mean} ({low} to {high})"
        rows.append({**row, "residual / plain": ratio})
    return pd.DataFrame(rows)


def slope(scales: pd.DataFrame, part: str) -> pd.Series:
    """Log10 of first / last norm of each net, a mean over its seeds."""
    ratio = np.log10(scales[f"first_{part}"] / scales[f"last_{part}"])
    return ratio.groupby(scales["net"]).mean()
