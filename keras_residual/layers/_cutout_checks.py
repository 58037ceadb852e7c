"""Checks of Cutout's arguments."""

import math
from typing import Any

import numpy as np

from keras_residual.layers._checks import is_number
from keras_residual.layers._cutout_patches import Length


def checked_size(size: Any) -> tuple[Length, Length]:
    """`size` as a pair `(height, width)`."""
    pair = tuple(size) if _is_sequence(size) else (size, size)
    if len(pair) == 2:
        height, width = (_checked_length(length) for length in pair)
        if height is not None and width is not None:
            return height, width
    raise ValueError(
        "`size` must be a positive integer (pixels), a float in (0, 1] (a share of the "
        f"image), or a pair of them as (height, width). Received: size={size!r}"
    )


def as_given(size: Any, lengths: tuple[Length, Length]) -> Any:
    """`size` in plain Python numbers, which can be saved."""
    pair = tuple(x.value if x.is_share else int(x.value) for x in lengths)
    return pair if _is_sequence(size) else pair[0]


def checked_fill(
    fill: Any, value_range: tuple[float, float] | None
) -> float | str | tuple[float, ...]:
    """`fill` with a tuple for any sequence, inside the value range."""
    if isinstance(fill, str) and fill in ("mean", "noise"):
        return fill
    numbers = tuple(fill) if _is_sequence(fill) else (fill,)
    if not numbers or not all(is_number(n) and math.isfinite(n) for n in numbers):
        raise ValueError(
            "`fill` must be a number, a sequence of one number for each channel, "
            f'"mean" or "noise". Received: fill={fill!r}'
        )
    if value_range is not None:
        low, high = value_range
        if not all(low <= number <= high for number in numbers):
            raise ValueError(
                f"`fill` must be within value_range={value_range!r}. "
                f"Received: fill={fill!r}"
            )
    numbers = tuple(float(number) for number in numbers)
    return numbers if _is_sequence(fill) else numbers[0]


def checked_range(value_range: Any) -> tuple[float, float] | None:
    """`value_range` as a tuple."""
    if value_range is None:
        return None
    if _is_sequence(value_range) and len(value_range) == 2:
        low, high = value_range
        if is_number(low) and is_number(high) and -math.inf < low < high < math.inf:
            return float(low), float(high)
    raise ValueError(
        "`value_range` must be a pair of numbers, the lower one first, or None. "
        f"Received: value_range={value_range!r}"
    )


def check_dtype(fill: Any, value_range: Any, dtype: str) -> None:
    """Raises a ValueError where images of this dtype cannot hold the fill."""
    if "float" not in dtype and not dtype.startswith(("int", "uint")):
        raise ValueError(
            "`inputs` must be images of an integer or floating-point dtype. "
            f"Received: dtype={dtype}"
        )
    is_integer = "float" not in dtype
    if fill == "noise" and value_range is None and dtype != "uint8":
        raise ValueError(
            '`value_range` must be given for fill="noise" with images of dtype '
            f"{dtype}. Received: value_range=None"
        )
    if is_integer and not isinstance(fill, str):
        limits = np.iinfo(dtype)
        numbers = fill if isinstance(fill, tuple) else (fill,)
        if not all(n == int(n) and limits.min <= n <= limits.max for n in numbers):
            raise ValueError(
                f"`fill` must be integers from {limits.min} to {limits.max} for images "
                f"of dtype {dtype}. Received: fill={fill!r}"
            )


def _checked_length(length: Any) -> Length | None:
    if not is_number(length):
        return None
    if isinstance(length, float | np.floating):
        return Length(float(length), True) if 0 < length <= 1 else None
    is_pixels = length == int(length) and length > 0
    return Length(int(length), False) if is_pixels else None


def _is_sequence(value: Any) -> bool:
    return isinstance(value, tuple | list) or (
        isinstance(value, np.ndarray) and value.ndim == 1
    )
