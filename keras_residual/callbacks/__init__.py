"""Callbacks that measure a running `fit()`."""

from keras_residual.callbacks.gradient_norm import (
    GradientNormCallback as GradientNormCallback,
)

__all__ = ["GradientNormCallback"]
