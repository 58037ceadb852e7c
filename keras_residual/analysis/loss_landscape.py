"""The loss around the weights of a network, along random directions."""

import os
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_residual._functions import compiled
from keras_residual._leaves import batch_norms
from keras_residual._model_loss import ModelLoss, tensors
from keras_residual.analysis._directions import filter_normalized_direction
from keras_residual.analysis._landscape_file import LossPoints, digest
from keras_residual.layers._checks import (
    check_choice,
    check_file,
    check_positive_integer,
    check_positive_number,
    check_seed,
)


class LossLandscape(NamedTuple):
    """Losses on a line or a square grid around the weights of a network.

    Attributes:
        losses: Array `(steps,)`, or `(steps, steps)` with the first direction along the
            rows. Losses that overflow are infinite or NaN.
        distances: Array `(steps,)`, the distances along each direction, 0 in the
            middle. At 1 a filter has moved by its own norm.

    Example:
        ```python
        import numpy as np
        from keras_residual.analysis import LossLandscape

        landscape = LossLandscape(np.array([2.0, 0.5, 3.0]), np.array([-1, 0, 1]))
        print(landscape.centre)  # 0.5
        ```
    """

    losses: NDArray[np.float64]
    distances: NDArray[np.float64]

    @property
    def centre(self) -> float:
        """The loss of the network itself."""
        return float(self.losses[(len(self.distances) // 2,) * self.losses.ndim])


def loss_landscape(
    model: keras.Model,
    x: Any,
    y: Any,
    steps: int = 21,
    *,
    distance: float = 1.0,
    dimensions: Literal[1, 2] = 2,
    loss: Any = None,
    batch_norm: Literal["moving", "batch"] = "moving",
    seed: int = 0,
    batch_size: int = 128,
    filepath: str | os.PathLike[str] | None = None,
    verbose: int = 1,
) -> LossLandscape:
    """Computes the loss of a network along random, filter-normalized directions.

    Each direction is drawn from a normal distribution. Each of its filters is then
    scaled to the norm of the same filter of the network, so that networks with weights
    of different sizes are comparable. Filters are the kernels of single output channels
    (of a depthwise convolution, of single channels), and the weights of single units of
    dense layers. Biases, scales and offsets of normalizations, and frozen weights do
    not move.

    The network runs in inference mode, as in `evaluate`: batch normalization uses the
    moving statistics of the network itself at every point, and the centre is the loss
    that `evaluate` reports. With `batch_norm="batch"` it uses the statistics of each
    batch at each point, as in training. Then the surface does not change if the filters
    before a batch normalization are multiplied by a factor; with moving statistics,
    only if these are multiplied as well.

    The weights of the model never change, not even after an exception.

    Args:
        model: A built `keras.Model`.
        x: Images, an array `(n, ...)`.
        y: Labels, an array `(n, ...)`.
        steps: Odd integer of at least 3, the number of points along each direction.
        distance: Positive number. Distance of the outermost points from the centre.
        dimensions: 1 for a line, 2 for a square of `steps * steps` points.
        loss: A Keras loss, its name, or a function of labels and outputs. None: the
            loss that the model is compiled with. Losses that layers and regularizers
            add count in both cases.
        batch_norm: The statistics that batch normalization uses, `"moving"` or those of
            each `"batch"`.
        seed: Integer of 0 or more. Seed of the directions, the same on every backend.
        batch_size: Positive integer. Images at a time.
        filepath: A `.npz` file that is written after each point. A call with the same
            weights, data and arguments continues from the file, and returns at once if
            it is complete.
        verbose: 1 shows the points done and the time left, 0 nothing.

    Returns:
        A [`LossLandscape`][keras_residual.analysis.LossLandscape] for the figures
        `plots.loss_landscape` and `plots.loss_surface`.

    Raises:
        ValueError: If an argument is outside its range, the model is not built or has
            no loss or no weights to move, or the file belongs to another landscape.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_residual.analysis import loss_landscape

        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        x, y = np.ones((8, 2), "float32"), np.ones((8, 1), "float32")
        landscape = loss_landscape(model, x, y, steps=5, loss="mse", verbose=0)
        print(landscape.losses.shape)  # (5, 5)
        ```

    Reference:
        Li, Xu, Taylor, Studer and Goldstein, "Visualizing the Loss Landscape of Neural
        Nets", NeurIPS 2018, section 4. <https://arxiv.org/abs/1712.09913>
    """
    if check_positive_integer("steps", steps) < 3 or steps % 2 == 0:
        raise ValueError(
            "`steps` must be an odd integer of at least 3, with the network itself in "
            f"the middle. Received: steps={steps!r}"
        )
    check_positive_number("distance", distance)
    check_choice("dimensions", dimensions, (1, 2))
    check_choice("batch_norm", batch_norm, ("moving", "batch"))
    check_positive_integer("batch_size", batch_size)
    check_seed(seed)
    if not model.built:
        raise ValueError("`model` must be built. Received: a model without weights")
    calls = [(layer, _in_training) for layer in batch_norms(model)]
    objective = ModelLoss(
        model, loss, training=False, calls=calls if batch_norm == "batch" else ()
    )
    batches = _batches(x, y, batch_size)
    objective.prepare(*batches[0][:2])
    half = steps // 2
    # Not `linspace`, whose middle need not be 0.
    distances = np.arange(-half, half + 1, dtype=np.float64) * (distance / half)
    evaluate = _point(model, objective, batches, dimensions, seed)
    points = LossPoints((steps,) * dimensions)
    if filepath is not None:
        # With the statistics of batches, the batch size matters as well.
        together = batch_size if batch_norm == "batch" else None
        name = _loss_name(model, loss)
        arguments = (distances.tolist(), dimensions, seed, name, together)
        weights = [v for v in objective.variables if "seed_generator" not in v.path]
        points.keep_in(
            check_file("filepath", filepath, (".npz",)),
            digest(arguments, [x, y, *weights]),
            distances,
        )
    missing = np.argwhere(~points.done)
    bar = keras.utils.Progbar(len(missing), verbose=verbose)
    for number, place in enumerate(map(tuple, missing), 1):
        points.add(place, evaluate(distances[list(place)]))
        bar.update(number)
    return LossLandscape(points.losses, distances)


def _batches(x: Any, y: Any, batch_size: int) -> list[tuple[Any, Any, int]]:
    total = len(x)
    if total == 0 or len(y) != total:
        raise ValueError(
            "`x` and `y` must have the same length, at least one. "
            f"Received: {total} images and {len(y)} labels"
        )
    starts = range(0, total, batch_size)
    return [
        (
            tensors(x[start : start + batch_size]),
            tensors(y[start : start + batch_size]),
            min(batch_size, total - start),
        )
        for start in starts
    ]


def _point(
    model: keras.Model,
    objective: ModelLoss,
    batches: list[tuple[Any, Any, int]],
    dimensions: int,
    seed: int,
) -> Callable[[NDArray[np.float64]], float]:
    """A function from distances along the directions to the loss there."""
    values = objective.values()
    place = {id(variable): i for i, variable in enumerate(objective.variables)}
    moved = [place[id(v)] for v in model.trainable_variables if len(v.shape) > 1]
    if not moved:
        raise ValueError(
            "`model` must have trainable weights of two or more dimensions. "
            f"Received: {len(model.trainable_variables)} trainable variables"
        )
    generator = np.random.default_rng(seed)
    centre = [values[i] for i in moved]
    directions = [
        filter_normalized_direction(
            model, [objective.variables[i] for i in moved], generator
        )
        for _ in range(dimensions)
    ]

    def shifted(centre: list[Any], directions: list[list[Any]], steps: Any) -> Any:
        result = []
        for number, value in enumerate(centre):
            for axis in range(dimensions):
                change = ops.cast(directions[axis][number], value.dtype)
                value = value + ops.cast(steps[axis], value.dtype) * change
            result.append(value)
        return result

    shift = compiled(shifted)
    batch_loss = compiled(lambda values, x, y: objective(values, x, y))
    total = sum(size for _, _, size in batches)

    def evaluate(steps: NDArray[np.float64]) -> float:
        there = list(values)
        # The centre is the network itself, bit for bit, without any shift.
        if steps.any():
            at = ops.convert_to_tensor(steps.astype("float32"))
            for i, value in zip(moved, shift(centre, directions, at), strict=True):
                there[i] = value
        losses = [batch_loss(there, x, y) for x, y, _ in batches]
        weighted = [
            float(ops.convert_to_numpy(value)) * size
            for value, (_, _, size) in zip(losses, batches, strict=True)
        ]
        return sum(weighted) / total

    return evaluate


def _in_training(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **keywords: call(
        *arguments, **{**keywords, "training": True}
    )


def _loss_name(model: keras.Model, loss: Any) -> str:
    loss = getattr(model, "loss", None) if loss is None else loss
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", ""))
