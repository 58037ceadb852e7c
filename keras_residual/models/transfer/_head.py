"""The head of a model, and what its outputs mean."""

import inspect
from typing import Literal

import keras

from keras_residual._leaves import leaves

Kind = Literal["classes", "labels", "numbers"]


def make_pooling(pooling, shape, data_format) -> keras.layers.Layer:
    """The layer from the backbone's output to one vector an image."""
    if len(shape) not in (2, 4):
        raise ValueError(
            "`backbone` must output one feature map, (batch, height, width, channels),"
            f" or one vector an image. Received: a model of output shape {shape}"
        )
    if len(shape) == 2:
        # Pooled by the backbone itself.
        return keras.layers.Activation("linear", name="pooling")
    if pooling is None:
        if None in shape[1:]:
            raise ValueError(
                "`pooling` must be 'avg' or 'max' for images of any size: a flattened "
                "feature map needs an `input_shape`. Received: pooling=None"
            )
        return keras.layers.Flatten(name="pooling")
    layer = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[pooling]
    return layer(data_format=data_format, name="pooling")


def make_head(features, hidden_units, dropout, activation, num_classes) -> keras.Model:
    """Dense and ReLU, dropout, Dense and the activation."""
    inputs = x = keras.Input((features,), name="features")
    if hidden_units is not None:
        x = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    # Under mixed precision the outputs stay in float32.
    x = keras.layers.Dense(
        num_classes,
        activation=activation,
        dtype=keras.config.dtype_policy().variable_dtype,
        name="classifier",
    )(x)
    return keras.Model(inputs, x, name="head")


def wrap_head(features, head, num_classes) -> keras.Model:
    """The user's own head as a model of the features."""
    inputs = keras.Input((features,), name="features")
    outputs = head(inputs)
    shape = getattr(outputs, "shape", None)
    if shape is None or len(shape) != 2 or num_classes not in (None, shape[1]):
        expected = "any width" if num_classes is None else num_classes
        raise ValueError(
            f"`head` must make one row of {expected} numbers of the {features} features"
            f" of an image. Received: a head of output shape {shape}, "
            f"num_classes={num_classes}"
        )
    return keras.Model(inputs, outputs, name="head")


def is_probability(model) -> bool:
    """Whether the head itself ends in probabilities."""
    return _last_activation(model) is not None


def output_kind(model) -> Kind | None:
    """What a row of outputs is: one class of several, several labels, or numbers.

    The last activation and the loss decide; None for another loss than Keras's.
    """
    kind = _last_activation(model)
    if kind is not None:
        return kind
    loss = (model._compiled_with.arguments or {}).get("loss")
    name = _name(loss)
    if "crossentropy" in name:
        return "labels" if "binary" in name else "classes"
    return "numbers" if name else None


def check_loss(model, loss) -> None:
    """Raises if the loss expects logits and gets probabilities, or the reverse."""
    if getattr(loss, "from_logits", False):
        if is_probability(model):
            raise ValueError(
                "`loss` must not have from_logits=True: the model outputs "
                f"probabilities. Received: loss={loss!r}"
            )
    elif "crossentropy" in _name(loss) and not is_probability(model):
        raise ValueError(
            "`loss` must have from_logits=True, as in "
            "keras.losses.SparseCategoricalCrossentropy(from_logits=True): the model "
            f"outputs logits. Received: loss={loss!r}"
        )


def probabilities(model, outputs):
    """Outputs as probabilities; raises if they are plain numbers."""
    kind = output_kind(model)
    if kind not in ("classes", "labels"):
        raise ValueError(
            "`classify` needs probabilities: an activation of 'softmax' or 'sigmoid', "
            "or a crossentropy of logits as the compiled loss. Received: a head that "
            "outputs plain numbers"
        )
    if is_probability(model):
        return outputs
    function = keras.ops.softmax if kind == "classes" else keras.ops.sigmoid
    return keras.ops.convert_to_numpy(function(outputs))


def _last_activation(model) -> Kind | None:
    last = leaves(model.head)[-1]
    if isinstance(last, keras.layers.Softmax):
        return "classes"
    activation = getattr(last, "activation", None)
    if activation is keras.activations.softmax:
        return "classes"
    return "labels" if activation is keras.activations.sigmoid else None


def _name(loss) -> str:
    """The name of a loss of Keras in small letters; "" for any other."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    subject = loss if inspect.isfunction(loss) else type(loss)
    if loss is None or not subject.__module__.startswith("keras."):
        return ""
    return subject.__name__.lower().replace("_", "")
