"""Which classes a classifier confuses."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_residual.layers._checks import check_positive_integer


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int | None = None
) -> NDArray[np.int64]:
    """Counts how many images of each class were predicted as each class.

    Args:
        labels: The true classes, integers of shape `(n,)`.
        predictions: The predicted classes, integers of shape `(n,)`, or the outputs of
            a model, `(n, classes)`, whose largest value counts.
        num_classes: Positive integer. Number of classes. None: that of `(n, classes)`,
            or one more than the largest class that occurs.

    Returns:
        Counts `(classes, classes)`, int64: true classes along the rows, predicted ones
        along the columns, for the figure `plots.confusion_matrix`. Correct predictions
        are on the diagonal.

    Raises:
        ValueError: If a shape or a class is wrong, or `num_classes` is too small.

    Example:
        ```python
        from keras_residual.analysis import confusion_matrix

        print(confusion_matrix(labels=[0, 0, 1], predictions=[0, 1, 1]))
        # [[1 1]
        #  [0 1]]
        ```
    """
    predicted = np.asarray(predictions)
    if predicted.ndim == 2:
        if num_classes is None:
            num_classes = predicted.shape[1]
        predicted = predicted.argmax(axis=1)
    true = np.asarray(labels)
    for name, array in (("labels", true), ("predictions", predicted)):
        if array.ndim != 1 or array.dtype.kind not in "iu" or (array < 0).any():
            raise ValueError(
                f"`{name}` must be integers of 0 or more, of shape (n,). "
                f"Received: shape {array.shape}, dtype {array.dtype}"
            )
    if len(true) != len(predicted) or len(true) == 0:
        raise ValueError(
            "`labels` and `predictions` must be of the same images, at least one. "
            f"Received: {len(true)} and {len(predicted)}"
        )
    largest = int(max(true.max(), predicted.max()))
    if num_classes is None:
        num_classes = largest + 1
    check_positive_integer("num_classes", num_classes)
    if largest >= num_classes:
        raise ValueError(
            f"`num_classes` must be more than the largest class, {largest}. "
            f"Received: num_classes={num_classes!r}"
        )
    places = true.astype("int64") * num_classes + predicted
    counts = np.bincount(places, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)
