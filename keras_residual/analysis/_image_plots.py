"""Figures made of images: photos with predictions, and feature maps."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from keras_residual.analysis._axes import VERMILLION, axes, finish
from keras_residual.analysis._predictions import checked_predictions, shape_and_values

_MOST_PHOTOS = 32
_MOST_LETTERS = 11  # of a class name, so that it fits under its photo


def photo_grid(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    ax: Axes | None = None,
) -> Axes:
    """Draws photos with the predicted classes, the wrong ones marked.

    Args:
        images: 1 to 32 images, `(n, height, width, 3)`, values 0 to 255.
        labels: The true classes, integers of shape `(n,)`.
        probabilities: What the model predicts, `(n, classes)`.
        class_names: One name per class.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. Under each photo are the most probable class and its probability. If
        it is wrong, the photo has a thick frame, and a cross with the true class.

    Raises:
        ValueError: If a shape, a value or the number of photos is wrong.

    Example:
        ```python
        from keras_residual.analysis import plots
        from keras_residual.datasets import shape_texture_images

        images, labels = shape_texture_images(6, num_classes=2)
        ax = plots.photo_grid(
            images,
            labels,
            probabilities=[[0.9, 0.1]] * 6,
            class_names=["plain disc", "striped"],
        )
        ```
    """
    return draw_photos(images, labels, probabilities, class_names, ax)


def draw_photos(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    ax: Axes | None,
    title: str = "",
) -> Axes:
    """What `photo_grid` draws, with the title if there is one."""
    photos = np.asarray(images)
    if photos.ndim != 4 or photos.shape[3] != 3 or not _are_pixels(photos):
        raise ValueError(
            "`images` must have the shape (n, height, width, 3) and values from 0 to "
            f"255. Received: {shape_and_values(photos)}"
        )
    number = len(photos)
    if not 1 <= number <= _MOST_PHOTOS:
        raise ValueError(
            f"`images` must be 1 to {_MOST_PHOTOS} photos, so that each is visible. "
            f"Received: {number}"
        )
    shape = (number, len(class_names))
    true, predicted = checked_predictions(labels, probabilities, shape)

    ax = axes(ax)
    names = [
        name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
        for name in map(str, class_names)
    ]
    height, width = photos.shape[1:3]
    # Distances of photos, with room for the text of a narrow one and for two lines.
    across, down = 1.3 * max(width, height), 1.48 * height
    columns = columns_of_tiles(number, across, down)
    for place, (photo, label, row) in enumerate(
        zip(photos, true, predicted, strict=True)
    ):
        x, y = place % columns * across, place // columns * down
        box = (x, x + width, y + height, y)
        ax.imshow(photo.astype(np.uint8), extent=box, interpolation="nearest")
        best = int(row.argmax())
        # 100 % only if it is certain.
        percent = min(round(100 * row[best]), 100 if row[best] == 1 else 99)
        text = f"{names[best]} {percent} %"
        if best != label:
            text += f"\n✗ {names[label]}"
            ax.add_patch(
                Rectangle(
                    (x, y), width, height, fill=False, color=VERMILLION, linewidth=4
                )
            )
        ax.text(
            x + width / 2, y + 1.04 * height, text, fontsize=9, va="top", ha="center"
        )
    rows = math.ceil(number / columns)
    edge = (across - width) / 2
    ax.set_xlim(-edge, columns * across - edge)
    ax.set_ylim(rows * down, -0.06 * height)
    wrong = int((predicted.argmax(1) != true).sum())
    return without_scales(
        ax,
        title=title or f"{number - wrong} of {number} right",
        note=f"predicted class and its probability; frame and ✗: wrong, with the true "
        f"class ({wrong} of {number} here)",
    )


def feature_maps(maps: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draws the feature maps of one image as grey tiles, each scaled by itself.

    Args:
        maps: What a layer outputs for one image, `(channels, height, width)`.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. Channels run from left to right, then down.

    Raises:
        ValueError: If the shape is wrong, or a value is not finite.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import plots

        rows, columns = np.mgrid[:16, :16]
        ax = plots.feature_maps(np.stack([rows, columns, rows + columns, rows * 0]))
        ```
    """
    array = np.asarray(maps, dtype=np.float64)
    if array.ndim != 3 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(
            "`maps` must have the shape (channels, height, width) and finite values. "
            f"Received: {shape_and_values(array)}"
        )
    ax = axes(ax)
    number, height, width = array.shape
    tiles, flat = scaled_by_itself(array)
    canvas = tiled(tiles, max(1, round(0.05 * max(height, width))), np.nan)
    ax.imshow(np.ma.masked_invalid(canvas), cmap="gray", vmin=0, vmax=1)
    note = (
        f"{number} channel{'' if number == 1 else 's'} of {height} x {width}, each "
        "scaled by itself: black its smallest value, white its largest"
    )
    if flat.any():
        note += f"; all black: the same value everywhere ({flat.sum()} of {number})"
    return without_scales(ax, title="Feature maps", note=note)


def scaled_by_itself(maps: NDArray) -> tuple[NDArray, NDArray]:
    """Each map from 0 to 1, and which of them are the same value everywhere."""
    axes = tuple(range(1, maps.ndim))
    low = maps.min(axes, keepdims=True)
    spread = maps.max(axes, keepdims=True) - low
    scaled = np.where(spread > 0, (maps - low) / np.where(spread > 0, spread, 1), 0.0)
    return scaled, spread.ravel() == 0


def tiled(tiles: NDArray, gap: int, background: float) -> NDArray:
    """Images `(n, height, width, ...)` from left to right, then down."""
    number, height, width, *channels = tiles.shape
    columns = columns_of_tiles(number, width, height)
    rows = math.ceil(number / columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *channels)
    canvas = np.full(shape, background, tiles.dtype)
    for place, tile in enumerate(tiles):
        y, x = place // columns * (height + gap), place % columns * (width + gap)
        canvas[y : y + height, x : x + width] = tile
    return canvas


def columns_of_tiles(number: int, width: float, height: float) -> int:
    """How many tiles side by side fill axes that are 1.8 times as wide as high."""
    return min(number, max(1, math.ceil(math.sqrt(1.8 * number * height / width))))


def without_scales(ax: Axes, title: str, note: str) -> Axes:
    finish(ax, xlabel="", ylabel="", title=title, note=note, grid=False)
    ax.set_aspect("equal")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    return ax


def _are_pixels(images: NDArray) -> bool:
    return images.dtype.kind in "iuf" and bool(((images >= 0) & (images <= 255)).all())
