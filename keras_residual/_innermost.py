"""The optimizer inside those that Keras wraps around it."""

from typing import Any

import keras


def innermost(optimizer: Any) -> Any:
    """The optimizer itself, without Keras's wrapper for loss scaling.

    It gets unscaled gradients, and no steps that the wrapper skips because of overflow.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer
