"""The networks of simulation 5: the baseline, and transfer from a backbone."""

from typing import Any

import keras
import numpy as np

from keras_residual import TransferModel
from keras_residual.experiments import RefusedError

SMALLEST_IMAGE = 8  # the baseline halves it three times
HIDDEN_UNITS = 128
UNFREEZE = 20  # layers
MAPS = 8


def baseline(image_size: int, num_classes: int) -> keras.Model:
    """Three convolutions of 32, 64 and 128 channels, and a dense layer of 512."""
    inputs = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(1 / 255, name="rescaling")(inputs)
    for index, filters in enumerate((32, 64, 128), start=1):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"conv{index}"
        )(x)
        x = keras.layers.MaxPooling2D(name=f"pool{index}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pooling")(x)
    x = keras.layers.Dense(512, activation="relu", name="hidden")(x)
    x = keras.layers.Dense(num_classes, activation="softmax", name="classifier")(x)
    return keras.Model(inputs, x, name="baseline")


def transfer(
    mode: str, backbone: str, weights: str | None, image_size: int, num_classes: int
) -> TransferModel:
    """A backbone with a new head; with "fine_tuning" its last layers train as well."""
    tail: dict[str, Any] = {"unfreeze": UNFREEZE} if mode == "fine_tuning" else {}
    return TransferModel(
        backbone,
        num_classes,
        mode=mode,
        weights=weights,
        hidden_units=HIDDEN_UNITS,
        input_shape=(image_size, image_size, 3),
        **tail,
    )


def resolve_source(settings: Any, num_classes: int) -> str:
    """Where the backbone's weights come from: "ImageNet", "file" or "generated".

    Whatever is wrong with the backbone, its weights or the image size is found here.
    """
    image_size = settings.image_size

    def attempt(mode: str, weights: str | None, size: int = image_size) -> Any:
        model = transfer(mode, settings.backbone, weights, size, num_classes)
        check_sizes(model.backbone, size)
        return model

    try:
        if image_size < SMALLEST_IMAGE:
            raise ValueError(
                f"--image-size must be {SMALLEST_IMAGE} or more, not {image_size}"
            )
        baseline(image_size, num_classes)
        attempt("scratch", None).unfreeze(UNFREEZE)
        if settings.source != "generated":
            try:
                attempt("fine_tuning", settings.weights or "imagenet")
                return "ImageNet" if settings.weights in (None, "imagenet") else "file"
            except (ConnectionError, ImportError, ValueError) as error:
                # No network, no reader of the file, or no such weights.
                if settings.weights is not None:
                    raise
                print(f"{error}\nInstead, the backbone learns on generated images.")
        attempt("scratch", None, settings.source_image_size)
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error).splitlines()[0]) from error
    return "generated"


def check_sizes(network: keras.Model, size: int) -> None:
    """Refuses what has pooled an image away, which some versions of Keras allow."""
    for layer in network.layers:
        if 0 in layer.output.shape:
            raise ValueError(
                f"{network.name} cannot take images of {size} pixels: nothing is left "
                f"of them behind its layer {layer.name}"
            )


def first_maps(model: keras.Model, image: np.ndarray) -> dict[str, np.ndarray]:
    """What the first layers make of one image.

    Args:
        model: The baseline or a `TransferModel`.
        image: One image, `(1, height, width, 3)`.

    Returns:
        The maps behind the first convolution (`first`) and behind the last layer at a
        quarter of the image's size (`quarter`): arrays `(8, height, width)` of the
        channels that vary most, in the order of their numbers.
    """
    network = model
    if isinstance(model, TransferModel):
        network = model.backbone
        image = keras.Model(model.inputs, model.get_layer("backbone").input)([image])
    layers = [
        layer
        for layer in network.layers
        if len(layer.output.shape) == 4
        and not isinstance(layer, (keras.layers.InputLayer, keras.layers.ZeroPadding2D))
    ]
    height = image.shape[1]
    found = {
        "first": next(
            layer for layer in layers if isinstance(layer, keras.layers.Conv2D)
        )
    }
    for layer in layers:
        if round(height / layer.output.shape[1]) == 4:
            found["quarter"] = layer
    outputs = {name: layer.output for name, layer in found.items()}
    maps = keras.Model(network.inputs, outputs)([image])
    return {name: _strongest(values) for name, values in maps.items()}


def _strongest(values):
    values = keras.ops.convert_to_numpy(values)[0].astype(np.float32)
    channels = np.argsort(-values.std((0, 1)))[:MAPS]
    return np.moveaxis(values[..., np.sort(channels)], -1, 0)
