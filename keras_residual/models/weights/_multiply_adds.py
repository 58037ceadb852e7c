"""Multiplications with addition that a model computes for one image."""

import math

import keras

from keras_residual.layers._convolutions import needs_padding
from keras_residual.layers.plain_block import PlainBlock
from keras_residual.models._graph import Graph, functional
from keras_residual.models.weights._structure import CONVOLUTIONS

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def multiply_adds(model):
    """Counts the convolutions and dense layers of a functional model.

    Returns:
        The count, None if a size is unknown, and the names of layers with kernels that
        could not be counted.
    """
    total: int | None = 0
    uncounted = []
    for calls in Graph(model).calls.values():
        for call in calls:
            layer = call.layer
            nested = functional(layer) if isinstance(layer, keras.Model) else None
            if nested is not None:
                count, names = multiply_adds(_with_size(nested, call.shapes[0]))
                uncounted += names
            elif isinstance(layer, PlainBlock):
                count = _of_block(layer, call.shapes[0])
            elif isinstance(layer, (*CONVOLUTIONS, keras.layers.Dense)):
                count = _of_layer(layer, call.shapes[0])
            else:
                count = 0
                weights = getattr(layer, "weights", [])
                if any(len(weight.shape) > 1 for weight in weights):
                    uncounted.append(layer.name)
            total = _sum([total, count])
    return total, uncounted


def with_input_shape(model, input_shape):
    """A copy of a functional model, with new weights, that takes other images."""
    inputs = keras.Input(input_shape, dtype=model.inputs[0].dtype)
    structure = model.input
    copy = keras.models.clone_model(
        model, input_tensors=keras.tree.map_structure(lambda _: inputs, structure)
    )
    if copy.count_params() != model.count_params():
        raise ValueError(
            "`input_shape` must be one that the model's weights allow. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    return copy


def _with_size(nested, shape):
    if len(nested.inputs) != 1 or tuple(nested.inputs[0].shape) == shape:
        return nested
    return with_input_shape(nested, shape[1:])


def _of_block(block, shape):
    counts = [_of_layer(layer, at) for layer, at in _convolutions(block, shape)]
    if block.excitation is not None:
        # Its two layers see one pixel.
        counts += [math.prod(weight.shape) for weight in _kernels(block.excitation)]
    return _sum(counts)


def _kernels(layer):
    return [weight for weight in layer.weights if weight.name == "kernel"]


def _convolutions(block, shape):
    inside = shape
    for convolution, _ in block.convolutions():
        if convolution is getattr(block, "projection", None):
            average = block.average
            yield convolution, average.compute_output_shape(shape) if average else shape
            continue
        if needs_padding(convolution):
            inside = block.padding.compute_output_shape(inside)
        yield convolution, inside
        inside = convolution.compute_output_shape(inside)


def _of_layer(layer, shape):
    if isinstance(layer, keras.layers.Dense):
        positions = shape[1:-1]
        kernels = [layer.kernel]
    else:
        # Each input position of a transposed convolution meets the whole kernel.
        at = shape
        if not isinstance(layer, _TRANSPOSED):
            at = layer.compute_output_shape(shape)
        positions = at[1:-1] if layer.data_format == "channels_last" else at[2:]
        kernels = (
            [layer.depthwise_kernel, layer.pointwise_kernel]
            if isinstance(layer, _SEPARABLE)
            else [layer.kernel]
        )
    if None in positions:
        return None
    return math.prod(positions) * sum(math.prod(kernel.shape) for kernel in kernels)


def _sum(counts):
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total
