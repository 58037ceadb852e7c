"""Checks of arguments that layers, models, callbacks and datasets have in common."""

import contextlib
import math
import numbers
import operator
from pathlib import Path
from typing import Any

import keras


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


def check_seed(value: Any) -> None:
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < 0:
        raise ValueError(
            f"`seed` must be an integer of 0 or greater. Received: seed={value!r}"
        )


def check_choice(name: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Received: {name}={value!r}"
        )


def checked_data_format(data_format: str | None) -> str:
    """Returns the data format, or that of Keras's settings for None."""
    if data_format is None:
        data_format = keras.config.image_data_format()
    check_choice("data_format", data_format, ("channels_last", "channels_first"))
    return data_format


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


def check_share(name: str, value: Any) -> None:
    if not is_number(value) or not 0 < value <= 1:
        raise ValueError(
            f"`{name}` must be a number in (0, 1]. Received: {name}={value!r}"
        )


def as_path(argument: str, value: Any) -> Path:
    """Returns the value of an argument as a path."""
    try:
        return Path(value)
    except TypeError:
        raise ValueError(
            f"`{argument}` must be a path. Received: {argument}={value!r}"
        ) from None


def check_file(argument: str, value: Any, suffixes: tuple[str, ...]) -> Path:
    """Returns the path of a file to write or to read."""
    path = as_path(argument, value)
    received = f"Received: {argument}={str(path)!r}"
    if path.suffix not in suffixes:
        raise ValueError(
            f"`{argument}` must end in {' or '.join(suffixes)}. {received}"
        )
    if path.is_dir():
        raise ValueError(f"`{argument}` must be a file, not a folder. {received}")
    if not path.parent.is_dir():
        raise ValueError(f"`{argument}` must be in a folder that exists. {received}")
    return path


def check_image_shape(input_shape: Any, data_format: str) -> tuple[int | None, ...]:
    """Returns `input_shape`, of one image, as a tuple; its sides may be None."""
    last = data_format == "channels_last"
    sizes: tuple[int | None, ...] = ()
    # A value that is no shape is reported below, with shapes that do not fit.
    with contextlib.suppress(TypeError, ValueError):
        sizes = tuple(
            None if size is None else check_positive_integer("input_shape", size)
            for size in input_shape
        )
    if len(sizes) != 3 or sizes[-1 if last else 0] is None:
        expected = "(height, width, channels)" if last else "(channels, height, width)"
        raise ValueError(
            f"`input_shape` must be {expected} of positive integers, without the batch "
            "(height and width may be None). "
            f"Received: input_shape={input_shape!r}"
        )
    return sizes


def check_batch_of_images(
    layer: Any, input_shape: Any, known_channels: bool = True
) -> None:
    """Raises unless the inputs of a layer have the shape of a batch of images."""
    shape = tuple(input_shape)
    inputs = f"`inputs` of {type(layer).__name__}"
    if len(shape) != 4:
        raise ValueError(
            f"{inputs} must have rank 4, a batch of images. "
            f"Received: input_shape={shape}"
        )
    last = layer.data_format == "channels_last"
    if known_channels and shape[-1 if last else 1] is None:
        raise ValueError(
            f"{inputs} must have a known number of channels. "
            f"Received: input_shape={shape}, data_format={layer.data_format!r}"
        )


def is_number(value: Any) -> bool:
    """Whether this is a real number; NumPy's count, True does not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
