"""Figures of loss landscapes: a line, contours and a surface."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from numpy.typing import NDArray

from keras_residual.analysis._axes import axes, finish
from keras_residual.analysis.loss_landscape import LossLandscape

_LEVELS = 16
# From this ratio of the largest to the smallest loss on, levels grow by a factor.
_LOG_FROM = 30.0
_ALONG = "distance along the first direction (filter norms)"
_ACROSS = "distance along the second direction (filter norms)"


def loss_landscape(
    landscape: LossLandscape,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draws the loss around a network: a line, or contours for two directions.

    Args:
        landscape: What `analysis.loss_landscape` returns.
        ax: Axes to draw on; a new figure by default.
        limits: Lowest and highest loss of the axis or the colours. Colours of two
            networks are comparable only with the same limits. None: the range of the
            finite losses.

    Returns:
        The axes. The cross is the network itself. The scale is logarithmic if losses
        differ by a factor of more than 30. White areas are above the limits or not
        finite.

    Raises:
        ValueError: If the landscape has no finite loss, or `limits` are not two
            ascending numbers.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import LossLandscape, plots

        at = np.linspace(-1, 1, 5)
        bowl = LossLandscape(at[:, None] ** 2 + at**2, at)
        ax = plots.loss_landscape(bowl)
        ```
    """
    low, high = _limits(landscape, limits)
    ax = axes(ax)
    title = f"Loss around the network ({landscape.centre:.3g} in the middle)"
    if landscape.losses.ndim == 1:
        ax.plot(landscape.distances, landscape.losses, color="#0072B2", marker=".")
        ax.plot(0, landscape.centre, "+", color="black", markersize=12)
        ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        if low > 0 and high / low > _LOG_FROM:
            ax.set_yscale("log")
            ax.set_ylim(low / 1.2, high * 1.2)
        return finish(
            ax,
            xlabel="distance along the direction (filter norms)",
            ylabel="loss",
            title=title,
            note="random direction, each filter scaled to the norm of the network's",
        )
    levels, norm = _levels(low, high)
    # The first direction runs along the rows: they are the horizontal axis.
    losses = np.ma.masked_invalid(landscape.losses.T)
    at = landscape.distances
    filled = ax.contourf(at, at, losses, levels, norm=norm, cmap="viridis")
    ax.contour(at, at, losses, levels, colors="black", linewidths=0.4, alpha=0.6)
    ax.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=2)
    ax.figure.colorbar(filled, ax=ax, label="loss", pad=0.02, format="%.3g")
    ax.set_aspect("equal")
    ax.locator_params(nbins=5)
    return finish(
        ax,
        xlabel=_ALONG,
        ylabel=_ACROSS,
        title=title,
        note="random directions, each filter scaled to the norm of the network's",
        grid=False,
    )


def loss_surface(
    landscape: LossLandscape,
    ax: Axes | None = None,
    *,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draws the loss around a network as a surface over two directions.

    Args:
        landscape: What `analysis.loss_landscape` returns for two dimensions.
        ax: Axes with `projection="3d"`; a new figure by default.
        limits: Lowest and highest loss of the vertical axis; losses above are cut off.
            None: the range of the finite losses.

    Returns:
        The axes. The vertical axis is linear, or logarithmic (exponents of ten on its
        ticks) if losses differ by a factor of more than 30.

    Raises:
        ValueError: If the landscape is a line or has no finite loss, `limits` are not
            two ascending numbers, or the axes are not three-dimensional.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import LossLandscape, plots

        at = np.linspace(-1, 1, 5)
        bowl = LossLandscape(at[:, None] ** 2 + at**2, at)
        ax = plots.loss_surface(bowl)
        ```
    """
    if landscape.losses.ndim != 2:
        raise ValueError(
            "`landscape` must have two dimensions. "
            f"Received: losses of shape {landscape.losses.shape}"
        )
    low, high = _limits(landscape, limits)
    if ax is None:
        figure = plt.figure(figsize=(8, 5), dpi=150)
        solid: Any = figure.add_subplot(projection="3d")
    elif ax.name != "3d":
        raise ValueError(
            '`ax` must be axes with projection="3d". Received: axes with '
            f"projection={ax.name!r}"
        )
    else:
        solid = ax
    losses = np.clip(np.nan_to_num(landscape.losses, nan=high, posinf=high), low, high)
    label = "loss"
    if low > 0 and high / low > _LOG_FROM:
        losses, label = np.log10(losses), "loss (powers of ten)"
    along, across = np.meshgrid(landscape.distances, landscape.distances, indexing="ij")
    solid.plot_surface(
        along, across, losses, cmap="viridis", rstride=1, cstride=1, linewidth=0.1
    )
    solid.locator_params(nbins=5)
    solid.set_xlabel("first direction")
    solid.set_ylabel("second direction")
    solid.set_zlabel(label)
    solid.set_title(
        f"Loss around the network ({landscape.centre:.3g} in the middle)",
        fontweight="bold",
    )
    return solid


def _limits(
    landscape: LossLandscape, limits: tuple[float, float] | None
) -> tuple[float, float]:
    finite = landscape.losses[np.isfinite(landscape.losses)]
    if not finite.size:
        raise ValueError(
            "`landscape` must have a finite loss. Received: none of "
            f"{landscape.losses.size}"
        )
    if limits is None:
        low, high = float(finite.min()), float(finite.max())
        # One colour still needs a scale around it.
        return (low, high) if low < high else (low - 0.5, high + 0.5)
    if not limits[0] < limits[1]:
        raise ValueError(
            "`limits` must be two losses, the lower one first. "
            f"Received: limits={limits!r}"
        )
    return float(limits[0]), float(limits[1])


def _levels(low: float, high: float) -> tuple[NDArray[np.float64], Normalize]:
    if low > 0 and high / low > _LOG_FROM:
        return np.geomspace(low, high, _LEVELS), LogNorm(low, high)
    return np.linspace(low, high, _LEVELS), Normalize(low, high)
