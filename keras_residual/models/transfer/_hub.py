"""Presets of KerasHub: networks by name, with the preprocessing of their weights."""

import numpy as np

from keras_residual._first_line import first_line
from keras_residual.layers.image_preprocessing import ImagePreprocessing

PREFIX = "keras_hub:"


def is_preset(backbone) -> bool:
    """Whether this names a preset."""
    return isinstance(backbone, str) and backbone.startswith(PREFIX)


def load_backbone(backbone: str, load_weights: bool):
    """The network of a preset; KerasHub downloads it, or reads it from a folder."""
    hub, preset = _keras_hub(), backbone.removeprefix(PREFIX)
    network = hub.models.Backbone
    try:
        return network.from_preset(preset, load_weights=load_weights)
    except ValueError as error:
        raise ValueError(
            f"`backbone` must be '{PREFIX}<preset>', with a preset of KerasHub or its "
            f"folder. Received: backbone={backbone!r}. The reason: {first_line(error)}"
        ) from error
    except Exception as error:
        # KerasHub reads from several servers, each with errors of its own.
        raise ConnectionError(
            f"The preset {preset!r} could not be downloaded: go online, or pass "
            f"'{PREFIX}<folder>', with the folder of a preset. "
            f"The reason: {first_line(error)}"
        ) from error


def load_preprocessing(backbone: str) -> ImagePreprocessing:
    """The preset's conversion of images without resizing, as a layer."""
    preset = backbone.removeprefix(PREFIX)
    try:
        converter = _keras_hub().layers.ImageConverter.from_preset(preset)
    except Exception as error:
        raise ValueError(
            "`preprocessing` must be given: the preset does not define one. "
            f"Received: preprocessing='auto', backbone={backbone!r}. "
            f"The reason: {first_line(error)}"
        ) from error
    # It computes images * scale + offset, and the layer (images - mean) / std.
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3)
    return ImagePreprocessing(
        mean=[float(value) for value in -offset / scale],
        std=[float(value) for value in 1 / scale],
    )


def _keras_hub():
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            "Presets need KerasHub: pip install 'keras-residual[keras-hub]'"
        ) from error
    return keras_hub
