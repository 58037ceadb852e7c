"""Callbacks that measure a running `fit()`, and the same measurement of one batch."""

from keras_residual.callbacks.gradient_norm import (
    GradientNormCallback as GradientNormCallback,
)
from keras_residual.callbacks.gradient_norms import gradient_norms as gradient_norms

__all__ = ["GradientNormCallback", "gradient_norms"]
