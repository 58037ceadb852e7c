"""The preprocessing for weights of keras.applications, as a layer."""

import types

import keras
import numpy as np

from keras_residual.layers.image_preprocessing import ImagePreprocessing
from keras_residual.models._preprocessing_modes import MODES, SETTINGS


def application_mode(name: str) -> str:
    """The mode of a keras.applications network, found by trying its function."""
    pixel = np.array([[[[10.0, 60.0, 210.0]]]], "float32")
    expected = _preprocess_input(name)(pixel.copy(), data_format="channels_last")
    for mode in MODES:
        found = ImagePreprocessing(**SETTINGS[mode], data_format="channels_last")(pixel)
        if np.allclose(keras.ops.convert_to_numpy(found), expected, atol=1e-3):
            return mode
    raise ValueError(
        f"`preprocessing` must be one of {', '.join(map(repr, MODES))} or None: the "
        f"mode of {name} is not known. Received: preprocessing='auto'"
    )


def preprocess(images, mode, value_range, data_format):
    """Prepares images of `value_range` for a network of this mode.

    The mode may be a layer that prepares images of 0 to 255.
    """
    if mode is None:
        return images
    if value_range == (0, 1):
        images = keras.layers.Rescaling(255.0, name="to_255")(images)
    if isinstance(mode, ImagePreprocessing):
        config = mode.get_config()
    else:
        config = {**SETTINGS[mode], "data_format": data_format}
    return ImagePreprocessing.from_config({**config, "name": "preprocessing"})(images)


def _preprocess_input(name):
    modules = {
        key.replace("_", ""): module
        for key, module in vars(keras.applications).items()
        if isinstance(module, types.ModuleType) and key != "imagenet_utils"
    }
    for module in modules.values():
        if hasattr(module, name):
            return module.preprocess_input
    # keras.applications.mobilenet_v3 exports the function but not the networks.
    key = max((key for key in modules if name.lower().startswith(key)), key=len)
    return modules[key].preprocess_input
