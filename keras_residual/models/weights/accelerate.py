"""Replaces Keras's convolutions and batch normalizations by faster ones."""

import collections

import keras

from keras_residual.layers._fused_normalization import has_fused_normalization
from keras_residual.layers._kernels import (
    has_direct_convolution,
    has_direct_pooling,
)
from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D
from keras_residual.layers.depthwise_conv2d import DepthwiseConv2D
from keras_residual.layers.max_pooling2d import MaxPooling2D
from keras_residual.models._backbone import Backbone
from keras_residual.models._graph import functional
from keras_residual.models._recompile import recompile
from keras_residual.models.weights._variable_copy import copy_variables

_CONVOLUTIONS = {
    keras.layers.Conv2D: Conv2D,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
}


def accelerate(model: keras.Model, *, verbose: bool = True) -> keras.Model:
    """Returns a faster copy with the same results, in training and inference.

    Each `Conv2D`, `DepthwiseConv2D`, `BatchNormalization` and `MaxPooling2D` of
    `keras.layers` in the graph and in nested models becomes the layer of that name in
    [`keras_residual.layers`][keras_residual.layers.Conv2D] if that one is faster on the
    running backend: all of them on PyTorch, batch normalization on TensorFlow, 1x1
    convolutions on JAX without an accelerator. The blocks and networks of this library
    have these layers already.

    The copy has its own weights, equal to the model's, with the same names, order and
    `trainable` flags, so weight files fit in both directions. If the model is compiled,
    so is the copy, with the same optimizer state.

    Args:
        model: A functional or sequential `keras.Model` that has been built.
        verbose: Whether to print how many layers were replaced, and which layers with
            convolutions or normalizations inside were not.

    Returns:
        A functional or sequential `keras.Model`.

    Raises:
        ValueError: If `model` is of another kind, or a
            [`TransferModel`][keras_residual.TransferModel]: accelerate its backbone
            before, `TransferModel(accelerate(backbone), ...)`.

    Example:
        ```python
        import keras
        from keras_residual import accelerate

        model = keras.applications.MobileNetV2(weights=None)
        faster = accelerate(model)  # prints "accelerate: ... replaced on ..."
        ```
    """
    if functional(model) is None:
        raise ValueError(
            "`model` must be a functional or sequential `keras.Model` that has been "
            f"built. Received: model={model!r}"
        )
    if any(isinstance(layer, Backbone) for layer in model.layers):
        raise ValueError(
            "`model` must not be a TransferModel: accelerate its backbone, "
            "`TransferModel(accelerate(backbone), ...)`, before the head is trained. "
            f"Received: model={model!r}"
        )
    replaced: collections.Counter = collections.Counter()
    left: collections.defaultdict = collections.defaultdict(list)

    def clone(layer):
        faster = _faster_class(layer)
        if faster is not None:
            replaced[faster.__name__] += 1
        elif _has_slow_part(layer):
            left[type(layer).__name__].append(layer.name)
        return (faster or type(layer)).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy_variables(copy, model)
    if model.compiled:
        arguments = keras.saving.deserialize_keras_object(model.get_compile_config())
        recompile(copy, arguments, model.optimizer)
    if verbose:
        print(_report(replaced, left))
    return copy


def _faster_class(layer):
    # LoRA's factors and quantized kernels take operations of their own.
    if getattr(layer, "lora_enabled", False) or getattr(
        layer, "quantization_mode", None
    ):
        return None
    if type(layer) is keras.layers.MaxPooling2D:
        return MaxPooling2D if has_direct_pooling(layer.data_format) else None
    if type(layer) is keras.layers.BatchNormalization and has_fused_normalization():
        return BatchNormalization
    faster = _CONVOLUTIONS.get(type(layer))
    if faster and has_direct_convolution(layer.kernel_size, layer.data_format):
        return faster
    return None


def _has_slow_part(layer):
    """Whether a layer normalizes or convolves, alone or inside, by its weights."""
    module = type(layer).__module__
    if not isinstance(layer, keras.layers.Layer) or module.startswith("keras_residual"):
        return False
    return any(
        (variable.name == "moving_variance" and has_fused_normalization())
        or (
            variable.name == "kernel"
            and len(variable.shape) == 4
            and has_direct_convolution(variable.shape[:2], "channels_last")
        )
        for variable in layer.variables
    )


def _report(replaced, left):
    backend = keras.backend.backend()
    counts = [f"{count} {name}" for name, count in sorted(replaced.items())]
    lines = [f"accelerate: {', '.join(counts) or 'nothing'} replaced on {backend}"]
    for class_name, names in sorted(left.items()):
        some = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        lines.append(f"left as they are: {len(names)} {class_name} ({some})")
    return "\n".join(lines)
