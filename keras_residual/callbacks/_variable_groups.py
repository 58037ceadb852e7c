"""Which variables make one column of a gradient norm record."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_residual.callbacks._norm_recorder import MISSING


def group_variables(
    model: keras.Model, variables: Sequence[Any], by: str
) -> tuple[list[str], list[int]]:
    """Returns the names of the columns and the column of each variable.

    Args:
        model: The model that the variables belong to.
        variables: Trainable variables in forward order.
        by: `"variable"`, `"layer"` or `"block"`.
    """
    if by == "variable":
        return _unique([v.path for v in variables]), list(range(len(variables)))
    owners: dict[int, tuple[int, str]] = {}
    for number, layer in enumerate(_outermost_layers(model)):
        for variable in layer.trainable_variables:
            # A shared variable belongs to the layer that uses it first.
            owners.setdefault(id(variable), (number, layer.path or layer.name))
    keys: list[tuple[int, str]] = []
    for variable in variables:
        # Variables that belong to the model itself are in none of its layers.
        number, path = owners.get(id(variable), (-1, model.name))
        if by == "layer" and number >= 0:
            path = variable.path.rpartition("/")[0]
        keys.append((number, path))
    columns = {key: column for column, key in enumerate(dict.fromkeys(keys))}
    return _unique([path for _, path in columns]), [columns[key] for key in keys]


def group_norms(norms: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Norms `(n, groups)` from those of the single variables `(n, variables)`.

    Variables that got no gradient (`MISSING`) count as nothing beside others of their
    group; a group of them alone is NaN.
    """
    shape = (len(norms), max(columns, default=-1) + 1)
    squares = np.zeros(shape, "float64")
    present = np.zeros(shape, "bool")
    for column, values in zip(columns, norms.T, strict=True):
        exists = values != MISSING
        squares[:, column] += np.where(exists, values.astype("float64") ** 2, 0.0)
        present[:, column] |= exists
    return np.where(present, np.sqrt(squares), np.nan).astype("float32")


def _outermost_layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        # A nested model is a backbone whose blocks are of interest, not a block.
        if isinstance(layer, keras.Model):
            yield from _outermost_layers(layer)
        else:
            yield layer


def _unique(names: list[str]) -> list[str]:
    """Numbers the names that occur more than once."""
    occurrences = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name}:{seen[name]}" if occurrences[name] > 1 else name)
    return result
