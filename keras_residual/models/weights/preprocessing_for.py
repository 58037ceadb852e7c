"""The preprocessing that belongs to a network."""

from typing import Any

import keras

from keras_residual.layers._checks import check_choice
from keras_residual.layers.image_preprocessing import ImagePreprocessing
from keras_residual.models._graph import functional
from keras_residual.models._preprocessing_modes import (
    EVALUATION,
    EVALUATION_OF,
    SETTINGS,
)
from keras_residual.models._variants import VARIANTS
from keras_residual.models.weights._known_weights import KNOWN
from keras_residual.models.weights._recognition import recognise
from keras_residual.models.weights._structure import read_structure


def preprocessing_for(
    network: keras.Model | str, *, weights: str | None = None
) -> ImagePreprocessing:
    """Returns the preprocessing that the published weights of a network expect.

    | variant | channels | values | mean | standard deviation | size |
    |---|---|---|---|---|---|
    | `"torchvision"` | RGB | 0 to 1 | ImageNet's | ImageNet's | 256, crop 224 |
    | `"resnet_d"` | RGB | 0 to 1 | ImageNet's | ImageNet's | 256, crop 224 |
    | `"keras"`, `"paper"` | BGR | 0 to 255 | Caffe's | 1 | 256, crop 224 |
    | `"cifar"` | RGB | 0 to 1 | ImageNet's | ImageNet's | as it is |
    | `"wide"` | RGB | 0 to 255 | CIFAR-10's | CIFAR-10's | as it is |

    ImageNet's are 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225, Caffe's 103.939,
    116.779, 123.68 (blue first), CIFAR-10's 125.3, 123, 113.9 and 63, 62.1, 66.7, as in
    the code of the Cutout paper. "256, crop 224" resizes the shorter side, bilinearly
    with antialiasing, and crops the centre; a network for images of another size gets a
    crop of that size and a margin in proportion. Later weights were measured at other
    sizes, which `weights` selects: 232, crop 224 for `"torchvision:v2"`; 288 without
    crop, bicubic, for timm's `a1_in1k` and `a2_in1k` (235, crop 224 in a network for
    224); 235, crop 224, bicubic, for its `a3_in1k`.

    The variant of a model is read from its layers, as in
    [`describe`][keras_residual.describe], because a saved model does not store it. The
    layers do not show how a network was trained: your own weights expect the
    preprocessing that you trained them with.

    Args:
        network: A `ResNet` or `PlainNet` of this library, a ResNet of
            `keras.applications`, a model around one, or the name of a variant. For a
            [`TransferModel`][keras_residual.TransferModel], which preprocesses images
            itself, the result is for the backbone alone.
        weights: Name of weights that `load_pretrained` takes, such as
            `"torchvision:v2"` or `"timm:resnet50.a1_in1k"`. None: the first published
            ones.

    Returns:
        A new [`ImagePreprocessing`][keras_residual.ImagePreprocessing] layer. For other
        values than the published ones, make that layer yourself.

    Raises:
        ValueError: If `network` is neither a known network nor the name of a variant,
            or `weights` are of another variant.

    Example:
        ```python
        import keras
        import numpy as np
        from keras_residual import ResNet, preprocessing_for

        network = ResNet(18)
        images = keras.Input((None, None, 3), dtype="uint8")
        model = keras.Model(images, network(preprocessing_for(network)(images)))
        print(model.predict(np.zeros((1, 300, 400, 3), "uint8")).shape)  # (1, 1000)
        ```

    Reference:
        [torchvision](https://docs.pytorch.org/vision/stable/models.html),
        [keras.applications](https://keras.io/api/applications/resnet/),
        [He et al.](https://github.com/KaimingHe/deep-residual-networks),
        [akamaster](https://github.com/akamaster/pytorch_resnet_cifar10)
    """
    if isinstance(network, str):
        check_choice("network", network, tuple(VARIANTS))
        return ImagePreprocessing(**_settings(network, weights))
    source = functional(network) if isinstance(network, keras.Model) else None
    structure = source and read_structure(source)
    known = recognise(structure) if structure else None
    choices = [_settings(variant, None) for variant in known.variants] if known else []
    same = all(other == choices[0] for other in choices)
    if structure is None or known is None or known.differences or not same:
        found = f", which is {known}, {' or '.join(known.variants)}" if known else ""
        differences = "; ".join(known.differences.values()) if known else ""
        but = f", but: {differences}" if differences else ""
        raise ValueError(
            "`network` must be a network of one known variant, or the name of it: "
            f"{', '.join(map(repr, VARIANTS))}. "
            f"Received: network={network!r}{found}{but}"
        )
    settings = _settings(known.variants[0], weights)
    data_format = structure.stem.data_format
    shape = structure.model.inputs[0].shape[1:]
    sides = shape[:2] if data_format == "channels_last" else shape[1:]
    crop = settings.get("crop")
    if crop and None not in sides and sides != (crop, crop):
        margin = settings["resize"] / crop
        if margin == 1:
            # What timm tests at 288 without a margin it tests at 224 with this one.
            margin = 235 / 224
        settings["crop"] = sides
        settings["resize"] = round(max(sides) * margin)
    return ImagePreprocessing(**settings, data_format=data_format)


def _settings(variant: str, weights: str | None) -> dict[str, Any]:
    known = VARIANTS[variant]
    settings = dict(SETTINGS[known.preprocessing])
    if known.image_size == 224:
        settings.update(EVALUATION)
    if weights is not None:
        check_choice("weights", weights, tuple(n for n, v in KNOWN if v == variant))
        settings.update(EVALUATION_OF.get(weights.rpartition(".")[2], {}))
    return settings
