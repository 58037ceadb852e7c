"""Random directions in the space of a network's weights."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_residual._leaves import leaves

_DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


def filter_normalized_direction(
    model: keras.Model, variables: list[Any], generator: np.random.Generator
) -> list[Any]:
    """A random direction whose filters have the norms of the network's filters.

    Args:
        model: The model that the variables belong to.
        variables: Those of two or more dimensions to move.
        generator: What the direction is drawn from.

    Returns:
        A float32 tensor for each variable. Filters that are all zero have zeros.
    """
    special = _special_axes(model)
    direction = []
    for variable in variables:
        value = ops.convert_to_numpy(variable).astype("float64")
        axes = special.get(id(variable), tuple(range(value.ndim - 1)))
        drawn = generator.standard_normal(value.shape)
        drawn *= _norms(value, axes) / _norms(drawn, axes)
        direction.append(ops.convert_to_tensor(drawn.astype("float32")))
    return direction


def _norms(value: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.sqrt(np.square(value).sum(axis=axes, keepdims=True))


def _special_axes(model: keras.Model) -> dict[int, tuple[int, ...]]:
    """The axes within a filter, for kernels whose last axis is not the filters'."""
    axes: dict[int, tuple[int, ...]] = {}
    for layer in leaves(model):
        if isinstance(layer, _DEPTHWISE):
            # (height, width, channels, multiplier)
            kernel = getattr(layer, "depthwise_kernel", None)
            kernel = layer.kernel if kernel is None else kernel
            axes[id(kernel)] = tuple(range(len(kernel.shape) - 2))
        elif isinstance(layer, _TRANSPOSED):
            # (height, width, filters, channels)
            rank = len(layer.kernel.shape)
            axes[id(layer.kernel)] = (*range(rank - 2), rank - 1)
    return axes
