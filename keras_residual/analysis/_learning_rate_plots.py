"""The figure of a learning-rate range test."""

from typing import Any

from matplotlib.axes import Axes

from keras_residual.analysis._axes import BLUE, VERMILLION, axes, finish


def learning_rate_range(found: Any, ax: Axes | None = None) -> Axes:
    """Draws the loss against the growing learning rate, and the suggested rate.

    Args:
        found: What `TransferModel.find_learning_rate` returned.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. They end a little above the loss of the first steps, so that losses
        after divergence do not flatten the curve.

    Raises:
        ValueError: If no loss was measured.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_residual import TransferModel
        from keras_residual.analysis import plots

        # Stands for a pretrained network.
        backbone = keras.Sequential([
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3),
        ])
        model = TransferModel(backbone, num_classes=2, preprocessing="tf")
        model.compile("adam", "sparse_categorical_crossentropy")
        images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3))
        found = model.find_learning_rate(images, np.arange(16) % 2, steps=20)
        ax = plots.learning_rate_range(found)
        ```
    """
    if not len(found.losses):
        raise ValueError(
            "`found` must hold losses: training diverged at the first step. "
            "Received: found without a finite loss"
        )
    ax = axes(ax)
    ax.set_xscale("log")
    title = "The loss falls at no learning rate"
    ax.plot(found.rates, found.losses, color="0.6", linewidth=0.8, label="of a batch")
    ax.plot(
        found.rates, found.smoothed_losses, color=BLUE, linewidth=2, label="smoothed"
    )
    if found.suggestion is not None:
        title = f"The loss falls fastest at a learning rate of {found.suggestion:.2g}"
        ax.axvline(
            found.suggestion,
            color=VERMILLION,
            linestyle="--",
            label=f"suggestion: {found.suggestion:.2g}",
        )
    settled = found.losses[: max(10, len(found.losses) // 2)]
    low, high = found.losses.min(), max(settled.max(), found.smoothed_losses[0])
    margin = 0.1 * (high - low) or 0.1
    ax.set_ylim(low - margin, high + 3 * margin)
    return finish(
        ax,
        xlabel="learning rate",
        ylabel="training loss (mean per image)",
        title=title,
        note="one step at each rate, from left to right; suggestion: where the "
        "smoothed loss falls fastest, before it rises again",
    )
