"""Describes a model in words."""

import collections
import math
from collections.abc import Callable

import keras

from keras_residual.models._graph import functional
from keras_residual.models.weights._multiply_adds import multiply_adds, with_input_shape
from keras_residual.models.weights._recognition import recognise
from keras_residual.models.weights._structure import read_structure


def describe(
    model: keras.Model,
    input_shape: tuple | None = None,
    print_fn: Callable[[str], object] = print,
) -> None:
    """Prints which known network a model is, and how networks of one name differ.

    It reads everything from the layers and nothing from names, so it describes a
    changed model correctly: the place of the stride, the padding, the shortcuts, the
    settings of batch normalization, the parameters and the multiply-adds. It recognises
    the networks of this library in all variants, with or without preprocessing, and
    `keras.applications.ResNet50`, 101 and 152 as the variant `"keras"`. For other
    models it prints the same numbers without a name.

    The multiply-adds are those of convolutions and dense layers in inference, without
    biases: the number that torchvision and most papers print as FLOPs. Each is a
    multiplication and an addition, so there are twice as many floating-point
    operations.

    Args:
        model: A functional or sequential `keras.Model` that has been built, or a
            [`TransferModel`][keras_residual.TransferModel].
        input_shape: Shape of one image, without the batch, for the multiply-adds. None:
            the model's input shape.
        print_fn: Called once with the whole text.

    Raises:
        ValueError: If `model` is of another kind or `input_shape` does not fit it.

    Example:
        ```python
        from keras_residual import ResNet, describe

        describe(ResNet(50))  # ResNet-50, variant "torchvision" ...
        describe(ResNet(18, input_shape=(None, None, 3)), input_shape=(64, 64, 3))
        ```
    """
    source = functional(model) if isinstance(model, keras.Model) else None
    if source is None:
        raise ValueError(
            "`model` must be a functional or sequential `keras.Model` that has been "
            f"built. Received: model={model!r}"
        )
    sized = source
    if input_shape is not None:
        sized = _resized(source, input_shape)
    structure = read_structure(source)
    known = recognise(structure)
    lines = {
        "input": ", ".join(_shape(tensor.shape[1:]) for tensor in source.inputs),
        **_network_lines(structure, known),
        **_layer_lines(structure),
        "parameters": _parameters(source),
        "multiply-adds": _multiply_adds(sized),
    }
    width = max(map(len, lines)) + 2
    text = [_title(structure, known)]
    text += [f"  {name:<{width}}{value}" for name, value in lines.items()]
    print_fn("\n".join(text))


def _resized(model, input_shape):
    try:
        shape = tuple(input_shape)
        fits = len(model.inputs) == 1 and len(shape) == len(model.inputs[0].shape) - 1
        if fits:
            return with_input_shape(model, shape)
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "`input_shape` must be the shape of one image that the model can take, without "
        f"the batch. Received: input_shape={input_shape!r}"
    )


def _title(structure, known):
    if known is None:
        return f"{structure.model.name}: no network that this library knows"
    variant = " or ".join(f'"{variant}"' for variant in known.variants)
    if not known.differences:
        return f"{known}, variant {variant}"
    differences = "; ".join(known.differences.values())
    return f"{known}, nearest to variant {variant}: {differences}"


def _network_lines(structure, known):
    blocks, stem = structure.blocks, structure.stem
    if known is None:
        return {"residual additions": len(blocks)} if blocks else {}
    pooled = structure.pooled_after
    count = f"{pooled} of " if pooled > 1 else ""
    pooling = ", max pooling" if pooled else ""
    strides = {block.stride_on for block in blocks} - {None}
    dilations = ", ".join(map(str, sorted({block.dilation for block in blocks})))
    shortcuts = collections.Counter(block.shortcut for block in blocks)
    order = ", preactivated" if any(block.preactivation for block in blocks) else ""
    return {
        "stem": (
            f"{count}{stem.kernel_size[0]}x{stem.kernel_size[1]} convolution, "
            f"stride {stem.strides[0]}{pooling}"
        ),
        "blocks": (
            f"{', '.join(str(count) for _, count in structure.stages)}, "
            f"{blocks[0].block_type}{order}"
        ),
        "widths": ", ".join(str(width) for width, _ in structure.stages),
        "stride": (
            f"on the {' and the '.join(sorted(strides))} convolution"
            if strides
            else "none"
        ),
        **({"dilation": dilations} if dilations != "1" else {}),
        "shortcuts": ", ".join(
            f"{count} {kind}"
            for kind, count in sorted(shortcuts.items(), key=str)
            if kind is not None
        )
        or "none",
    }


def _layer_lines(structure):
    lines: dict[str, object] = {"convolutions": len(structure.convolutions)}
    if structure.paddings:
        lines["padding"] = f"{', '.join(sorted(structure.paddings))}, where strided"
    lines["convolution biases"] = {
        frozenset(): "none",
        frozenset({True}): "yes",
        frozenset({False}): "no",
    }.get(frozenset(structure.biases), "some")
    settings = [
        f"momentum {momentum}, epsilon {epsilon}"
        for momentum, epsilon in structure.norm_settings
    ]
    lines["batch normalization"] = "; ".join(settings) or "none"
    if structure.group_norms:
        epsilons = sorted({norm.epsilon for norm in structure.group_norms})
        lines["group normalization"] = f"epsilon {', '.join(map(str, epsilons))}"
    if structure.classifier is not None:
        activation = getattr(structure.classifier.activation, "__name__", "other")
        lines["classifier"] = f"{structure.classifier.units} classes, {activation}"
    return lines


def _parameters(model):
    trainable = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    return f"{model.count_params():,}, of them trainable {trainable:,}"


def _multiply_adds(model):
    count, uncounted = multiply_adds(model)
    if count is None:
        return "depend on the image size: give `input_shape`"
    shape = model.inputs[0].shape[1:]
    image = "one image" if None in shape else _shape(shape)
    text = f"{count:,} ({count / 1e9:.2f} G) for {image}"
    if uncounted:
        text += f", without those of {', '.join(uncounted)}"
    return text


def _shape(shape):
    return " x ".join("?" if size is None else str(size) for size in shape)
