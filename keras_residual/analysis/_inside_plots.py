"""Figures of heat maps, first filters and input gradients of a network."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_residual.analysis._axes import Styles, axes, finish, styled
from keras_residual.analysis._image_plots import (
    scaled_by_itself,
    tiled,
    without_scales,
)
from keras_residual.analysis.input_gradients import InputGradients
from keras_residual.analysis.overlay import overlay

_MOST_PHOTOS = 32


def grad_cam(images: ArrayLike, maps: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draws photos, each with its heat map on the right.

    Args:
        images: 1 to 32 images, `(n, height, width, 3)`, values 0 to 255.
        maps: Heat maps `(n, height, width)`, as `analysis.grad_cam` returns them.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: If a shape, a value or the number of photos is wrong.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import plots
        from keras_residual.datasets import shape_texture_images

        images, _ = shape_texture_images(2, num_classes=2)
        at = np.linspace(-1, 1, 64)
        maps = np.exp(-4 * (at[:, None] ** 2 + at**2)) * np.ones((2, 1, 1))
        ax = plots.grad_cam(images, maps)
        ```
    """
    photos = np.asarray(images)
    covered = overlay(photos, maps)
    if not 1 <= len(photos) <= _MOST_PHOTOS:
        raise ValueError(
            f"`images` must be 1 to {_MOST_PHOTOS} photos, so that each is visible. "
            f"Received: {len(photos)}"
        )
    gap = max(1, round(0.05 * photos.shape[1]))
    pairs = np.concatenate([photos.astype(np.uint8), covered], axis=2)
    canvas = tiled(pairs, gap, 255)
    ax = axes(ax)
    ax.imshow(canvas, interpolation="nearest")
    return without_scales(
        ax,
        title="Where the network looked",
        note="left: the photo; right: the brighter, the more this place speaks for the "
        "class (Grad-CAM)",
    )


def first_filters(filters: ArrayLike, ax: Axes | None = None) -> Axes:
    """Draws the filters of a first convolution as tiles, each scaled by itself.

    Args:
        filters: `(filters, height, width, channels)` with one or three channels, as
            `analysis.first_filters` returns them.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. Filters run from left to right, then down.

    Raises:
        ValueError: If the shape is wrong, or a value is not finite.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import plots

        filters = np.random.default_rng(0).normal(size=(16, 3, 3, 3))
        ax = plots.first_filters(filters)
        ```
    """
    array = np.asarray(filters, dtype=np.float64)
    if (
        array.ndim != 4
        or array.size == 0
        or array.shape[3] not in (1, 3)
        or not np.isfinite(array).all()
    ):
        raise ValueError(
            "`filters` must have the shape (filters, height, width, channels), with "
            "one or three channels, and finite values. "
            f"Received: shape {array.shape}"
        )
    tiles, _ = scaled_by_itself(array)
    tiles = np.broadcast_to(tiles, (*tiles.shape[:3], 3))
    ax = axes(ax)
    ax.imshow(tiled(tiles, 1, 1.0), interpolation="nearest")
    number, height, width = array.shape[:3]
    colours = "red, green and blue" if array.shape[3] == 3 else "grey"
    return without_scales(
        ax,
        title="Filters of the first convolution",
        note=f"{number} filters of {height} x {width}, {colours}, each scaled by "
        "itself from its smallest value to its largest",
    )


def input_gradients(
    gradients: Mapping[str, InputGradients],
    ax: Axes | None = None,
    *,
    styles: Styles = None,
) -> Axes:
    """Draws the similarity of the gradients of two inputs against their distance.

    Args:
        gradients: What `analysis.input_gradients` returns, by the name of the network.
        ax: Axes to draw on; a new figure by default.
        styles: Colour and marker of each network, in the order of drawing.

    Returns:
        The axes, with one line for each network. White noise would be at the dotted
        line, 0.

    Raises:
        ValueError: If `gradients` is empty.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import InputGradients, plots

        at = np.linspace(0, 1, 8)
        ax = plots.input_gradients({
            "plain": InputGradients(np.exp(-9 * at), at),
            "residual": InputGradients(np.exp(-2 * at), at),
        })
        ```
    """
    if not gradients:
        raise ValueError(
            "`gradients` must hold at least one network. Received: gradients={}"
        )
    ax = axes(ax)
    for name, (colour, marker) in styled(gradients, styles).items():
        ax.plot(
            gradients[name].distances,
            gradients[name].correlations,
            color=colour,
            marker=marker,
            markersize=4,
            markevery=max(1, len(gradients[name].distances) // 16),
            label=name,
        )
    ax.axhline(0, color="black", linestyle=":", linewidth=1)
    return finish(
        ax,
        xlabel="distance of the inputs (share of the way between two images)",
        ylabel="cosine between their gradients",
        title="Gradients of neighbouring inputs",
        note="line: mean over pairs of inputs at this distance; dotted: white noise",
    )
