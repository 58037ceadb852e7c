"""The optimizer inside the ones that Keras puts around it."""

from typing import Any

import keras


def innermost(optimizer: Any) -> Any:
    """The optimizer itself, where Keras has wrapped it for the scaling of the loss.

    Gradients arrive there unscaled, and steps that the wrapper skips because of
    overflow do not arrive at all.
    """
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer
