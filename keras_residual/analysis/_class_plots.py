"""Figures of confused classes, and of the images a classifier is most wrong about."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from keras_residual.analysis._axes import axes, finish
from keras_residual.analysis._image_plots import draw_photos
from keras_residual.analysis.most_wrong import most_wrong as find_most_wrong

# With more classes the numbers in the cells could not be read.
_MOST_NUMBERS = 20
# Letters below a square of a report's panel.
_MOST_LETTERS = 36


def confusion_matrix(
    matrix: ArrayLike, class_names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draws a confusion matrix, each row as shares of its class.

    Args:
        matrix: Counts `(classes, classes)`, true classes along the rows, as
            `analysis.confusion_matrix` returns them.
        class_names: One name per class.
        ax: Axes to draw on; a new figure by default.

    Returns:
        The axes. Colours are shares of the true class. Numbers, for up to 20 classes,
        count images. A class without images has an empty row.

    Raises:
        ValueError: If a shape or a value is wrong.

    Example:
        ```python
        from keras_residual.analysis import plots

        ax = plots.confusion_matrix([[9, 1], [3, 7]], ["cat", "dog"])
        ```
    """
    counts = np.asarray(matrix)
    classes = len(class_names)
    if (
        counts.shape != (classes, classes)
        or counts.dtype.kind not in "iu"
        or (counts < 0).any()
        or counts.sum() == 0
    ):
        raise ValueError(
            "`matrix` must be counts of the shape (classes, classes), here "
            f"{(classes, classes)}, not all zero. Received: shape {counts.shape}, "
            f"dtype {counts.dtype}"
        )
    ax = axes(ax)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.ma.masked_array(
        counts / np.maximum(totals, 1), np.broadcast_to(totals == 0, counts.shape)
    )
    mesh = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ax.figure.colorbar(mesh, ax=ax, label="share of the true class", pad=0.02)
    if classes <= _MOST_NUMBERS:
        for row, column in np.ndindex(counts.shape):
            if totals[row]:
                ax.text(
                    column,
                    row,
                    str(counts[row, column]),
                    color="white" if shares[row, column] > 0.5 else "black",
                    ha="center",
                    va="center",
                    fontsize=9,
                )
    names = list(map(str, class_names))
    # More labels than this run into each other.
    step = -(-classes // 40)
    places = range(0, classes, step)
    # Short names of few classes need no turning.
    turned = classes * max(map(len, names)) > _MOST_LETTERS
    ax.set_xticks(
        places,
        names[::step],
        rotation=45 if turned else 0,
        ha="right" if turned else "center",
    )
    ax.set_yticks(places, names[::step])
    right, total = int(np.trace(counts)), int(counts.sum())
    return finish(
        ax,
        xlabel="predicted class",
        ylabel="true class",
        title=f"{right} of {total} right ({100 * right / total:.1f} %)",
        note="number: images; colour: their share of the true class",
        grid=False,
    )


def most_wrong(
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    ax: Axes | None = None,
    *,
    number: int = 9,
) -> Axes:
    """Draws wrongly classified images, least probable true class first.

    Args:
        images: Images, `(n, height, width, 3)`, values 0 to 255.
        labels: The true classes, integers of shape `(n,)`.
        probabilities: What the model predicts, `(n, classes)`.
        class_names: One name per class.
        ax: Axes to draw on; a new figure by default.
        number: Positive integer of at most 32. How many images to draw, if that many
            are wrong.

    Returns:
        The axes. Under each image are the predicted class with its probability, and the
        true class.

    Raises:
        ValueError: If a shape or a value is wrong, or no image is wrong.

    Example:
        ```python
        from keras_residual.analysis import plots
        from keras_residual.datasets import shape_texture_images

        images, labels = shape_texture_images(6, num_classes=2)
        ax = plots.most_wrong(
            images,
            labels,
            probabilities=[[p, 1 - p] for p in (0.9, 0.8, 0.7, 0.9, 0.8, 0.7)],
            class_names=["plain disc", "striped"],
        )
        ```
    """
    chosen = find_most_wrong(labels, probabilities, number)
    if not len(chosen):
        raise ValueError(
            "`probabilities` must be wrong for at least one image. "
            f"Received: {len(np.asarray(labels))} images, all classified right"
        )
    return draw_photos(
        np.asarray(images)[chosen],
        np.asarray(labels)[chosen],
        np.asarray(probabilities)[chosen],
        class_names,
        ax,
        "Wrong with the least probability for the true class",
    )
