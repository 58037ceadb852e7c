"""Layers of a network by name, and their outputs."""

from collections.abc import Callable
from typing import Any

import keras

from keras_residual._calls import Replacement, replaced_calls, replaced_function
from keras_residual._functions import compiled
from keras_residual._leaves import all_layers, leaves
from keras_residual._model_loss import tensors


def find_layer(model: keras.Model, layer: Any) -> keras.layers.Layer:
    """Returns a layer of the model, however deep it is nested.

    Args:
        model: Where to look.
        layer: A layer, or the name or path of one.

    Raises:
        ValueError: If the model has no such layer, or several.
    """
    layers = all_layers(model)
    if isinstance(layer, keras.layers.Layer):
        found = [other for other in layers if other is layer]
    else:
        found = [other for other in layers if layer in (other.name, other.path)]
    if len(found) != 1:
        names = ", ".join(sorted({other.name for other in layers})[:20])
        raise ValueError(
            "`layer` must be a layer of the model, or the name or path of one. "
            f"Received: layer={layer!r}, which fits {len(found)} layers. There are "
            f"{names}"
        )
    return found[0]


def last_map_layer(model: keras.Model) -> keras.layers.Layer:
    """Returns the last layer at the top of a functional model that outputs maps.

    Raises:
        ValueError: If there is none.
    """
    for layer in reversed(model.layers):
        try:
            shape = layer.output.shape
        except (AttributeError, ValueError):  # a layer of a subclassed model
            continue
        sides = spatial(shape, is_channels_first(model)) if len(shape) == 4 else (1, 1)
        if not isinstance(layer, keras.layers.InputLayer) and sides != (1, 1):
            return layer
    raise ValueError(
        "`layer` must be given: the model has no layer at its top whose output has the "
        "shape (batch, height, width, channels). Received: layer=None"
    )


def first_convolution(model: keras.Model) -> keras.layers.Layer:
    """Returns the first two-dimensional convolution of a network.

    Raises:
        ValueError: If there is none.
    """
    for layer in leaves(model):
        if isinstance(layer, keras.layers.Conv2D):
            return layer
    raise ValueError("`model` must have a Conv2D layer. Received: a model without one")


def is_channels_first(model: keras.Model) -> bool:
    """Whether the channels of images and maps are the first axis after the batch."""
    for layer in leaves(model):
        data_format = getattr(layer, "data_format", None)
        if data_format is not None:
            return data_format == "channels_first"
    return keras.config.image_data_format() == "channels_first"


def spatial(shape: Any, channels_first: bool) -> tuple[int | None, int | None]:
    """Height and width of a batch of maps."""
    return tuple(shape[2:4]) if channels_first else tuple(shape[1:3])


def recorded(outputs: list[Any]) -> Replacement:
    """A replacement that appends each output of the layer to a list."""

    def replacement(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            result = call(*arguments, **keywords)
            outputs.append(result)
            return result

        return run

    return replacement


def output_and_maps(
    model: keras.Model, layer: keras.layers.Layer, images: Any
) -> tuple[Any, Any]:
    """The outputs of the model and of a layer in it, in inference mode.

    Raises:
        ValueError: If the layer is not called exactly once, or outputs no maps.
    """

    def run(images: Any) -> tuple[Any, Any]:
        maps: list[Any] = []
        with keras.StatelessScope(), replaced_calls([(layer, recorded(maps))]):
            outputs = model(images, training=False)
        shapes = [getattr(output, "shape", type(output)) for output in maps]
        if len(shapes) != 1 or len(getattr(maps[0], "shape", ())) != 4:
            raise ValueError(
                "`layer` must be called once and output maps, "
                "(batch, height, width, channels). "
                f"Received: layer={layer.name!r} with the outputs {shapes}"
            )
        return outputs, maps[0]

    return compiled(run)(tensors(images))


def logits(model: keras.Model) -> list[tuple[keras.layers.Layer, Replacement]]:
    """Replacements with which the last layer outputs scores, without softmax."""
    last = leaves(model)[-1]
    if isinstance(last, keras.layers.Softmax):
        return [(last, lambda call: lambda inputs, *_, **__: inputs)]
    bounded = (keras.activations.softmax, keras.activations.sigmoid)
    if getattr(last, "activation", None) not in bounded:
        return []

    def replacement(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            linear = keras.activations.linear
            with replaced_function(last, "activation", lambda _: linear):
                return call(*arguments, **keywords)

        return run

    return [(last, replacement)]
