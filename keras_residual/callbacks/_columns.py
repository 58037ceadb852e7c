"""Which variables are measured, and which of them make one column of a record."""

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np

# Stands for the norm of a gradient that does not exist; no norm is negative.
MISSING = -1.0


def select_variables(
    model: keras.Model, variables: Sequence[Any], patterns: Sequence[str]
) -> list[Any]:
    """Returns the variables of the layers that a shell pattern matches.

    Args:
        model: The model that the variables belong to.
        variables: Trainable variables in forward order.
        patterns: What to match with the names and paths of layers. A layer that holds
            others stands for all of them.

    Raises:
        ValueError: If a pattern matches no layer with trainable variables.
    """
    names = {id(variable): _names_of_layers(variable) for variable in variables}
    for layer in _all_layers(model):
        for variable in layer.trainable_variables:
            if id(variable) in names:
                names[id(variable)] |= {layer.name, layer.path or layer.name}
    known = sorted(set().union(*names.values()))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            near = difflib.get_close_matches(pattern, known, n=5, cutoff=0.4)
            raise ValueError(
                "`layers` must match layers of the model that have trainable "
                f"variables. Received: layers with the pattern {pattern!r}; names near "
                f"it: {near or known[:5]!r}"
            )
    return [
        variable
        for variable in variables
        if any(
            fnmatchcase(name, pattern)
            for name in names[id(variable)]
            for pattern in patterns
        )
    ]


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
        # Variables of the model itself belong to none of its layers.
        number, path = owners.get(id(variable), (-1, model.name))
        if by == "layer" and number >= 0:
            path = variable.path.rpartition("/")[0]
        keys.append((number, path))
    columns = {key: column for column, key in enumerate(dict.fromkeys(keys))}
    return _unique([path for _, path in columns]), [columns[key] for key in keys]


def group_norms(norms: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Norms `(n, groups)` from those of the single variables `(n, variables)`.

    Variables without a gradient (`MISSING`) add nothing to their group; a group in
    which no variable has a gradient is NaN.
    """
    present = group_presence(norms, columns)
    squares = np.zeros(present.shape, "float64")
    for column, values in zip(columns, norms.T, strict=True):
        exists = values != MISSING
        squares[:, column] += np.where(exists, values.astype("float64") ** 2, 0.0)
    return np.where(present, np.sqrt(squares), np.nan).astype("float32")


def group_presence(norms: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Which groups `(n, groups)` hold a variable with a gradient."""
    present = np.zeros((len(norms), max(columns, default=-1) + 1), "bool")
    for column, values in zip(columns, norms.T, strict=True):
        present[:, column] |= values != MISSING
    return present


def group_ratios(
    updates: np.ndarray, weights: np.ndarray, columns: Sequence[int]
) -> np.ndarray:
    """Norms of updates over norms of weights, `(n, groups)`.

    The ratio of weights that were all zero is infinity, or NaN if they stayed zero.
    """
    changes = group_norms(updates, columns).astype("float64")
    with np.errstate(divide="ignore", invalid="ignore"):
        return (changes / group_norms(weights, columns)).astype("float32")


def _names_of_layers(variable: Any) -> set[str]:
    """Names and paths of the layers that hold a variable, from its own path."""
    parts = variable.path.split("/")[:-1]
    return {*parts, *("/".join(parts[: i + 1]) for i in range(len(parts)))}


def _all_layers(model: keras.Model) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _outermost_layers(model: keras.Model) -> Iterator[Any]:
    # A nested model is a backbone whose blocks are of interest, not a block.
    return (layer for layer in _all_layers(model) if not isinstance(layer, keras.Model))


def _unique(names: list[str]) -> list[str]:
    """Numbers the names that occur more than once."""
    occurrences = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(f"{name}:{seen[name]}" if occurrences[name] > 1 else name)
    return result
