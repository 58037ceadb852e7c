"""Keras's max pooling of images, without the copies around it."""

import keras

from keras_residual.layers._kernels import pool_maxima


@keras.saving.register_keras_serializable(package="keras_residual")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """A `keras.layers.MaxPooling2D` with the same results, faster on PyTorch.

    Arguments, shapes and the configuration are those of `keras.layers.MaxPooling2D`.
    PyTorch pools `channels_last` images where they are; Keras copies them to
    `channels_first` before. The other backends use Keras's own operation.

    Example:
        ```python
        import numpy as np
        from keras_residual.layers import MaxPooling2D

        layer = MaxPooling2D(3, strides=2, padding="same")
        print(layer(np.ones((2, 32, 32, 8), "float32")).shape)  # (2, 16, 16, 8)
        ```
    """

    def call(self, inputs):
        outputs = pool_maxima(self, inputs)
        return super().call(inputs) if outputs is None else outputs
