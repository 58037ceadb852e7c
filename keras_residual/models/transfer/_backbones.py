"""Networks to start from: by name, as a model or as a file; and their weights."""

import difflib
import inspect
import os
import pathlib
import re
import warnings

import keras

from keras_residual._first_line import first_line
from keras_residual.layers.image_preprocessing import ImagePreprocessing
from keras_residual.models._preprocessing_modes import MODES
from keras_residual.models.networks.resnet import ResNet
from keras_residual.models.transfer import _hub
from keras_residual.models.transfer._preprocessing import application_mode
from keras_residual.models.weights._known_weights import find_source

# Not 50, 101 and 152: keras.applications has a ResNet50 with other weights.
_OWN_DEPTHS = (18, 34, 200)
_OWN = re.compile(f"resnet({'|'.join(map(str, _OWN_DEPTHS))})")


def check_name(backbone: str) -> None:
    """Raises if no network has this name; nothing is built or read."""
    if _hub.is_preset(backbone):
        return
    names = [*_application_names(), *_own_names()]
    if backbone in names:
        return
    lower = {name.lower() for name in names}
    near = [
        name
        for match in difflib.get_close_matches(backbone.lower(), sorted(lower), n=3)
        for name in names
        if name.lower() == match
    ]
    advice = f"Near names: {', '.join(near)}" if near else f"Names: {', '.join(names)}"
    if re.fullmatch(r"resnet(50|101|152)", backbone.lower()):
        advice += (
            ". This library's network is a model: "
            f"ResNet({backbone[6:]}, include_top=False, weights=...)"
        )
    raise ValueError(
        "`backbone` must be the name of a keras.applications network, one of "
        f"{', '.join(_own_names())}, {_hub.PREFIX}<preset>, a keras.Model, or the path "
        f"of a .keras file that exists. {advice}. Received: backbone={backbone!r}"
    )


def is_file(backbone) -> bool:
    """Whether this is meant as a path and not as a name."""
    return isinstance(backbone, os.PathLike) or (
        isinstance(backbone, str) and backbone.endswith(".keras")
    )


def check_weights(backbone, weights, mode) -> str | os.PathLike | None:
    """Returns the weights to load: "imagenet", a path or None."""
    named = isinstance(backbone, str) and not is_file(backbone)
    scratch = mode == "scratch"
    if _hub.is_preset(backbone) and weights in ("auto", None):
        return None  # the preset has its own
    if weights == "auto":
        weights = "imagenet" if named and not scratch else None
    if scratch and weights is not None:
        raise ValueError(
            "`weights` must be None with mode='scratch', which trains new weights. "
            f"Received: weights={weights!r}"
        )
    own = _OWN.fullmatch(backbone) if named else None
    if own and weights is not None:
        find_source("weights", weights, size=(int(own[1]), 1, 64))
    elif weights == "imagenet":
        if not named:
            raise ValueError(
                "`weights` must be a file or None for a backbone that is a model; "
                "'imagenet' is for networks given by name. "
                f"Received: weights={weights!r}"
            )
    elif weights is None:
        if named and not scratch:
            raise ValueError(
                "`weights` must be 'imagenet' or a file with "
                f"mode={mode!r}, which keeps the weights of the backbone: those of a "
                f"new {backbone} are random. mode='scratch' trains them. "
                "Received: weights=None"
            )
    elif not (
        isinstance(weights, (str, os.PathLike)) and pathlib.Path(weights).is_file()
    ):
        raise ValueError(
            "`weights` must be 'auto', 'imagenet', None or the path of a file that "
            f"exists. Received: weights={weights!r}"
        )
    return weights


def resolve_preprocessing(backbone, preprocessing) -> str | ImagePreprocessing | None:
    """The mode of the preprocessing, which "auto" takes from the network's name."""
    if preprocessing != "auto":
        is_layer = isinstance(preprocessing, ImagePreprocessing)
        if preprocessing is not None and not is_layer and preprocessing not in MODES:
            raise ValueError(
                "`preprocessing` must be 'auto', None, an ImagePreprocessing layer or "
                f"one of {', '.join(map(repr, MODES))}. "
                f"Received: preprocessing={preprocessing!r}"
            )
        return preprocessing
    if isinstance(backbone, keras.Model) or is_file(backbone):
        raise ValueError(
            "`preprocessing` must be given for a backbone that is a model or a file, "
            f"which does not store it: one of {', '.join(map(repr, MODES))}, or None "
            "for images as they are. Received: preprocessing='auto'"
        )
    if _hub.is_preset(backbone):
        return _hub.load_preprocessing(backbone)
    # This library's weights come from torchvision and timm.
    return "torch" if _OWN.fullmatch(backbone) else application_mode(backbone)


def make_backbone(backbone, weights, input_shape, scratch) -> keras.Model:
    """Builds or reads the network and loads its weights."""
    if _hub.is_preset(backbone):
        network = _hub.load_backbone(backbone, load_weights=not scratch)
        if weights is not None:
            _load(network, weights, None)
        return network
    if isinstance(backbone, str) and not is_file(backbone):
        own = _OWN.fullmatch(backbone)
        if own:
            return _own(int(own[1]), weights, input_shape)
        network = _named(backbone, weights == "imagenet", input_shape)
        if weights not in (None, "imagenet"):
            _load(network, weights, lambda: _named(backbone, False, None, top=True))
        return network
    network = keras.saving.load_model(backbone) if is_file(backbone) else backbone
    _check_network(network)
    if scratch:
        network = keras.models.clone_model(network)
    if weights is not None:
        _load(network, weights, None)
    return network


def check_maps(shape, input_shape) -> None:
    """Rejects a backbone that pools its images away; some versions of Keras do not."""
    if 0 in shape:
        raise ValueError(
            "`input_shape` must be large enough for the backbone: its output has the "
            f"shape {tuple(shape)}. Received: input_shape={input_shape!r}"
        )


def _check_network(network):
    try:
        shape = network.input_shape
    except (AttributeError, ValueError):
        shape = None
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise ValueError(
            "`backbone` must be a model of known input shape that takes one batch of "
            f"images. Received: a model of input shape {shape}"
        )
    outputs = getattr(network, "output", None)
    if isinstance(outputs, (dict, list, tuple)):
        keys = list(outputs if isinstance(outputs, dict) else range(len(outputs)))
        raise ValueError(
            "`backbone` must output one feature map: pass "
            f"keras.Model(backbone.input, backbone.output[{keys[-1]!r}]), say. "
            f"Received: a model that outputs {', '.join(map(repr, keys))}"
        )
    activation = getattr(network.layers[-1], "activation", None)
    if activation is keras.activations.softmax:
        raise ValueError(
            "`backbone` must be a network without top: its last layer, "
            f"{network.layers[-1].name}, outputs probabilities, not features. "
            f"Received: backbone={network.name}"
        )


def _application_names():
    return [
        name
        for name, value in sorted(vars(keras.applications).items())
        if inspect.isfunction(value)
    ]


def _own_names():
    return [f"resnet{depth}" for depth in _OWN_DEPTHS]


def _own(depth, weights, input_shape):
    if input_shape is None:
        last = keras.config.image_data_format() == "channels_last"
        input_shape = (None, None, 3) if last else (3, None, None)
    return ResNet(depth, input_shape=input_shape, include_top=False, weights=weights)


def _named(name, imagenet, input_shape, top=False):
    network = getattr(keras.applications, name)
    try:
        with warnings.catch_warnings():
            # Keras warns that the weights are for 224 pixels, but convolutions work at
            # every size.
            warnings.filterwarnings("ignore", message=".*input_shape.*")
            return network(
                include_top=top,
                weights="imagenet" if imagenet else None,
                input_shape=input_shape,
            )
    except ValueError as error:
        raise ValueError(
            f"`input_shape` must be one that {name} takes: {error} "
            f"Received: input_shape={input_shape!r}"
        ) from error
    except Exception as error:
        # Keras raises a bare Exception when a download fails.
        if not imagenet:
            raise
        raise ConnectionError(
            f"The ImageNet weights of {name} could not be downloaded: go online, or "
            "pass the path of a file as `weights` (one of the whole network will do). "
            f"The reason: {first_line(error)}"
        ) from error


def _load(network, weights, make_whole):
    before = network.get_weights()
    try:
        network.load_weights(weights)
        return
    except Exception as error:
        network.set_weights(before)
        first = error
    if make_whole is not None:
        whole = make_whole()
        try:
            whole.load_weights(weights)
        except Exception:
            whole = None
        if whole is not None:
            # The layers of the top come last, and so do their weights.
            network.set_weights(whole.get_weights()[: len(before)])
            return
    raise ValueError(
        f"`weights` must be a file with the weights of {network.name}, with or without "
        f"its top. Received: weights={str(weights)!r}. "
        f"The reason: {first_line(first)}"
    ) from first
