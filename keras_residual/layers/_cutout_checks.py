"""Checks of Cutout's arguments."""

import math
from typing import Any

import keras
import numpy as np

from keras_residual.layers._checks import (
    check_choice,
    check_positive_integer,
    check_probability,
    checked_data_format,
    is_number,
)
from keras_residual.layers._cutout_patches import Length, Rule

# Those of `keras.utils.bounding_boxes.convert_format`.
_BOX_FORMATS = (
    "xyxy",
    "yxyx",
    "xywh",
    "center_xywh",
    "center_yxhw",
    "rel_xyxy",
    "rel_yxyx",
    "rel_xywh",
    "rel_center_xywh",
)


def checked_rule(
    *,
    size: Any,
    max_size: Any,
    num_holes: Any,
    probability: Any,
    border: Any,
    fill: Any,
    value_range: Any,
    mask_fill: Any,
    min_visible: Any,
    bounding_box_format: Any,
    data_format: Any,
) -> Rule:
    """The arguments of `Cutout` in plain Python types."""
    check_choice("border", border, ("clip", "inside"))
    check_probability("probability", probability)
    limits = _checked_range(value_range)
    return Rule(
        size=_checked_size(size),
        max_size=_checked_max_size(max_size, size),
        is_square=not _is_sequence(size),
        num_holes=check_positive_integer("num_holes", num_holes),
        probability=float(probability),
        border=border,
        fill=_checked_fill(fill, limits),
        value_range=limits,
        mask_fill=_checked_mask_fill(mask_fill),
        min_visible=_checked_min_visible(min_visible, bounding_box_format),
        bounding_box_format=bounding_box_format,
        data_format=checked_data_format(data_format),
    )


def as_given(rule: Rule, size: tuple[Length, Length] | None) -> Any:
    """A size of the rule in plain Python numbers, which can be saved."""
    if size is None:
        return None
    pair = tuple(x.value if x.is_share else int(x.value) for x in size)
    return pair[0] if rule.is_square else pair


def _checked_size(size: Any) -> tuple[Length, Length]:
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


def _checked_max_size(max_size: Any, size: Any) -> tuple[Length, Length] | None:
    """`max_size` as a pair `(height, width)`, of the same kind as `size`."""
    if max_size is None:
        return None
    try:
        largest = _checked_size(max_size)
    except ValueError:
        largest = None
    if (
        largest is None
        or _is_sequence(size) != _is_sequence(max_size)
        or not all(
            low.is_share == high.is_share and low.value <= high.value
            for low, high in zip(_checked_size(size), largest, strict=True)
        )
    ):
        raise ValueError(
            "`max_size` must be None, or not smaller than `size` and of its form: "
            "pixels or shares of the image, a number or a pair. "
            f"Received: size={size!r}, max_size={max_size!r}"
        )
    return largest


def _checked_fill(
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


def _checked_range(value_range: Any) -> tuple[float, float] | None:
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


def _checked_mask_fill(mask_fill: Any) -> float | None:
    """`mask_fill` as a float."""
    if mask_fill is None:
        return None
    if not is_number(mask_fill) or not math.isfinite(mask_fill):
        raise ValueError(
            f"`mask_fill` must be a number or None. Received: mask_fill={mask_fill!r}"
        )
    return float(mask_fill)


def _checked_min_visible(min_visible: Any, bounding_box_format: Any) -> float | None:
    """`min_visible` as a float; it needs the format of the boxes."""
    if bounding_box_format is not None:
        check_choice("bounding_box_format", bounding_box_format, _BOX_FORMATS)
    if min_visible is None:
        return None
    check_probability("min_visible", min_visible)
    if bounding_box_format is None:
        raise ValueError(
            "`bounding_box_format` must be given with `min_visible`, such as 'xyxy'. "
            f"Received: min_visible={min_visible!r}, bounding_box_format=None"
        )
    return float(min_visible)


def check_images(rule: Rule, images: Any) -> None:
    """Raises a ValueError where a rule does not suit these images."""
    shape = images.shape
    if shape is None or len(shape) not in (3, 4):
        raise ValueError(
            "`inputs` must be images of shape (batch, height, width, channels) or "
            f"(height, width, channels). Received: shape={shape and tuple(shape)}"
        )
    if rule.data_format == "channels_last":
        height, width, channels = shape[-3:]
    else:
        channels, height, width = shape[-3:]
    check_fit(rule, height, width)
    fill = rule.fill
    if isinstance(fill, tuple) and channels is not None and len(fill) != channels:
        raise ValueError(
            f"`fill` must have one number for each of the {channels} channels of "
            f"`inputs`. Received: fill={fill!r}"
        )
    dtype = keras.backend.standardize_dtype(images.dtype)
    check_dtype(fill, rule.value_range, dtype)


def check_fit(rule: Rule, height: int | None, width: int | None) -> None:
    """Raises a ValueError where a patch is larger than images of this size."""
    argument = "size" if rule.max_size is None else "max_size"
    largest = rule.max_size or rule.size
    for name, length, extent in zip(
        ("height", "width"), largest, (height, width), strict=True
    ):
        if not length.is_share and extent is not None and length.value > extent:
            raise ValueError(
                f"`{argument}` must not be larger than the images, of {name} {extent}. "
                f"Received: {argument}={length.value:g}"
            )


def check_dtype(
    fill: Any, value_range: Any, dtype: str, argument: str = "fill"
) -> None:
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
                f"`{argument}` must be integers from {limits.min} to {limits.max} for "
                f"images of dtype {dtype}. Received: {argument}={fill!r}"
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
