"""Batch normalization folded into the convolutions before it, for inference."""

import keras
import numpy as np

from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D
from keras_residual.layers.depthwise_conv2d import DepthwiseConv2D
from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models._graph import Graph, functional
from keras_residual.models.weights._variable_copy import copy_variable, copy_variables

# The kernel's name, and its shape when the output channels are the last axis: of a
# transposed convolution they are the last but one, of a depthwise one the last two.
_KERNELS = {
    keras.layers.Conv1D: ("kernel", "last"),
    keras.layers.Conv2D: ("kernel", "last"),
    Conv2D: ("kernel", "last"),
    keras.layers.Conv3D: ("kernel", "last"),
    keras.layers.Dense: ("kernel", "last"),
    keras.layers.SeparableConv1D: ("pointwise_kernel", "last"),
    keras.layers.SeparableConv2D: ("pointwise_kernel", "last"),
    keras.layers.Conv1DTranspose: ("kernel", "last but one"),
    keras.layers.Conv2DTranspose: ("kernel", "last but one"),
    keras.layers.Conv3DTranspose: ("kernel", "last but one"),
    keras.layers.DepthwiseConv1D: ("kernel", "last two"),
    keras.layers.DepthwiseConv2D: ("kernel", "last two"),
    DepthwiseConv2D: ("kernel", "last two"),
}

_NORMS = (keras.layers.BatchNormalization, BatchNormalization)


def fold_batch_norm(model: keras.Model) -> keras.Model:
    r"""Returns a copy for inference, its batch normalization folded into convolutions.

    In inference batch normalization multiplies each channel by a constant and adds
    one, and so does a convolution with other weights and a bias:
    `W' = W * s`, `b' = (b - mean) * s + beta` with
    `s = gamma / sqrt(variance + epsilon)`. The copy outputs what the model outputs
    in inference, up to rounding, in less time.

    The function folds each normalization that directly follows a convolution (also
    depthwise, separable or transposed) or a dense layer without activation, in
    [`PlainBlock`][keras_residual.PlainBlock],
    [`ResidualBlock`][keras_residual.ResidualBlock] and nested models too. A
    normalization stays if another layer uses the convolution's output as well, if
    either layer is called more than once or is a subclass, and in blocks with
    `preactivation=True`, where it comes before the convolution.

    Do not train the copy: without its normalization the network learns differently. The
    model itself does not change. Constants are computed in float64. Under half
    precision the copy rounds in other places than the model.

    Args:
        model: A functional or sequential `keras.Model` that has been built, or a
            [`TransferModel`][keras_residual.TransferModel].

    Returns:
        A functional `keras.Model` with its own weights, not compiled. The layers keep
        their names; in a `TransferModel`, the network itself replaces the layer
        `"backbone"`.

    Raises:
        ValueError: If `model` is of another kind, or there is nothing to fold.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet, fold_batch_norm

        model = ResNet(20, num_classes=10, variant="cifar")
        folded = fold_batch_norm(model)
        images = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
        difference = folded.predict(images) - model.predict(images)
        print(abs(difference).max() < 1e-4)  # True
        ```

    Reference:
        Jacob et al., "Quantization and Training of Neural Networks for Efficient
        Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2.
        <https://arxiv.org/abs/1712.05877>
    """
    source = functional(model) if isinstance(model, keras.Model) else None
    if source is None:
        raise ValueError(
            "`model` must be a functional or sequential `keras.Model` that has been "
            f"built. Received: model={model!r}"
        )
    folded, count = _fold(source)
    if not count:
        raise ValueError(
            "`model` must have a batch normalization that directly follows a "
            f"convolution. Received: model={model!r} without one"
        )
    return folded


def _fold(model):
    """Returns the copy and the number of layers that were folded into others."""
    graph = Graph(model)
    norms = dict(_foldable(graph))  # by the name of the convolution
    skipped = {norm.name for norm in norms.values()}
    clones = {}
    count = len(norms)

    def clone(layer):
        nonlocal count
        nested = functional(layer) if isinstance(layer, keras.Model) else None
        if nested is not None:
            copy, inside = _fold(nested)
            count += inside
            return copy
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        elif _is_foldable_block(layer):
            config.update(use_batch_norm=False, use_bias=True)
            count += 1
        clones[layer.name] = copy = type(layer).from_config(config)
        return copy

    def call(layer, *args, **kwargs):
        return args[0] if layer.name in skipped else layer(*args, **kwargs)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        target = clones.get(layer.name)
        if target is None or layer.name in skipped:
            continue
        if layer.name in norms:
            _set_folded(target, layer, norms[layer.name])
        elif _is_foldable_block(layer):
            _set_folded_block(target, layer)
        else:
            copy_variables(target, layer)
    return copy, count


def _foldable(graph):
    for name in graph.calls:
        call = graph.only_call(name)
        if call is None or type(call.layer) not in _NORMS:
            continue
        if call.keywords.get("training") or len(call.sources) != 1:
            continue
        (source,) = call.sources
        before = graph.only_call(source)
        if before is None or graph.uses[source] != 1:
            continue
        if _can_take(before.layer, call.layer, rank=len(call.shapes[0])):
            yield source, call.layer


def _can_take(layer, norm, rank):
    if type(layer) not in _KERNELS or layer.compute_dtype != norm.compute_dtype:
        return False
    # LoRA's factors and quantized kernels are not one array that can be scaled.
    if getattr(layer, "lora_enabled", False) or layer.quantization_mode is not None:
        return False
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return layer.activation is keras.activations.linear and norm.axis % rank == (
        1 if first else rank - 1
    )


def _is_foldable_block(layer):
    return (
        type(layer) in (PlainBlock, ResidualBlock)
        and layer.use_batch_norm
        and layer.normalization == "batch"
        and not layer.preactivation
    )


def _set_folded_block(target, block):
    pairs = zip(target.convolutions(), block.convolutions(), strict=True)
    for (convolution, _), (layer, norm) in pairs:
        _set_folded(convolution, layer, norm)
    if block.excitation is not None:
        copy_variables(target.excitation, block.excitation)


def _set_folded(target, layer, norm):
    scale, shift = _scale_and_shift(norm)
    attribute, channels = _KERNELS[type(layer)]
    kernel = _float64(getattr(layer, attribute))
    factor = scale
    if channels == "last but one":
        factor = scale[:, None]
    elif channels == "last two":
        factor = scale.reshape(kernel.shape[-2:])
    bias = _float64(layer.bias) if layer.use_bias else 0.0
    if attribute == "pointwise_kernel":
        copy_variable(target.depthwise_kernel, layer.depthwise_kernel)
    getattr(target, attribute).assign(kernel * factor)
    target.bias.assign(bias * scale + shift)


def _scale_and_shift(norm):
    scale = 1.0 / np.sqrt(_float64(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * _float64(norm.gamma)
    shift = -_float64(norm.moving_mean) * scale
    if norm.center:
        shift = shift + _float64(norm.beta)
    return scale, shift


def _float64(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")
