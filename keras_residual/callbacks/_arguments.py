"""What the arguments of the callback may be."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_residual.callbacks import _backend
from keras_residual.callbacks._alert import EXPLODING, VANISHING
from keras_residual.layers._checks import is_number


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


def alert_limits(alert: Any) -> tuple[float, float] | None:
    """Returns the limits that `alert` means, or None for no warnings."""
    if alert is None or alert is False:
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


def check_flag(argument: str, value: Any) -> bool:
    """Returns the value, which must be True or False."""
    if not isinstance(value, bool):
        raise ValueError(
            f"`{argument}` must be True or False. Received: {argument}={value!r}"
        )
    return value


def check_accumulation(optimizer: Any) -> None:
    """Raises an error where no batches are accumulated."""
    if not optimizer.gradient_accumulation_steps:
        raise ValueError(
            "`micro_batches` needs an optimizer with `gradient_accumulation_steps`. "
            f"Received: micro_batches=True with {type(optimizer).__name__}"
        )


def check_clipping(model: Any, optimizer: Any) -> None:
    """Raises an error where gradients are clipped in parts that nobody sees whole."""
    if isinstance(optimizer, getattr(keras.optimizers, "MultiOptimizer", ())):
        raise ValueError(
            "`clipped` needs one optimizer, which clips all gradients. "
            f"Received: clipped=True with {type(optimizer).__name__}"
        )
    if _backend.clips_each_replica(model):
        raise ValueError(
            "`clipped` needs gradients that are clipped as a whole; Keras clips those "
            "of each replica before it adds them up. Received: clipped=True with a "
            "model of several replicas"
        )
