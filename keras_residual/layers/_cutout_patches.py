"""Where Cutout erases, and with what: pure functions of a seed, on any array library.

The random numbers are a hash of the seed, the number of the call and the number of the
draw, in 32-bit integers. `keras.random` gives other numbers on each backend, and none
inside `tf.data` under JAX and PyTorch; this gives the same patches everywhere.

`ops` is a namespace of array functions with the signatures of `keras.ops`.
"""

from typing import Any, NamedTuple

import numpy as np


class Length(NamedTuple):
    """Height or width of a patch. As bare numbers 1 and 1.0 would be equal."""

    value: float
    is_share: bool


class Rule(NamedTuple):
    """The arguments of a `Cutout` layer, hashable."""

    size: tuple[Length, Length]
    max_size: tuple[Length, Length] | None
    is_square: bool
    num_holes: int
    probability: float
    border: str
    fill: float | str | tuple[float, ...]
    value_range: tuple[float, float] | None
    mask_fill: float | None
    min_visible: float | None
    bounding_box_format: str | None
    data_format: str


class Patches(NamedTuple):
    """Borders `(batch, holes)`, int32; they may reach beyond the image."""

    top: Any
    bottom: Any
    left: Any
    right: Any


def patch_lengths(
    ops: Any, size: tuple[Length, Length], height: Any, width: Any
) -> tuple[Any, Any]:
    """Height and width of a patch in pixels, in an image of this height and width."""
    lengths = []
    for length, extent in zip(size, (height, width), strict=True):
        if not length.is_share:
            lengths.append(int(length.value))
        elif isinstance(extent, int):
            lengths.append(max(1, round(length.value * extent)))
        else:
            # In float64, as Python does it where the size is known.
            pixels = ops.round(length.value * ops.cast(extent, "float64"))
            lengths.append(ops.maximum(ops.cast(pixels, "int32"), 1))
    return lengths[0], lengths[1]


def draw_patches(
    ops: Any, rule: Rule, state: Any, count: Any, height: Any, width: Any
) -> Patches:
    """Draws the patches of `count` images.

    Args:
        ops: Array functions.
        rule: What to draw.
        state: Integers `(seed, number of the call)`.
        count: Number of images.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
    """
    holes = rule.num_holes
    # Of each hole a row and a column, of the image whether it is erased, and of each
    # hole a height and a width.
    draws = (2 if rule.max_size is None else 4) * holes + 1
    numbers = _uniform(
        ops, _key(ops, state, 0), ops.arange(count * draws, dtype="int32")
    )
    numbers = ops.reshape(numbers, (count, draws))
    lengths = patch_lengths(ops, rule.size, height, width)
    if rule.max_size is not None:
        largest = patch_lengths(ops, rule.max_size, height, width)
        lengths = _draw_lengths(
            ops, rule, lengths, largest, numbers[:, 2 * holes + 1 :]
        )
    erased = numbers[:, 2 * holes : 2 * holes + 1] < rule.probability
    borders = []
    for axis, (extent, length) in enumerate(zip((height, width), lengths, strict=True)):
        choices = extent if rule.border == "clip" else extent - length + 1
        position = numbers[:, axis * holes : (axis + 1) * holes]
        start = ops.floor(position * ops.cast(choices, "float32"))
        start = ops.cast(start, "int32")
        if rule.border == "clip":
            start = start - length // 2
        # Without a patch, one of no extent.
        borders += [start, start + length * ops.cast(erased, "int32")]
    return Patches(*borders)


def _draw_lengths(
    ops: Any, rule: Rule, smallest: Any, largest: Any, numbers: Any
) -> tuple[Any, Any]:
    """Heights and widths `(batch, holes)`, whole pixels between the two inclusive."""
    holes = rule.num_holes
    # The same number for both makes the patches square.
    of_axis = (
        numbers[:, :holes],
        numbers[:, :holes] if rule.is_square else numbers[:, holes:],
    )
    height, width = (
        low + ops.cast(ops.floor(number * ops.cast(high - low + 1, "float32")), "int32")
        for low, high, number in zip(smallest, largest, of_axis, strict=True)
    )
    return height, width


def erase_mask(ops: Any, rule: Rule, patches: Patches, shape: tuple) -> Any:
    """Which values of images `shape` the patches cover, as a boolean array."""
    # An outer product over two axes is several times faster than one over three.
    if rule.data_format == "channels_last":
        _, height, width, channels = shape
        row = ops.arange(height, dtype="int32")
        column = ops.arange(width * channels, dtype="int32") // channels
    else:
        _, channels, height, width = shape
        row = ops.arange(channels * height, dtype="int32") % height
        column = ops.arange(width, dtype="int32")
    mask = None
    for hole in range(rule.num_holes):
        top, bottom, left, right = (b[:, hole : hole + 1] for b in patches)
        rows = (row >= top) & (row < bottom)
        columns = (column >= left) & (column < right)
        covered = rows[:, :, None] & columns[:, None, :]
        mask = covered if mask is None else mask | covered
    return ops.reshape(mask, shape)


def fill_values(ops: Any, rule: Rule, state: Any, images: Any, dtype: str) -> Any:
    """What the patches are filled with, to be broadcast over the images."""
    is_integer = "int" in dtype
    last = rule.data_format == "channels_last"
    if isinstance(rule.fill, tuple):
        values = np.reshape(rule.fill, (1, 1, 1, -1) if last else (1, -1, 1, 1))
        return ops.cast(values, dtype)
    if rule.fill == "mean":
        axes = (1, 2) if last else (2, 3)
        values = ops.mean(ops.cast(images, "float32"), axis=axes, keepdims=True)
    elif rule.fill == "noise":
        return _noise(ops, rule, state, ops.shape(images), dtype)
    else:
        return ops.cast(rule.fill, dtype)
    return ops.cast(ops.round(values) if is_integer else values, dtype)


def noise_at(ops: Any, rule: Rule, state: Any, index: Any, dtype: str) -> Any:
    """Uniform noise over the value range, for the values with these numbers."""
    low, high = rule.value_range or (0, 255)
    numbers = _uniform(ops, _key(ops, state, 1), index)
    if "int" in dtype:
        return ops.cast(ops.floor(low + numbers * (high - low + 1)), dtype)
    return ops.cast(low + numbers * (high - low), dtype)


def noise_index(ops: Any, rule: Rule, shape: tuple) -> Any:
    """Numbers the values of one patch in each image.

    Args:
        ops: Array functions.
        rule: What to erase.
        shape: Shape of the images.
    """
    sides = list(shape)
    axis = 1 if rule.data_format == "channels_last" else 2
    largest = rule.max_size or rule.size
    sides[axis : axis + 2] = patch_lengths(ops, largest, *shape[axis : axis + 2])
    size = sides[0] * sides[1] * sides[2] * sides[3]
    return ops.reshape(ops.arange(size, dtype="int32"), tuple(sides))


def _noise(ops: Any, rule: Rule, state: Any, shape: tuple, dtype: str) -> Any:
    index = noise_index(ops, rule, shape)
    # Random numbers cost more than all else, so that images are tiled with those of one
    # patch: wherever it lies, a patch holds each of them once.
    values = noise_at(ops, rule, state, index, dtype)
    extents = zip(shape[1:], ops.shape(values)[1:], strict=True)
    values = ops.tile(values, [1, *(-(-extent // side) for extent, side in extents)])
    return values[:, : shape[1], : shape[2], : shape[3]]


def coverage(rule: Rule, height: int, width: int) -> np.ndarray:
    """The probability `(height, width)` that a pixel is erased."""
    smallest = patch_lengths(np, rule.size, height, width)
    largest = patch_lengths(np, rule.max_size or rule.size, height, width)
    # One row of each matrix for each length that may be drawn.
    rows, columns = (
        np.stack([_axis_coverage(n, extent, rule.border) for n in range(low, high + 1)])
        for low, high, extent in zip(smallest, largest, (height, width), strict=True)
    )
    joint = _joint_probability(len(rows), len(columns), rule.is_square)
    one_hole = rows.T @ joint @ columns
    return rule.probability * (1 - (1 - one_hole) ** rule.num_holes)


def _joint_probability(heights: int, widths: int, is_square: bool) -> np.ndarray:
    """The probability `(heights, widths)` that both lengths are drawn together."""
    if not is_square:
        return np.full((heights, widths), 1 / (heights * widths))
    # Both are drawn by one number: where it gives this height and this width.
    row, column = np.arange(heights)[:, None] / heights, np.arange(widths) / widths
    end = np.minimum(row + 1 / heights, column + 1 / widths)
    return np.maximum(end - np.maximum(row, column), 0)


def _axis_coverage(length: int, extent: int, border: str) -> np.ndarray:
    """The share of all patch positions that cover each pixel of one axis."""
    pixel = np.arange(extent)
    # The first pixel of a patch is one of these.
    first, last = 0, extent - length
    if border == "clip":
        first, last = -(length // 2), extent - 1 - length // 2
    covering = np.minimum(pixel, last) - np.maximum(pixel - length + 1, first) + 1
    return covering / (last - first + 1)


def _key(ops: Any, state: Any, purpose: int) -> Any:
    """A number for each seed, call and purpose, as an array of one."""
    state = ops.cast(state, "int32")
    # Multiples of the golden ratio keep the calls of neighbouring seeds apart.
    return _mix(ops, state[:1] * -1640531527 + state[1:] * 2 + purpose)


def _uniform(ops: Any, key: Any, index: Any) -> Any:
    """Float32 numbers in [0, 1), one for each index."""
    bits = _mix(ops, key ^ _mix(ops, index))
    # 24 bits are what a float32 holds: none is rounded up to 1.
    bits = ops.right_shift(bits, 8) & 0xFFFFFF
    return ops.cast(bits, "float32") * 2.0**-24


def _mix(ops: Any, x: Any) -> Any:
    """The finalizer of MurmurHash3 (Austin Appleby, public domain), in int32."""
    # The masks make the shifts of signed numbers logical ones.
    x = x ^ (ops.right_shift(x, 16) & 0xFFFF)
    x = x * -2048144789
    x = x ^ (ops.right_shift(x, 13) & 0x7FFFF)
    x = x * -1028477387
    return x ^ (ops.right_shift(x, 16) & 0xFFFF)
