"""Checks of TransferModel's arguments, before anything is built or downloaded."""

import os
import types

import keras

from keras_residual.layers._checks import (
    check_choice,
    check_fraction,
    check_image_shape,
    check_positive_integer,
)
from keras_residual.models.transfer import _backbones
from keras_residual.models.transfer._blocks import UNITS

_MODES = ("feature_extraction", "fine_tuning", "scratch")


def check_mode(mode, unfreeze, unfreeze_unit, train_batch_norm) -> None:
    """Raises if arguments contradict each other about what trains."""
    check_choice("mode", mode, _MODES)
    check_unfreeze(unfreeze, unfreeze_unit, names=("unfreeze", "unfreeze_unit"))
    if mode != "fine_tuning" and (unfreeze, unfreeze_unit) != (20, "layer"):
        raise ValueError(
            "`unfreeze` and `unfreeze_unit` must be left out unless "
            f"mode='fine_tuning'. Received: mode={mode!r}, unfreeze={unfreeze!r}, "
            f"unfreeze_unit={unfreeze_unit!r}"
        )
    if mode == "feature_extraction" and train_batch_norm:
        raise ValueError(
            "`train_batch_norm` must be False with mode='feature_extraction', which "
            "does not change the backbone. Received: train_batch_norm=True"
        )


def check_unfreeze(count, unit, names) -> None:
    """Raises unless this is a number of units, or "all"."""
    check_choice(names[1], unit, UNITS)
    if isinstance(count, str):
        if count != "all":
            raise ValueError(
                f"`{names[0]}` must be a positive integer or 'all'. "
                f"Received: {names[0]}={count!r}"
            )
    else:
        check_positive_integer(names[0], count)


def check_rate_is_a_number(model, method) -> None:
    """Raises unless the model is compiled with a learning rate that can be set."""
    if not model.compiled or model.optimizer is None:
        raise ValueError(
            f"The model must be compiled with an optimizer before `{method}`. "
            f"Received: compiled={model.compiled}"
        )
    # A MultiOptimizer has none.
    rate = getattr(model.optimizer, "learning_rate", None)
    if not isinstance(rate, keras.Variable):
        raise ValueError(
            f"`{method}` sets the learning rate: it must be a number, not a schedule. "
            "Compile with another optimizer. "
            f"Received: an optimizer of type {type(model.optimizer).__name__} with a "
            f"learning_rate of type {type(rate).__name__}"
        )


def check_read_again(name, data) -> None:
    """Raises if the data can be read only once."""
    if isinstance(data, types.GeneratorType):
        raise ValueError(
            f"`{name}` must be data that can be read more than once, such as arrays, a "
            f"keras.utils.PyDataset or a tf.data.Dataset. Received: {name} of type "
            "generator"
        )


def check_classes(num_classes, class_names, activation, head) -> tuple:
    """Returns the number of outputs, None if the head decides, and the names."""
    if class_names is not None:
        names = () if isinstance(class_names, str) else tuple(class_names)
        if not all(isinstance(name, str) for name in names) or (
            not names or len(set(names)) < len(names)
        ):
            raise ValueError(
                "`class_names` must be a list of different strings. "
                f"Received: class_names={class_names!r}"
            )
        class_names = list(names)
        if num_classes is None:
            num_classes = len(class_names)
        elif num_classes != len(class_names):
            raise ValueError(
                f"`class_names` must have num_classes={num_classes} names. "
                f"Received: {len(class_names)} names"
            )
    if num_classes is None:
        if head is None:
            raise ValueError(
                "`num_classes` or `class_names` must be given, or a `head`. "
                "Received: num_classes=None"
            )
    elif check_positive_integer("num_classes", num_classes) == 1 and (
        head is None and activation == "softmax"
    ):
        raise ValueError(
            "`num_classes` must be at least 2 with activation='softmax': two classes "
            "have two probabilities. Received: num_classes=1"
        )
    return num_classes, class_names


def check_head(head, hidden_units, dropout, activation, pooling) -> None:
    """Raises unless these describe a head."""
    check_choice("pooling", pooling, ("avg", "max", None))
    if head is not None:
        if not isinstance(head, keras.layers.Layer):
            raise ValueError(
                "`head` must be a keras layer or model, or None. "
                f"Received: head={head!r}"
            )
        if (hidden_units, dropout, activation) != (128, 0.0, "softmax"):
            raise ValueError(
                "`hidden_units`, `dropout` and `activation` must be left out with a "
                f"`head`, which has its own. Received: hidden_units={hidden_units!r}, "
                f"dropout={dropout!r}, activation={activation!r}"
            )
        return
    if hidden_units is not None:
        check_positive_integer("hidden_units", hidden_units)
    check_fraction("dropout", dropout)
    check_choice("activation", activation, ("softmax", "sigmoid", "linear"))


def check_backbone(backbone) -> None:
    """Raises unless this is a network, its name or its path."""
    if isinstance(backbone, keras.Model):
        return
    if isinstance(backbone, str) and not _backbones.is_file(backbone):
        _backbones.check_name(backbone)
    elif not isinstance(backbone, (str, os.PathLike)) or not os.path.isfile(backbone):
        received = str(backbone) if isinstance(backbone, os.PathLike) else backbone
        raise ValueError(
            "`backbone` must be a name, a keras.Model, or the path of a .keras file "
            f"that exists. Received: backbone={received!r}"
        )


def check_range(value_range, preprocessing) -> tuple | None:
    """Returns the range as a tuple."""
    if value_range is None:
        if preprocessing is not None:
            raise ValueError(
                "`value_range` must be (0, 255) or (0, 1) for a model that "
                "preprocesses (preprocessing=None does not). "
                f"Received: preprocessing={preprocessing!r}, value_range=None"
            )
        return None
    if isinstance(value_range, list):
        value_range = tuple(value_range)
    check_choice("value_range", value_range, ((0, 255), (0, 1), None))
    return value_range


def check_input_shape(input_shape, backbone, weights, preprocessing) -> tuple | None:
    """Returns the shape as a tuple; raises on impossible shapes and channels."""
    if input_shape is None:
        return None
    data_format = keras.config.image_data_format()
    shape = check_image_shape(input_shape, data_format)
    channels = shape[-1 if data_format == "channels_last" else 0]
    reason = None
    if weights == "imagenet":
        reason = "the ImageNet weights"
    elif preprocessing in ("torch", "caffe"):
        reason = f"preprocessing={preprocessing!r}"
    if reason is not None and channels != 3:
        raise ValueError(
            f"`input_shape` must have 3 channels for {reason}. "
            f"Received: input_shape={input_shape!r}"
        )
    if isinstance(backbone, keras.Model):
        theirs = tuple(backbone.input_shape[1:])
        if len(theirs) != 3 or any(
            a is not None and a != b for a, b in zip(theirs, shape, strict=True)
        ):
            raise ValueError(
                f"`input_shape` must fit the backbone, which takes {theirs}. "
                f"Received: input_shape={input_shape!r}"
            )
    return shape
