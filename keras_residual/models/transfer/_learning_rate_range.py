"""The learning-rate range test: one short training at a growing rate."""

import contextlib
import dataclasses
import math

import keras
import numpy as np

from keras_residual.layers._checks import check_positive_integer, check_positive_number
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer._cached_features import CachedFeatures
from keras_residual.models.transfer._first_batch import as_array

_MINIMUM_STEPS = 10
# Share of the last smoothed loss in the next one.
_SMOOTHING = 0.9
# Training has diverged at this multiple of the lowest smoothed loss.
_DIVERGED = 4.0
# Share of the steps, at the start, whose smoothed loss is that of few batches.
_UNSETTLED = 0.1
# Share of the steps over which slopes are averaged: single slopes are mostly noise.
_WINDOW = 0.2
# After a rise by this share of the whole fall, losses recover from too high a rate.
_REBOUND = 0.5


@dataclasses.dataclass(frozen=True)
class LearningRateRange:
    """What `TransferModel.find_learning_rate` measured.

    Attributes:
        rates: Array `(n,)`, the learning rate of each step.
        losses: Array `(n,)`, the loss of each step's batch, before its update.
        smoothed_losses: Array `(n,)`, the exponential moving average of the losses
            (0.9 of the one before, corrected for its start at zero).
        suggestion: The rate at which the smoothed loss falls fastest against the
            logarithm of the rate, on average over a fifth of the steps. The first tenth
            of the steps is left out, and so is all that follows a rise by half of the
            whole fall. None if the loss falls nowhere there.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed_losses: np.ndarray
    suggestion: float | None


def find_learning_rate(
    self,
    x,
    y=None,
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    batch_size: int = 32,
) -> LearningRateRange:
    """Trains for some steps at a growing learning rate, then undoes them.

    The rate grows from `low` to `high` by the same factor at each step, until the
    loss is over four times its minimum (both smoothed) or not finite. Weights,
    optimizer state, learning rate and the seeds within the model are restored
    afterwards; the random state of a data set is not.

    `keras_residual.analysis.plots.learning_rate_range` draws the result.

    Args:
        x: Images in an array, a data set, or the result of `cache_features`. Data for
            fewer steps are read again; arrays are shuffled.
        y: Labels, if the images are an array.
        low: Positive number, the first learning rate.
        high: Number greater than `low`, the last learning rate.
        steps: Integer of at least 10. Number of steps.
        batch_size: Positive integer. Images at a time, if they are an array.

    Returns:
        A [`LearningRateRange`][keras_residual.models.LearningRateRange] with the arrays
        `rates`, `losses` and `smoothed_losses` and the number `suggestion`, the rate of
        the steepest descent (None if the loss falls nowhere).

    Raises:
        ValueError: If the model is not compiled, its learning rate cannot be set (a
            schedule), or an argument is outside its range.

    Reference:
        Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
        section 3.3, where the rate grows linearly.
        <https://arxiv.org/abs/1506.01186>
    """
    check_positive_number("low", low)
    check_positive_number("high", high)
    if low >= high:
        raise ValueError(
            f"`low` must be less than `high`. Received: low={low!r}, high={high!r}"
        )
    if check_positive_integer("steps", steps) < _MINIMUM_STEPS:
        raise ValueError(
            f"`steps` must be at least {_MINIMUM_STEPS}. Received: steps={steps!r}"
        )
    check_positive_integer("batch_size", batch_size)
    arguments.check_rate_is_a_number(self, "find_learning_rate")
    arguments.check_read_again("x", x)
    if not self.optimizer.built:
        self.optimizer.build(self.trainable_variables)
    state = [
        (variable, keras.ops.copy(variable.value))
        for variable in [*self.variables, *self.optimizer.variables]
    ]
    history = getattr(self, "history", None)
    growing = _GrowingRate(np.geomspace(low, high, steps))
    try:
        with _same_random_numbers():
            self.fit(
                **_shuffled(x, y, steps * batch_size, batch_size),
                epochs=steps,  # an epoch has at least one batch
                shuffle=False,
                callbacks=[growing],
                verbose=0,
            )
    finally:
        for variable, value in state:
            variable.assign(value)
        self.reset_metrics()
        self.history = history
    return _found(growing.rates[: len(growing.losses)], np.array(growing.losses))


class _GrowingRate(keras.callbacks.Callback):
    """Sets the rate of each step, and stops when the loss diverges."""

    def __init__(self, rates):
        super().__init__()
        self.rates = rates
        self.losses: list[float] = []
        self._lowest = math.inf

    def on_train_batch_begin(self, batch, logs=None):
        # What Keras reports is the mean over an epoch up to now.
        self.model.reset_metrics()
        self.model.optimizer.learning_rate = self.rates[len(self.losses)]

    def on_train_batch_end(self, batch, logs=None):
        loss = float(logs["loss"])
        if math.isfinite(loss):
            self.losses.append(loss)
            smoothed = _smoothed(self.losses)[-1]
            self._lowest = min(self._lowest, smoothed)
            if len(self.losses) < len(self.rates) and not self._has_diverged(smoothed):
                return
        self.model.stop_training = True

    def _has_diverged(self, smoothed):
        settled = len(self.losses) > _UNSETTLED * len(self.rates)
        return settled and smoothed > _DIVERGED * self._lowest


def _same_random_numbers():
    """Scope that leaves the state of random numbers as it was."""
    if keras.backend.backend() != "torch":
        return contextlib.nullcontext()  # they come from seeds within the model
    import torch

    # Dropout draws from PyTorch's own generator.
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    return torch.random.fork_rng(devices)


def _shuffled(x, y, enough, batch_size):
    """Arguments of `fit`, shuffled: arrays are often sorted by class."""
    if isinstance(x, CachedFeatures):
        order = _order(len(x), enough)
        return {"x": x.part(order), "y": y, "batch_size": batch_size}
    if y is None:
        return {"x": x}
    if len(x) != len(y):
        raise ValueError(
            "`y` must have a label for each image. "
            f"Received: {len(x)} images, {len(y)} labels"
        )
    order = _order(len(x), enough)
    return {
        "x": as_array(x)[order],
        "y": as_array(y)[order],
        "batch_size": batch_size,
    }


def _order(size, enough):
    # The state of NumPy's global generator belongs to the user.
    return np.random.default_rng(0).permutation(size)[:enough]


def _smoothed(losses):
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, start=1):
        average = _SMOOTHING * average + (1 - _SMOOTHING) * loss
        smoothed.append(average / (1 - _SMOOTHING**step))
    return np.array(smoothed)


def _found(rates, losses):
    smoothed = _smoothed(losses)
    first = math.ceil(_UNSETTLED * len(losses))
    suggestion = None
    if len(losses) - first >= 2:
        last = first + _end_of_fall(smoothed[first:])
        slopes = np.gradient(smoothed, np.log(rates))[first : last + 1]
        # Odd, so that a window has a middle.
        half = min(int(_WINDOW * len(losses)), len(slopes) - 1) // 2
        width = 2 * half + 1
        slopes = np.convolve(slopes, np.full(width, 1 / width), "valid")
        if slopes.min() < 0:
            suggestion = float(rates[first + half + int(np.argmin(slopes))])
    return LearningRateRange(rates, losses, smoothed, suggestion)


def _end_of_fall(losses):
    lowest = np.minimum.accumulate(losses)
    risen = losses - lowest > _REBOUND * (losses[0] - lowest[-1])
    # `argmax` is the first one, if there is any.
    end = int(np.argmax(risen)) if risen.any() else len(losses)
    return int(np.argmin(losses[: end + 1]))
