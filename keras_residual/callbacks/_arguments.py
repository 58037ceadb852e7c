"""Checks of the callback's arguments."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_residual.callbacks import _backend
from keras_residual.callbacks._alert import EXPLODING, VANISHING
from keras_residual.callbacks._tensorboard import check_tensorboard
from keras_residual.layers._checks import as_path, is_number


def layer_patterns(layers: Any) -> tuple[str, ...] | None:
    """Returns the patterns of `layers`, or None for all layers."""
    if layers is None:
        return None
    patterns = (layers,) if isinstance(layers, str) else layers
    if (
        not isinstance(patterns, Sequence)
        or not patterns
        or not all(isinstance(pattern, str) and pattern for pattern in patterns)
    ):
        raise ValueError(
            "`layers` must be None, a shell pattern or a sequence of them. "
            f"Received: layers={layers!r}"
        )
    return tuple(patterns)


def alert_limits(alert: Any, stop: bool) -> tuple[float, float] | None:
    """Returns the limits that `alert` stands for, or None for no warnings."""
    if alert is None or alert is False:
        if stop:
            raise ValueError(
                "`stop` needs `alert`, which decides when to stop. "
                f"Received: stop=True, alert={alert!r}"
            )
        return None
    if alert is True:
        return VANISHING, EXPLODING
    pair = tuple(alert) if isinstance(alert, Sequence) else ()
    if (
        len(pair) != 2
        or not all(is_number(x) for x in pair)
        or not 0 <= pair[0] < pair[1]
    ):
        raise ValueError(
            "`alert` must be None, True or two norms (vanishing, exploding), the first "
            f"below the second. Received: alert={alert!r}"
        )
    return pair


def check_outputs(tensorboard_dir: Any, on_record: Any) -> None:
    """Raises an error if records cannot go there."""
    if on_record is not None and not callable(on_record):
        raise ValueError(
            "`on_record` must be a function of a dictionary and a step. "
            f"Received: on_record={on_record!r}"
        )
    if tensorboard_dir is not None:
        as_path("tensorboard_dir", tensorboard_dir)
        check_tensorboard()


def check_flag(argument: str, value: Any) -> bool:
    """Returns the value, which must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(
            f"`{argument}` must be True or False. Received: {argument}={value!r}"
        )
    return value


def check_accumulation(optimizer: Any) -> None:
    """Raises an error if the optimizer accumulates no batches."""
    if not optimizer.gradient_accumulation_steps:
        raise ValueError(
            "`micro_batches` needs an optimizer with `gradient_accumulation_steps`. "
            f"Received: micro_batches=True with {type(optimizer).__name__}"
        )


def check_clipping(model: Any, optimizer: Any) -> None:
    """Raises an error if the optimizer does not clip all gradients together."""
    if isinstance(optimizer, getattr(keras.optimizers, "MultiOptimizer", ())):
        raise ValueError(
            "`clipped` needs one optimizer, which clips all gradients. "
            f"Received: clipped=True with {type(optimizer).__name__}"
        )
    if _backend.clips_each_replica(model):
        raise ValueError(
            "`clipped` needs a single replica: with several, Keras clips the gradients "
            "of each before it adds them up. Received: clipped=True with a model of "
            "several replicas"
        )
