"""Whether the gradients of neighbouring inputs resemble each other."""

from itertools import pairwise
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_residual._calls import replaced_calls
from keras_residual._functions import with_gradients
from keras_residual._model_loss import tensors
from keras_residual.analysis._layers import logits
from keras_residual.layers._checks import check_positive_integer


class InputGradients(NamedTuple):
    """Similarity of the gradients of two inputs, by the distance between them.

    Attributes:
        correlations: Array `(steps,)`, the mean cosine of the angle between the
            gradients of two inputs: 1 for parallel ones, 0 for unrelated ones.
        distances: Array `(steps,)`, the distance between the inputs, from 0 to 1, as a
            share of the way from one image to the next.

    Example:
        ```python
        from keras_residual.analysis import InputGradients, plots

        found = InputGradients(correlations=[1.0, 0.6], distances=[0.0, 0.1])
        plots.input_gradients({"plain": found})
        ```
    """

    correlations: NDArray[np.float64]
    distances: NDArray[np.float64]


def input_gradients(
    model: keras.Model,
    images: Any,
    steps: int = 64,
    *,
    class_index: int = 0,
    batch_size: int = 64,
) -> InputGradients:
    """Measures how fast gradients change from an input to its neighbours.

    The function takes `steps` inputs on the straight line from each image to the next.
    It computes the gradient of the score of one class, before a last softmax or
    sigmoid, with respect to each input, and compares the gradients of each two inputs
    of a line. In deep plain networks even close neighbours have unrelated gradients,
    which resemble white noise ("shattered gradients"): a step that helps one image need
    not help the next. Shortcuts keep gradients similar.

    The network runs in inference mode and does not change. In a new network, batch
    normalization does nothing in inference, since its moving statistics are 0 and 1:
    compare new networks without it, or trained ones.

    Args:
        model: A `keras.Model` with one output `(batch, classes)`.
        images: At least two images as the model takes them, `(n, ...)`.
        steps: Integer of at least 2, the number of inputs on each line, including both
            images.
        class_index: Integer of 0 or more. The class whose score is differentiated.
        batch_size: Positive integer. Inputs at a time.

    Returns:
        [`InputGradients`][keras_residual.analysis.InputGradients] for the figure
        `plots.input_gradients`. Inputs whose gradient is zero are left out; a distance
        without two others has the correlation NaN.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet
        from keras_residual.analysis import input_gradients

        images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
        model = ResNet(8, num_classes=10, variant="cifar", use_batch_norm=False)
        print(input_gradients(model, images, steps=4).correlations[0])  # 1.0
        ```

    Reference:
        Balduzzi, Frean, Leary, Lewis, Ma and McWilliams, "The Shattered Gradients
        Problem: If resnets are the answer, then what is the question?", ICML 2017.
        <https://arxiv.org/abs/1702.08591>
    """
    if check_positive_integer("steps", steps) < 2:
        raise ValueError(f"`steps` must be at least 2. Received: steps={steps!r}")
    check_positive_integer("batch_size", batch_size)
    images = np.asarray(images, dtype=np.float64)
    if images.ndim < 2 or len(images) < 2:
        raise ValueError(
            "`images` must be at least two images. "
            f"Received: images of shape {images.shape}"
        )
    classes = model.output_shape[-1]
    if isinstance(class_index, bool) or class_index not in range(classes):
        raise ValueError(
            f"`class_index` must be an integer from 0 to {classes - 1}. "
            f"Received: class_index={class_index!r}"
        )

    before_softmax = logits(model)

    def score(inputs: list[Any]) -> Any:
        with keras.StatelessScope(), replaced_calls(before_softmax):
            outputs = model(inputs[0], training=False)
        return ops.sum(ops.cast(outputs[:, class_index], "float32")), ()

    compute = with_gradients(score)
    share = np.linspace(0, 1, steps).reshape(-1, *[1] * (images.ndim - 1))
    cosines = []
    for first, second in pairwise(images):
        line = (1 - share) * first + share * second
        gradients = []
        for start in range(0, steps, batch_size):
            _, _, (gradient,) = compute([tensors(line[start : start + batch_size])])
            gradients.append(ops.convert_to_numpy(gradient))
        rows = np.concatenate(gradients).reshape(steps, -1).astype("float64")
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = np.where(norms > 0, rows / np.where(norms > 0, norms, 1), np.nan)
        cosines.append(rows @ rows.T)
    correlations = np.full(steps, np.nan)
    for lag in range(steps):
        values = np.concatenate([np.diagonal(c, lag) for c in cosines])
        values = values[np.isfinite(values)]
        if values.size:
            correlations[lag] = values.mean()
    return InputGradients(correlations, np.linspace(0, 1, steps))
