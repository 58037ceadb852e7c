"""Checks of predictions and true labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def checked_predictions(
    labels: Any, probabilities: Any, shape: tuple[int, int] | None = None
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Returns labels `(n,)` and probabilities `(n, classes)`, of `shape` if given."""
    predicted = np.asarray(probabilities, dtype=np.float64)
    if (
        predicted.ndim != 2
        or (shape is not None and predicted.shape != shape)
        or not ((predicted >= 0) & (predicted <= 1)).all()
    ):
        here = "" if shape is None else f", here {shape},"
        raise ValueError(
            f"`probabilities` must have the shape (n, classes){here} and values from 0 "
            f"to 1. Received: {shape_and_values(predicted)}"
        )
    number, classes = predicted.shape
    true = np.asarray(labels)
    if (
        true.shape != (number,)
        or true.dtype.kind not in "iu"
        or not ((true >= 0) & (true < classes)).all()
    ):
        raise ValueError(
            f"`labels` must be {number} integers from 0 to {classes - 1}. "
            f"Received: labels={labels!r}"
        )
    return true, predicted


def shape_and_values(array: NDArray) -> str:
    """An array in words, for messages."""
    if array.size == 0 or array.dtype.kind not in "biuf":
        return f"shape {array.shape}"
    return f"shape {array.shape}, values {array.min():g} to {array.max():g}"
