"""A hash of all that the features of an image depend on."""

import hashlib
import json

import keras
import numpy as np


def fingerprint(model) -> str:
    """The hash of the backbone with its weights, the preprocessing and the pooling."""
    # An augmentation does nothing in inference.
    others = ("backbone", "head", "augmentation")
    parts = [layer for layer in model.layers if layer.name not in others]
    configs = [part.get_config() for part in parts]
    network = keras.saving.serialize_keras_object(model.backbone)
    configs.append(_numbered(network, {}, named=False))
    digest = hashlib.sha256(json.dumps(configs, default=str, sort_keys=True).encode())
    for weight in model.backbone.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


# Where a network's config has the names of its layers.
_NAMES = ("name", "keras_history", "input_layers", "output_layers")


def _numbered(config, numbers, named):
    """The config with numbers for names, which differ in a second, equal network."""
    if isinstance(config, dict):
        return {
            key: _numbered(value, numbers, key in _NAMES)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return [_numbered(value, numbers, named) for value in config]
    if named and isinstance(config, str):
        return numbers.setdefault(config, f"#{len(numbers)}")
    return config
