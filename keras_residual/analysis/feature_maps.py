"""The feature maps of one image."""

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_residual.analysis._layers import (
    find_layer,
    is_channels_first,
    output_and_maps,
)


def feature_maps(
    model: keras.Model, image: Any, layer: str | keras.layers.Layer
) -> NDArray[np.float32]:
    """Computes the feature maps of one image at a layer, in inference mode.

    Args:
        model: A `keras.Model`.
        image: One image as the model takes it, `(height, width, channels)`, or with the
            channels first where the model has them first.
        layer: A layer, or its name or path, also inside nested models and blocks.

    Returns:
        The maps, `(channels, height, width)`, float32, for the figure
        `plots.feature_maps`.

    Raises:
        ValueError: If the image has another shape, or the layer is not in the model, is
            not called exactly once, or outputs something else than maps.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet
        from keras_residual.analysis import feature_maps

        model = ResNet(8, num_classes=10, variant="cifar")
        image = np.random.default_rng(0).normal(size=(32, 32, 3))
        print(feature_maps(model, image, "stage1_block1").shape)  # (16, 32, 32)
        ```

    Reference:
        Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV
        2014. <https://arxiv.org/abs/1311.2901>
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            "`image` must be one image, (height, width, channels). "
            f"Received: shape {image.shape}"
        )
    _, outputs = output_and_maps(model, find_layer(model, layer), image[None])
    maps = ops.convert_to_numpy(ops.cast(outputs, "float32"))[0]
    return maps if is_channels_first(model) else np.moveaxis(maps, -1, 0)
