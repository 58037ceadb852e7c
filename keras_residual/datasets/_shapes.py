"""Shapes and textures: pure functions of pixel coordinates, for generated images.

Shapes are implicit functions of the coordinates `x`, `y` around the object's centre in
units of its radius: negative inside, and close to the distance from the outline near
it. Each lies within the unit disc. Textures are functions of the coordinates in units
of their period, from 0 (first colour) to 1 (second colour).
"""

from collections.abc import Callable

import numpy as np

Field = np.ndarray
Function = Callable[[Field, Field], Field]


def _box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _spikes(x: Field, y: Field, number: int, inner: float) -> Field:
    """A star with its tips on the unit circle and its notches at the radius `inner`."""
    sector = np.float32(np.pi / number)
    # All edges fall onto one when the angle is folded at tips and notches.
    angle = np.abs((np.arctan2(y, x) + sector) % (2 * sector) - sector)
    radius = np.hypot(x, y)
    along = inner * np.array([np.cos(sector), np.sin(sector)]) - [1, 0]
    normal = (np.array([along[1], -along[0]]) / np.hypot(*along)).astype(np.float32)
    return (radius * np.cos(angle) - 1) * normal[0] + radius * np.sin(angle) * normal[1]


def _crescent(x: Field, y: Field) -> Field:
    bite = np.hypot(x - np.float32(0.55), y) - np.float32(0.7)
    return np.maximum(np.hypot(x, y) - np.float32(0.98), -bite)


def _half_disc(x: Field, y: Field) -> Field:
    # Moved, so that its middle and not that of the whole disc is the centre.
    moved = x + np.float32(0.4)
    return np.maximum(np.hypot(moved, y) - np.float32(0.9), -moved)


def _corner(x: Field, y: Field) -> Field:
    legs = (
        _box(x + np.float32(0.4), y, 0.28, 0.7),
        _box(x, y - np.float32(0.42), 0.68, 0.28),
    )
    return np.minimum(*legs)


def _dots(u: Field, v: Field) -> Field:
    from_centre = np.hypot(u - np.round(u), v - np.round(v))
    return np.clip((np.float32(0.34) - from_centre) * 6 + np.float32(0.5), 0, 1)


def _wave(cycles: Field) -> Field:
    return np.sin(np.float32(2 * np.pi) * cycles)


def _sharpened(wave: Field) -> Field:
    return np.clip(np.float32(0.5) + np.float32(1.5) * wave, 0, 1)


SHAPES: dict[str, Function] = {
    "disc": lambda x, y: np.hypot(x, y) - np.float32(0.95),
    "square": lambda x, y: _box(x, y, 0.7, 0.7),
    "triangle": lambda x, y: _spikes(x, y, 3, 0.5),
    "ring": lambda x, y: np.abs(np.hypot(x, y) - np.float32(0.72)) - np.float32(0.27),
    "cross": lambda x, y: np.minimum(_box(x, y, 0.95, 0.3), _box(x, y, 0.3, 0.95)),
    "star": lambda x, y: _spikes(x, y, 5, 0.45),
    "bar": lambda x, y: _box(x, y, 0.93, 0.36),
    "crescent": _crescent,
    "half disc": _half_disc,
    "corner": _corner,
}
TEXTURES: dict[str, Function] = {
    "plain": lambda u, v: np.zeros_like(u),
    "stripes": lambda u, v: _sharpened(_wave(u)),
    "checks": lambda u, v: _sharpened(_wave(u / 2) * _wave(v / 2)),
    "dots": _dots,
    "waves": lambda u, v: _sharpened(_wave(u + _wave(v / 2) / 3)),
}


def draw(
    generator: np.random.Generator, labels: np.ndarray, image_size: int
) -> np.ndarray:
    """One image per label; the label counts through the textures of each shape."""
    count = len(labels)
    shapes, textures = np.divmod(labels, len(TEXTURES))
    others = generator.integers(1, len(TEXTURES), count)
    backgrounds = (textures + others) % len(TEXTURES)

    radius = image_size * generator.uniform(0.26, 0.42, count)
    centre = radius + (image_size - 2 * radius) * generator.random((2, count))
    mask = np.empty((count, image_size, image_size), np.float32)
    x, y = _coordinates(generator, image_size, centre)
    x, y = (field / _column(radius) for field in (x, y))
    for number, shape in enumerate(SHAPES.values()):
        of_shape = shapes == number
        outside = shape(x[of_shape], y[of_shape]) * _column(radius[of_shape])
        mask[of_shape] = np.clip(0.5 - outside, 0, 1)  # antialiased over one pixel

    front = _textured(generator, textures, image_size, (0.10, 0.15))
    behind = _textured(generator, backgrounds, image_size, (0.12, 0.25))
    first, second, base = _colours(generator, count)
    # The background's two colours are close, so that every object stands out.
    nearby = base + generator.uniform(-0.12, 0.12, base.shape).astype(np.float32)
    background = _mixed(base, nearby, behind)
    images = background + mask[..., np.newaxis] * (
        _mixed(first, second, front) - background
    )
    images += 0.04 * generator.standard_normal(images.shape, dtype=np.float32)
    return (255 * np.clip(images, 0, 1) + 0.5).astype(np.uint8)


def _textured(
    generator: np.random.Generator,
    textures: np.ndarray,
    image_size: int,
    periods: tuple[float, float],
) -> np.ndarray:
    """Each image's texture, turned, moved and scaled at random."""
    count = len(textures)
    period = image_size * generator.uniform(*periods, count)
    u, v = _coordinates(
        generator, image_size, image_size * generator.random((2, count))
    )
    u, v = (field / _column(period) for field in (u, v))
    result = np.empty_like(u)
    for number, texture in enumerate(TEXTURES.values()):
        of_texture = textures == number
        result[of_texture] = texture(u[of_texture], v[of_texture])
    return result


def _coordinates(
    generator: np.random.Generator, image_size: int, centre: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from a centre, along axes that are turned at random."""
    angle = 2 * np.pi * generator.random(centre.shape[1])
    cosine, sine = _column(np.cos(angle)), _column(np.sin(angle))
    pixels = np.arange(image_size, dtype=np.float32) + np.float32(0.5)
    columns = pixels - _column(centre[0])
    rows = pixels[:, np.newaxis] - _column(centre[1])
    return columns * cosine + rows * sine, rows * cosine - columns * sine


def _colours(generator: np.random.Generator, count: int) -> np.ndarray:
    """Three colours for each image: a dark, a middle and a light one, in any order."""
    levels = np.tile([[0.18, 0.5, 0.82]], (count, 1))
    levels = generator.permuted(levels, axis=1).T[..., np.newaxis]
    shades = generator.uniform(-0.18, 0.18, (3, count, 3))
    shades -= shades.mean(-1, keepdims=True)  # the tone differs, not the brightness
    return (levels + shades).astype(np.float32)


def _mixed(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    start, end = (colour[:, np.newaxis, np.newaxis] for colour in (first, second))
    return start + share[..., np.newaxis] * (end - start)


def _column(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float32)[:, np.newaxis, np.newaxis]
