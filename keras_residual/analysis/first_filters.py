"""The filters of a network's first convolution."""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_residual.analysis._layers import first_convolution


def first_filters(model: keras.Model) -> NDArray[np.float32]:
    """Returns the filters of the first convolution, which sees the image itself.

    Edges and patches of colour indicate good training; noise indicates little or no
    training.

    Args:
        model: A built `keras.Model` with a `Conv2D` layer, also inside nested models.

    Returns:
        The filters, `(filters, height, width, channels)`, float32, for the figure
        `plots.first_filters`.

    Raises:
        ValueError: If the model has no such layer.

    Example:
        ```python
        from keras_residual import ResNet
        from keras_residual.analysis import first_filters

        model = ResNet(8, num_classes=10, variant="cifar")
        print(first_filters(model).shape)  # (16, 3, 3, 3)
        ```

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep
        Convolutional Neural Networks", NeurIPS 2012, figure 3.
    """
    kernel = ops.convert_to_numpy(first_convolution(model).kernel)
    return np.moveaxis(kernel, -1, 0).astype("float32")
