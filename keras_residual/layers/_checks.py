"""Checks of arguments that layers, models, callbacks and datasets have in common."""

import math
import numbers
import operator
from typing import Any


def check_positive_integer(name: str, value: Any) -> int:
    """Returns the value as an int; NumPy's integers count, True does not."""
    try:
        number = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}"
        )
    return number


def check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}"
        )


def check_fraction(name: str, value: Any) -> None:
    if not is_number(value) or not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1). Received: {name}={value!r}"
        )


def check_positive_number(name: str, value: Any) -> None:
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(
            f"`{name}` must be a number greater than 0. Received: {name}={value!r}"
        )


def check_probability(name: str, value: Any) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(
            f"`{name}` must be a number in [0, 1]. Received: {name}={value!r}"
        )


def is_number(value: Any) -> bool:
    """Whether this is a real number; NumPy's count, True does not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
