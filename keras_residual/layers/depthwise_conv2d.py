"""Keras's depthwise convolution of images, without the copies around it."""

import keras

from keras_residual.layers._kernels import convolve, has_direct_convolution


@keras.saving.register_keras_serializable(package="keras_residual")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A `keras.layers.DepthwiseConv2D` with the same results, faster on PyTorch.

    Arguments, shapes, weights, their names and the configuration are those of
    `keras.layers.DepthwiseConv2D`. The class has the same name too, so weight files fit
    in both directions. PyTorch reads `channels_last` images in place, where Keras
    copies them to `channels_first` and back. The other backends use Keras's own
    operation.

    Example:
        ```python
        import numpy as np
        from keras_residual.layers import DepthwiseConv2D

        layer = DepthwiseConv2D(3, padding="same")
        print(layer(np.ones((2, 32, 32, 8), "float32")).shape)  # (2, 32, 32, 8)
        ```
    """

    def call(self, inputs):
        outputs = None
        if has_direct_convolution(self.kernel_size, self.data_format):
            # As many groups as there are input channels.
            kernel = keras.ops.reshape(self.kernel, (*self.kernel_size, 1, -1))
            outputs = convolve(self, inputs, kernel)
        if outputs is None:
            return super().call(inputs)
        if self.use_bias:
            first = self.data_format == "channels_first"
            outputs += keras.ops.reshape(self.bias, (-1, 1, 1) if first else (-1,))
        return outputs if self.activation is None else self.activation(outputs)
