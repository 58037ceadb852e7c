"""The preprocessing of images that a network was trained with, as a layer."""

import numbers

import keras
from keras import ops

from keras_residual.layers._checks import (
    check_batch_of_images,
    check_choice,
    check_positive_integer,
    checked_data_format,
)
from keras_residual.layers._resize import check_sides, resize_images, xla_can_resize


@keras.saving.register_keras_serializable(package="keras_residual")
class ImagePreprocessing(keras.layers.Layer):
    """Prepares decoded images as a network was trained on them.

    The layer takes RGB values from 0 to 255, in images of any size. In this order it

    1. resizes, with antialiasing, as PIL does;
    2. crops the centre;
    3. reverses the channels for `channel_order="bgr"`;
    4. maps 0 to 255 linearly onto `value_range`, subtracts `mean` and divides by `std`.

    Place it inside a model, which then saves it.
    [`preprocessing_for`][keras_residual.preprocessing_for] returns the layer for a
    network. It has no weights and does the same in training and inference. Under JAX
    and PyTorch it cannot run inside `tf.data`.

    Args:
        mean: One number for each channel, in `channel_order` and on the scale of
            `value_range`, or None.
        std: One positive number for each channel, likewise, or None.
        value_range: Pair of numbers that 0 and 255 are mapped to.
        channel_order: `"rgb"`, or `"bgr"` to reverse the channels.
        resize: Positive integer: length of the shorter side in pixels; the other side
            follows in proportion, rounded down. `(height, width)`: this size. None:
            images keep their size.
        crop: Positive integer for a square, or `(height, width)`, in pixels, or None.
        interpolation: `"bilinear"` or `"bicubic"`.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Tensor of rank 4, of integers or floating-point numbers from 0 to 255.
          Integers are rounded to integers again after resizing, as in PIL.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`. Height and width may be unknown.

    Output shape:
        The input shape with the size of the crop, of the resized image, or of the
        input. Values are computed in float32 or float64 and cast to the compute dtype.

    Raises:
        ValueError: If an argument is outside its range, the input is not of rank 4, the
            numbers of channels do not fit, or an image is smaller than the crop.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_residual import ImagePreprocessing, ResNet

        preprocessing = ImagePreprocessing(
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            value_range=(0, 1),
            resize=36,
            crop=32,
        )
        images = keras.Input((None, None, 3), dtype="uint8")
        outputs = ResNet(20, num_classes=10, variant="cifar")(preprocessing(images))
        model = keras.Model(images, outputs)
        print(model.predict(np.zeros((1, 48, 64, 3), "uint8")).shape)  # (1, 10)
        ```
    """

    def __init__(
        self,
        *,
        mean=None,
        std=None,
        value_range=(0.0, 255.0),
        channel_order="rgb",
        resize=None,
        crop=None,
        interpolation="bilinear",
        data_format=None,
        **kwargs,
    ):
        # Casting the inputs to half precision would round them.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        check_choice("channel_order", channel_order, ("rgb", "bgr"))
        check_choice("interpolation", interpolation, ("bilinear", "bicubic"))
        data_format = checked_data_format(data_format)
        self.mean = _numbers("mean", mean)
        self.std = _numbers("std", std)
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(
                f"`std` must be greater than 0 everywhere. Received: std={std!r}"
            )
        self.value_range = _numbers("value_range", value_range)
        if self.value_range is None or len(self.value_range) != 2:
            raise ValueError(
                "`value_range` must be a pair of numbers. "
                f"Received: value_range={value_range!r}"
            )
        if mean is not None and std is not None and len(mean) != len(std):
            raise ValueError(
                "`mean` and `std` must have one number for each channel. "
                f"Received: mean={mean!r}, std={std!r}"
            )
        self.channel_order = channel_order
        self.resize = _size("resize", resize)
        self.crop = _size("crop", crop)
        if self.resize is not None and not xla_can_resize():
            self.supports_jit = False
        self.interpolation = interpolation
        self.data_format = data_format
        self._axes = (1, 2) if data_format == "channels_last" else (2, 3)
        self._channel_axis = 3 if data_format == "channels_last" else 1

    def build(self, input_shape):
        check_batch_of_images(self, input_shape, known_channels=False)
        channels = input_shape[self._channel_axis]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and channels not in (None, len(values)):
                raise ValueError(
                    f"`{name}` must have one number for each of {channels} channels. "
                    f"Received: {name}={values!r}"
                )
        if self.channel_order == "bgr" and channels not in (None, 3):
            raise ValueError(
                "`inputs` of ImagePreprocessing must have 3 channels with "
                f"channel_order='bgr'. Received: input_shape={tuple(input_shape)}"
            )
        self.built = True

    def call(self, inputs):
        dtype = "float64" if self.compute_dtype == "float64" else "float32"
        integers = not keras.backend.is_float_dtype(
            keras.backend.standardize_dtype(inputs.dtype)
        )
        x = ops.cast(inputs, dtype)
        if self.resize is not None:
            x = self._resize(x, integers)
        if self.crop is not None:
            x = self._crop(x)
        if self.channel_order == "bgr":
            x = ops.flip(x, axis=self._channel_axis)
        low, high = self.value_range
        if (low, high) != (0.0, 255.0):
            x = x * ((high - low) / 255.0) + low
        if self.mean is not None:
            x = x - self._by_channel(self.mean, dtype)
        if self.std is not None:
            x = x / self._by_channel(self.std, dtype)
        return ops.cast(x, self.compute_dtype)

    def _resize(self, images, integers):
        sides = self._sides(images)
        height, width = self._resized(sides)
        if not integers:
            return self._interpolate(images, height, width)
        # PIL resizes the rows, rounds, resizes the columns and rounds; halves go up.
        for size in ((sides[0], width), (height, width)):
            images = self._interpolate(images, *size)
            images = ops.clip(ops.floor(images + 0.5), 0.0, 255.0)
        return images

    def _interpolate(self, images, *size):
        return resize_images(images, size, self.interpolation, self.data_format)

    def _resized(self, sides):
        if not isinstance(self.resize, int):
            return tuple(self.resize)
        height, width = sides
        if any(side is None for side in sides):
            return (None, None)
        if isinstance(height, int) and isinstance(width, int):
            shorter = min(height, width)
        else:
            shorter = ops.minimum(height, width)
        return (self.resize * height // shorter, self.resize * width // shorter)

    def _crop(self, images):
        index = [slice(None)] * 4
        sides = self._sides(images)
        self._check_crop(sides)
        for axis, side, size in zip(self._axes, sides, _pair(self.crop), strict=True):
            start = (side - size) // 2
            # Half to even, which is how torchvision rounds.
            start = start + (side - size) % 2 * (start % 2)
            index[axis] = slice(start, start + size)
        return images[tuple(index)]

    def _check_crop(self, sides):
        message = (
            "`crop` must not be larger than the resized image. "
            f"Received: crop={self.crop!r}"
        )
        check_sides(sides, _pair(self.crop), message)

    def _sides(self, images):
        # The backend now knows sizes that were unknown when the model was built.
        static, dynamic = images.shape, ops.shape(images)
        return [
            dynamic[axis] if static[axis] is None else static[axis]
            for axis in self._axes
        ]

    def _by_channel(self, values, dtype):
        shape = [1, 1, 1, 1]
        shape[self._channel_axis] = len(values)
        return ops.reshape(ops.convert_to_tensor(values, dtype), shape)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        sides = [shape[axis] for axis in self._axes]
        if self.resize is not None:
            sides = self._resized(sides)
        if self.crop is not None:
            self._check_crop(sides)
            sides = _pair(self.crop)
        for axis, side in zip(self._axes, sides, strict=True):
            shape[axis] = side
        return tuple(shape)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "mean": self.mean,
                "std": self.std,
                "value_range": self.value_range,
                "channel_order": self.channel_order,
                "resize": self.resize,
                "crop": self.crop,
                "interpolation": self.interpolation,
                "data_format": self.data_format,
            }
        )
        return config


def _numbers(name, values):
    if values is None:
        return None
    try:
        numbers_ = [value for value in values if isinstance(value, numbers.Real)]
        if len(numbers_) == len(values) > 0:
            return tuple(float(value) for value in numbers_)
    except TypeError:
        pass
    raise ValueError(
        f"`{name}` must be a sequence of numbers. Received: {name}={values!r}"
    )


def _size(name, size):
    if size is None:
        return None
    try:
        if not hasattr(size, "__len__"):
            return check_positive_integer(name, size)
        height, width = (check_positive_integer(name, side) for side in size)
        return (height, width)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a positive integer, a pair of them or None. "
            f"Received: {name}={size!r}"
        ) from error


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)
