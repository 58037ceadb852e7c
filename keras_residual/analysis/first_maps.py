"""What the first layers of a network make of one image."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_residual.analysis._layers import is_channels_first, spatial
from keras_residual.analysis.feature_maps import feature_maps


def first_maps(
    model: keras.Model, image: Any, most: int = 8
) -> dict[str, NDArray[np.float32]]:
    """Computes feature maps of the layers near the input, for one image.

    Args:
        model: A functional `keras.Model`, or a
            [`TransferModel`][keras_residual.TransferModel], of whose backbone the
            layers are taken.
        image: One image as the model takes it, `(height, width, channels)`.
        most: Positive integer. Of more channels, those that vary most are returned, in
            the order of their numbers.

    Returns:
        Maps `(most, height, width)`, for the figure `plots.feature_maps`: "first" those
        of the first convolution, "quarter" those of the last layer at a quarter of the
        image's size. Where there is no such layer, it is left out.

    Raises:
        ValueError: If the image has another shape.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet
        from keras_residual.analysis import first_maps

        model = ResNet(18, num_classes=10, input_shape=(64, 64, 3))
        image = np.random.default_rng(0).normal(size=(64, 64, 3))
        print(first_maps(model, image)["quarter"].shape)  # (8, 16, 16)
        ```
    """
    channels_first = is_channels_first(model)
    height = np.shape(image)[1 if channels_first else 0]
    layers: dict[str, keras.layers.Layer] = {}
    for layer in getattr(model, "backbone", model).layers:
        shape = layer.output.shape
        if len(shape) == 4 and not isinstance(layer, keras.layers.ZeroPadding2D):
            if isinstance(layer, keras.layers.Conv2D):
                layers.setdefault("first", layer)
            if round(height / spatial(shape, channels_first)[0]) == 4:
                layers["quarter"] = layer
    found = {}
    for name, layer in layers.items():
        maps = feature_maps(model, image, layer)
        found[name] = maps[np.sort(np.argsort(-maps.std((1, 2)))[:most])]
    return found
