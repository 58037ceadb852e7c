"""The preprocessing that belongs to a network."""

from typing import Any

import keras

from keras_residual.layers._checks import check_choice
from keras_residual.layers.image_preprocessing import ImagePreprocessing
from keras_residual.models._graph import functional
from keras_residual.models._variants import VARIANTS
from keras_residual.models.weights._known_weights import KNOWN
from keras_residual.models.weights._structure import read_structure, recognise

_IMAGENET: dict[str, Any] = {
    # Mean and standard deviation of ImageNet's pixels, on a scale of 0 to 1, in RGB.
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "value_range": (0.0, 1.0),
}
_CAFFE: dict[str, Any] = {
    # The mean pixel that keras.applications subtracts, on a scale of 0 to 255, in BGR.
    "mean": (103.939, 116.779, 123.68),
    "channel_order": "bgr",
}
_EVALUATION = {"resize": 256, "crop": 224}

PREPROCESSING: dict[str, dict[str, Any]] = {
    # torchvision, `ResNet50_Weights.IMAGENET1K_V1.transforms()`.
    "torchvision": {**_IMAGENET, **_EVALUATION},
    # `keras.applications.resnet.preprocess_input`. Keras documents no evaluation: the
    # size is that of the authors, whose weights were the first of keras.applications.
    "keras": {**_CAFFE, **_EVALUATION},
    # KaimingHe/deep-residual-networks: BGR, 0 to 255, "224x224 center crop from resized
    # image with shorter side = 256"; it subtracts a mean image, of which this is the
    # mean pixel.
    "paper": {**_CAFFE, **_EVALUATION},
    # akamaster/pytorch_resnet_cifar10, trainer.py: ImageNet's constants, on CIFAR-10.
    "cifar": _IMAGENET,
}


# How the published accuracies of other weights than the first ones were measured.
_EVALUATION_OF: dict[str, dict[str, Any]] = {
    # torchvision, `ResNet50_Weights.IMAGENET1K_V2.transforms()`.
    "torchvision:v2": {"resize": 232, "crop": 224},
    # timm, models/resnet.py: sizes and shares for tests, `interpolation="bicubic"`.
    "a1_in1k": {"resize": 288, "crop": 288, "interpolation": "bicubic"},
    "a2_in1k": {"resize": 288, "crop": 288, "interpolation": "bicubic"},
    "a3_in1k": {"resize": 235, "crop": 224, "interpolation": "bicubic"},
}


def preprocessing_for(
    network: keras.Model | str, *, weights: str | None = None
) -> ImagePreprocessing:
    """Returns the preprocessing that the published weights of a network expect.

    | variant | channels | values | mean | standard deviation | size |
    |---|---|---|---|---|---|
    | `"torchvision"` | RGB | 0 to 1 | ImageNet's | ImageNet's | 256, crop 224 |
    | `"keras"`, `"paper"` | BGR | 0 to 255 | Caffe's | 1 | 256, crop 224 |
    | `"cifar"` | RGB | 0 to 1 | ImageNet's | ImageNet's | as it is |

    ImageNet's are 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225, Caffe's 103.939,
    116.779, 123.68 (blue first). "256, crop 224" resizes the shorter side, bilinearly
    with antialiasing, and cuts the middle out; a network for images of another size
    gets a crop of that size and a margin in proportion. Other weights than the first
    that were published were measured at other sizes, which `weights` tells: 232, crop
    224 for `"torchvision:v2"`; 288 uncropped, bicubic for timm's `a1_in1k` and
    `a2_in1k` (235, crop 224 in a network for 224); 235, crop 224, bicubic for its
    `a3_in1k`.

    The variant of a model is read from its layers, as by
    [`describe`][keras_residual.describe], since it is no part of a saved model. The
    layers cannot show with what a network was trained: weights of your own expect what
    you trained them with.

    Args:
        network: A `ResNet` or `PlainNet` of this library, a ResNet of
            `keras.applications`, a model around one, or the name of a variant. Of a
            [`TransferModel`][keras_residual.TransferModel], which does its own
            preprocessing, the result is for the backbone alone.
        weights: Name of the weights that `load_pretrained` takes, such as
            `"torchvision:v2"` or `"timm:resnet50.a1_in1k"`, or None for the first that
            were published.

    Returns:
        A new [`ImagePreprocessing`][keras_residual.ImagePreprocessing] layer. Other
        values than the published ones: `ImagePreprocessing(...)`.

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
    known = structure and recognise(structure)
    name, variants, differences = known or (None, [], [])
    choices = [PREPROCESSING[variant] for variant in variants]
    same = all(other == choices[0] for other in choices)
    if structure is None or not choices or differences or not same:
        found = f", which is {name}, {' or '.join(variants)}" if name else ""
        but = f", but: {'; '.join(differences)}" if differences else ""
        raise ValueError(
            "`network` must be a network of one known variant, or the name of it: "
            f"{', '.join(map(repr, VARIANTS))}. "
            f"Received: network={network!r}{found}{but}"
        )
    settings = _settings(variants[0], weights)
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
    if weights is None:
        return dict(PREPROCESSING[variant])
    check_choice("weights", weights, tuple(n for n, v in KNOWN if v == variant))
    evaluation = _EVALUATION_OF.get(weights.rpartition(".")[2], {})
    return {**PREPROCESSING[variant], **evaluation}
