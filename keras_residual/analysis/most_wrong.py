"""The images that a classifier is most wrong about."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_residual.analysis._predictions import checked_predictions
from keras_residual.layers._checks import check_positive_integer


def most_wrong(
    labels: ArrayLike, probabilities: ArrayLike, number: int = 9
) -> NDArray[np.int64]:
    """Finds wrongly classified images, those with the largest cross-entropy first.

    Look at them: a label may be wrong, or a photo may show two things.

    Args:
        labels: The true classes, integers of shape `(n,)`.
        probabilities: What the model predicts, `(n, classes)`, values from 0 to 1.
        number: Positive integer. How many images to return, if that many are wrong.

    Returns:
        Positions of images, the most wrong one first: `images[most_wrong(...)]`. The
        figure `plots.most_wrong` draws them.

    Raises:
        ValueError: If a shape or a value is wrong.

    Example:
        ```python
        from keras_residual.analysis import most_wrong

        probabilities = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]
        print(most_wrong([1, 1, 1], probabilities))  # [0 1]
        ```
    """
    check_positive_integer("number", number)
    true, predicted = checked_predictions(labels, probabilities)
    wrong = np.flatnonzero(predicted.argmax(axis=1) != true)
    order = np.argsort(predicted[wrong, true[wrong]], kind="stable")
    return wrong[order[:number]]
