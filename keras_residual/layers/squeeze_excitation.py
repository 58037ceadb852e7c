"""Squeeze-and-excitation: channels weighted by the content of the whole image."""

import keras
from keras import ops

from keras_residual.layers._checks import (
    check_batch_of_images,
    check_positive_integer,
    checked_data_format,
)
from keras_residual.layers.conv2d import Conv2D


@keras.saving.register_keras_serializable(package="keras_residual")
class SqueezeExcitation(keras.layers.Layer):
    """Multiplies each channel by a weight between 0 and 1, computed from all of them.

    `y = x * sigmoid(fc2(relu(fc1(mean(x)))))`, with the mean over height and width. A
    block places the layer at the end of its branch.

    Args:
        reduction: Positive integer. `fc1` has `channels / reduction` outputs, rounded
            down, at least one.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 4.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`. Height and width may be unknown.

    Output shape:
        The same as the input shape.

    Raises:
        ValueError: If an argument is outside its range, or the input is not of rank 4
            or has an unknown number of channels.

    Example:
        ```python
        import numpy as np
        from keras_residual.layers import SqueezeExcitation

        layer = SqueezeExcitation(4)
        print(layer(np.ones((2, 8, 8, 16), "float32")).shape)  # (2, 8, 8, 16)
        ```

    Reference:
        Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, section 3.
        <https://arxiv.org/abs/1709.01507>
    """

    def __init__(self, reduction=16, *, data_format=None, **kwargs):
        super().__init__(**kwargs)
        data_format = checked_data_format(data_format)
        self.reduction = check_positive_integer("reduction", reduction)
        self.data_format = data_format
        last = data_format == "channels_last"
        self._channel_axis, self._sides = (-1, (1, 2)) if last else (1, (2, 3))

    def build(self, input_shape):
        check_batch_of_images(self, input_shape)
        channels = input_shape[self._channel_axis]
        hidden = max(channels // self.reduction, 1)
        shape = [input_shape[0], 1, 1, 1]
        # Convolutions of one pixel, since PyTorch's files store their kernels.
        self.fc1 = self._dense(hidden, "he_normal", "fc1")
        self.fc2 = self._dense(channels, "glorot_uniform", "fc2")
        for layer, features in ((self.fc1, channels), (self.fc2, hidden)):
            shape[self._channel_axis] = features
            layer.build(tuple(shape))
        self.built = True

    def call(self, inputs):
        x = ops.mean(inputs, axis=self._sides, keepdims=True)
        x = ops.relu(self.fc1(x))
        return inputs * ops.sigmoid(self.fc2(x))

    def _dense(self, units, initializer, name):
        return Conv2D(
            units,
            1,
            kernel_initializer=initializer,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name=name,
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update({"reduction": self.reduction, "data_format": self.data_format})
        return config
