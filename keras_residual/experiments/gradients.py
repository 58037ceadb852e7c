"""Gradient norms of trainings: by depth, and at equal loss."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

FIRST_RECORDS = 3
# The parameter that is added last to a convolution's output.
SHIFTS = ("bias", "beta")


def with_depth(rows: pd.DataFrame, head: str = "logits") -> pd.DataFrame:
    """The rows of one network with depth and kind of each variable.

    The depth counts convolutions from the input; what follows a convolution has its
    depth. `plots.gradient_norm_by_depth` draws the rows of one kind.

    Args:
        rows: A column path, such as "block01/conv1/kernel", in forward order.
        head: Name of the layer that is left out.

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments.gradients import with_depth

        paths = ["stem/conv/kernel", "block01/conv1/kernel", "logits/kernel"]
        print(with_depth(pd.DataFrame({"path": paths}))["depth"].tolist())  # [1, 2]
        ```
    """
    parts = rows["path"].str.rsplit("/", n=2)
    rows = rows.assign(kind=parts.str[-1])[parts.str[-2] != head]
    paths = rows.drop_duplicates("path").set_index("path")
    depths = (paths["kind"] == "kernel").cumsum()
    return rows.assign(depth=rows["path"].map(depths))


def read_norms(file: Path) -> pd.DataFrame:
    """Rows step, depth, kind, norm from a file of `GradientNormCallback`."""
    long = pd.read_csv(file).melt("step", var_name="path", value_name="norm")
    return with_depth(long)[["step", "depth", "kind", "norm"]]


def kernels_by_depth(norms: pd.DataFrame, by: str) -> pd.DataFrame:
    """Rows `by`, seed, step, depth, norm of the kernels, counted from the input.

    Projections and the classifier are left out: they are not on the common path.

    Args:
        norms: Columns `by`, seed, step, and one for each layer of a network of this
            library, whose convolutions have no other weight than their kernel.
        by: Column that names the networks.

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments.gradients import kernels_by_depth

        norms = pd.DataFrame({"network": ["plain"], "seed": [0], "step": [0]})
        norms = norms.assign(**{"stem/conv": 0.5, "block01/conv1": 0.4})
        print(kernels_by_depth(norms, "network")["depth"].tolist())  # [1, 2]
        ```
    """
    paths = [
        path
        for path in norms.columns
        if re.fullmatch(r"(\w+_)?conv\d*", path.split("/")[-1])
    ]
    key = [by, "seed", "step"]
    depths = {path: depth for depth, path in enumerate(paths, start=1)}
    long = norms.rename(columns=depths).melt(key, [*depths.values()], "depth", "norm")
    long["depth"] = long["depth"].astype(int)
    return long.drop_duplicates([*key, "depth"], keep="last")


def epochs_of_equal_loss(history: pd.DataFrame, key: Sequence[str]) -> pd.DataFrame:
    """The first epoch of each network whose loss all networks of its pair reach.

    A smaller loss makes smaller gradients, so gradients are compared at equal loss.

    Args:
        history: Columns `key`, epoch and loss.
        key: The network's column, and then those that its pair shares.

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments.gradients import epochs_of_equal_loss

        nets = ["plain", "plain", "residual", "residual"]
        history = pd.DataFrame({"net": nets, "seed": 0, "epoch": [1, 2, 1, 2]})
        history["loss"] = [2.0, 1.0, 1.0, 0.5]
        epochs = epochs_of_equal_loss(history, ["net", "seed"])
        print(epochs["epoch"].tolist())  # [2, 1]
        ```
    """
    lowest = history.groupby(list(key))["loss"].transform("min")
    levels = lowest.groupby([history[name] for name in key[1:]]).transform("max")
    rows = history[history["loss"] <= levels]
    return rows.groupby(list(key), as_index=False)["epoch"].min()


def log_norms(norms: pd.Series) -> pd.Series:
    """Logarithms to the base 10; zero counts as the smallest normal float32.

    A dead network has gradients of exactly zero, which have no logarithm.
    """
    return np.log10(norms.clip(lower=float(np.finfo(np.float32).tiny)))


def gradient_scales(
    norms: pd.DataFrame, history: pd.DataFrame, key: Sequence[str]
) -> pd.DataFrame:
    """Geometric means over training at the first and last convolution of the blocks.

    One row for each training. Norms that are not finite are left out. Also of the first
    convolution's kernel at the first recorded steps, and in `epochs_of_equal_loss`.

    Args:
        norms: Columns `key`, step, depth, kind and norm.
        history: Columns `key`, epoch, steps and loss.
        key: The network's column, those of the condition, and the seed's.
    """
    key, condition = list(key), list(key[1:-1])
    # Depth 1 is the stem, which has another shape than the blocks' convolutions.
    rows = norms[(norms["depth"] > 1) & np.isfinite(norms["norm"])]
    rows = rows.assign(log=log_norms(rows["norm"]))
    deepest = rows.groupby(condition)["depth"].transform("max")
    kernel, shift = rows["kind"] == "kernel", rows["kind"].isin(SHIFTS)
    first = rows[(rows["depth"] == 2) & kernel]
    early = first["step"].isin(np.unique(norms["step"])[:FIRST_RECORDS])
    epochs = first.assign(epoch=first["step"] // history["steps"].iloc[0] + 1)
    equal = epochs.merge(epochs_of_equal_loss(history, key), on=[*key, "epoch"])
    chosen = {
        "first_kernel": first,
        "last_kernel": rows[(rows["depth"] == deepest) & kernel],
        "first_shift": rows[(rows["depth"] == 2) & shift],
        "last_shift": rows[(rows["depth"] == deepest) & shift],
        "first_start": first[early],
        "first_equal_loss": equal,
    }
    scales = norms[key].drop_duplicates().set_index(key)
    for name, part in chosen.items():
        scales[name] = 10 ** part.groupby(key)["log"].mean()
    return scales.reset_index()
