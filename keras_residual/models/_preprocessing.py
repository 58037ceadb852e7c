"""What a network's weights expect of the images, as a layer that is saved with it."""

import types

import keras
import numpy as np

# Scale, mean and standard deviation per channel and whether the channels are turned
# round, for pixels of 0 to 255: the modes of keras.applications' preprocess_input.
_MODES = {
    "raw": (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), False),
    "tf": (1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), False),
    "torch": (1 / 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), False),
    "caffe": (1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True),
}
MODES = tuple(_MODES)


def application_mode(name: str) -> str:
    """The mode of a keras.applications network, found by trying its function."""
    pixels = np.array([10.0, 60.0, 210.0], "float32")
    found = _preprocess_input(name)(
        pixels.reshape(1, 1, 1, 3).copy(), data_format="channels_last"
    )
    for mode in MODES:
        if np.allclose(_apply(mode, pixels), np.ravel(found), atol=1e-3):
            return mode
    raise ValueError(
        f"`preprocessing` must be one of {', '.join(map(repr, MODES))} or None: how "
        f"{name} wants its images is not known. Received: preprocessing='auto'"
    )


@keras.saving.register_keras_serializable("keras_residual")
class ImagePreprocessing(keras.layers.Layer):
    """Turns images of `value_range` into what a network was trained on.

    Args:
        mode: A mode of keras.applications, or None for images as they are.
        value_range: `(0, 255)`, `(0, 1)` or None, the range of the images.
        data_format: `"channels_last"` or `"channels_first"`.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, mode, value_range, data_format, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode
        self.value_range = value_range if value_range is None else tuple(value_range)
        self.data_format = data_format

    def call(self, images):
        if self.mode is None:
            return images
        if self.value_range == (0, 1):
            images = images * 255.0
        if self.mode == "raw":
            return images
        scale, mean, deviation, reverse = _MODES[self.mode]
        last = self.data_format == "channels_last"
        if reverse:
            images = keras.ops.flip(images, axis=-1 if last else 1)
        shape = (1, 1, 1, 3) if last else (1, 3, 1, 1)
        mean = keras.ops.reshape(keras.ops.convert_to_tensor(mean, images.dtype), shape)
        deviation = keras.ops.reshape(
            keras.ops.convert_to_tensor(deviation, images.dtype), shape
        )
        return (images * scale - mean) / deviation

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "mode": self.mode,
            "value_range": self.value_range,
            "data_format": self.data_format,
        }


def _apply(mode, pixels):
    scale, mean, deviation, reverse = _MODES[mode]
    pixels = pixels[::-1] if reverse else pixels
    return (pixels * scale - np.array(mean)) / np.array(deviation)


def _preprocess_input(name):
    modules = {
        key.replace("_", ""): module
        for key, module in vars(keras.applications).items()
        if isinstance(module, types.ModuleType) and key != "imagenet_utils"
    }
    for module in modules.values():
        if hasattr(module, name):
            return module.preprocess_input
    # keras.applications.mobilenet_v3 shows its function and not its networks.
    key = max((key for key in modules if name.lower().startswith(key)), key=len)
    return modules[key].preprocess_input
