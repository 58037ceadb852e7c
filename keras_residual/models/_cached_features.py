"""A backbone's features of a data set, which belong to the weights that made them."""

import dataclasses
import hashlib
import json
import types

import keras
import numpy as np

from keras_residual.layers._checks import check_positive_integer
from keras_residual.models._first_batch import as_array, check_images, check_labels


@dataclasses.dataclass(frozen=True)
class CachedFeatures:
    """Features and labels of a data set, as `TransferModel.cache_features` gives them.

    Attributes:
        features: Array `(n, width)`, the pooled output of the backbone.
        labels: Array of the labels, `n` of them.
        made_by: What the features depend on: backbone, preprocessing and pooling.
    """

    features: np.ndarray
    labels: np.ndarray
    made_by: str

    def __len__(self):
        return len(self.features)


def compute(model, dataset, labels, copies, batch_size) -> CachedFeatures:
    """Runs the data through the backbone of a TransferModel."""
    copies = check_positive_integer("copies", copies)
    batch_size = check_positive_integer("batch_size", batch_size)
    _check_frozen(model)
    if isinstance(dataset, types.GeneratorType) and copies > 1:
        raise ValueError(
            "`dataset` must be one that can be read again if `copies` is greater than "
            f"1. Received: a generator, copies={copies}"
        )
    network = keras.Model(model.input, model.get_layer("pooling").output)
    features, kept = [], []
    for _ in range(copies):
        for images, classes in _batches(dataset, labels, batch_size):
            images, classes = as_array(images), as_array(classes)
            check_images(images, model.input_shape[1:], model.value_range)
            check_labels(classes, model.num_classes)
            features.append(np.array(network.predict_on_batch(images)))
            kept.append(classes)
    if not features:
        raise ValueError("`dataset` must hold images. Received: no batch")
    return CachedFeatures(
        np.concatenate(features), np.concatenate(kept), _fingerprint(model)
    )


def opened(model, cache, y) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels, if they are those of the model as it is now."""
    if y is not None:
        raise ValueError(
            "`y` must be left out with cached features, which hold the labels. "
            f"Received: y of type {type(y).__name__}"
        )
    _check_frozen(model)
    if cache.made_by != _fingerprint(model):
        raise ValueError(
            "`x` must be features of this model's backbone as it is now: its weights, "
            "its preprocessing or its pooling are others than when they were cached. "
            "Call `cache_features` again."
        )
    return cache.features, cache.labels


def _check_frozen(model):
    trainable = len(model.backbone.trainable_variables)
    if trainable:
        raise ValueError(
            "The backbone must be frozen while its features are cached: training on "
            "them would not train it. Call `freeze()` first. "
            f"Received: {trainable} trainable variables"
        )


def _batches(data, labels, batch_size):
    if labels is not None:
        for start in range(0, len(data), batch_size):
            stop = start + batch_size
            yield data[start:stop], labels[start:stop]
        return
    batches = data
    if isinstance(data, keras.utils.PyDataset):
        batches = (data[index] for index in range(data.num_batches))
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise ValueError(
                "`dataset` must give pairs of images and labels, batch by batch. "
                f"Received: an element of type {type(batch).__name__}"
            )
        yield batch


def _fingerprint(model):
    digest = hashlib.sha256()
    for layer in model.layers:
        if layer.name in ("backbone", "head"):
            continue
        config = layer.get_config()
        digest.update(json.dumps(config, default=str, sort_keys=True).encode())
    for weight in model.backbone.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
