"""Keras's convolution of images, without the copies around it."""

import keras

from keras_residual.layers._kernels import convolve


@keras.saving.register_keras_serializable(package="keras_residual")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` in less time, with the same numbers.

    Arguments, shapes, weights, their names and the configuration are those of
    `keras.layers.Conv2D`; the class has its name too, so that weight files fit in both
    directions. What differs is the operation:

    - on PyTorch, the convolution reads `channels_last` images where they are, while
      Keras copies them to `channels_first` and back;
    - on JAX without an accelerator, a 1x1 convolution is a matrix product;
    - on TensorFlow, nothing.

    Inputs that are not a batch of images (rank 4) take Keras's own operation.

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
