"""Keras's convolution of images, without the copies around it."""

import keras

from keras_residual.layers._kernels import convolve


@keras.saving.register_keras_serializable(package="keras_residual")
class Conv2D(keras.layers.Conv2D):
    """A faster `keras.layers.Conv2D` with the same results.

    Arguments, shapes, weights, their names and the configuration are those of
    `keras.layers.Conv2D`. The class has the same name too, so weight files fit in both
    directions. Only the operation differs:

    - PyTorch reads `channels_last` images in place, where Keras copies them to
      `channels_first` and back;
    - JAX without an accelerator computes a 1x1 convolution as a matrix product;
    - TensorFlow uses Keras's own operation, and so does every backend for inputs that
      are not a batch of images (rank 4).

    Example:
        ```python
        import numpy as np
        from keras_residual.layers import Conv2D

        layer = Conv2D(16, 3, strides=2, padding="same")
        print(layer(np.ones((2, 32, 32, 3), "float32")).shape)  # (2, 16, 16, 16)
        ```
    """

    def convolution_op(self, inputs, kernel):
        outputs = convolve(self, inputs, kernel)
        return super().convolution_op(inputs, kernel) if outputs is None else outputs
