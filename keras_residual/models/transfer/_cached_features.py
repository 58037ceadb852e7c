"""A backbone's features of a data set, which belong to the weights that made them."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

import keras
import numpy as np

from keras_residual.layers._checks import check_choice, check_positive_integer
from keras_residual.models.transfer._feature_data import ContentHash, Data
from keras_residual.models.transfer._feature_file import (
    FeatureFile,
    GrowingFeatures,
    check_path,
    read_features,
)
from keras_residual.models.transfer._first_batch import check_images, check_labels

_LOGGER = logging.getLogger("keras_residual")


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


def compute(
    model, dataset, labels, copies, batch_size, filepath=None, verbose=0
) -> CachedFeatures:
    """Runs the data through the backbone of a TransferModel, or reads what it gave."""
    copies = check_positive_integer("copies", copies)
    batch_size = check_positive_integer("batch_size", batch_size)
    check_choice("verbose", verbose, (0, 1))
    path = check_path(filepath)
    _check_frozen(model)
    if dataset is None:
        return _as_it_is(model, path)
    data = Data(dataset, labels, copies, batch_size)
    data.check(in_file=path is not None)
    made_by = _fingerprint(model)
    if path is None:
        parts: list[tuple] = []
        _run(model, data, lambda *part: parts.append(part), verbose)
        features, classes = zip(*parts, strict=True)
        return CachedFeatures(
            np.concatenate(features), np.concatenate(classes), made_by
        )
    file = read_features(path) if path.exists() else None
    if file is None or not _fits(file, path, made_by, data):
        file = _written(model, data, path, made_by, verbose)
    return CachedFeatures(file.features, file.labels, made_by)


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


def _run(model, data: Data, add, verbose, hashed=False) -> list[str]:
    """Hands features and labels to `add`, and returns a hash of each reading."""
    network = model._features.network  # compiled once for all calls
    steps = data.num_batches and data.copies * data.num_batches
    progress = keras.utils.Progbar(steps, verbose=verbose, unit_name="batch")
    readings = []
    for _ in range(data.copies):
        content, empty = ContentHash(data), True
        for images, classes in data.batches():
            check_images(images, model.input_shape[1:], model.value_range)
            check_labels(classes, model.num_classes)
            # MirroredStrategy gives the outputs once for each replica.
            outputs = network.predict_on_batch(images)[: len(images)]
            # A copy: on the CPU a backend may hand out its own memory.
            add(np.array(outputs, "float32"), classes)
            if hashed:
                content.add(images, classes)
            progress.add(1)
            empty = False
        if empty:
            raise ValueError("`dataset` must hold images. Received: no batch")
        readings.append(content.hexdigest())
    return readings


def _written(model, data: Data, path: Path, made_by, verbose) -> FeatureFile:
    with GrowingFeatures(path.parent) as features:
        readings = _run(model, data, features.add, verbose, hashed=True)
        features.save(path, made_by, readings)
    return read_features(path)


def _fits(file: FeatureFile, path: Path, made_by, data: Data) -> bool:
    reason = None
    if file.made_by != made_by:
        reason = "another backbone, other weights or another preprocessing"
    elif len(file.readings) != data.copies:
        reason = f"{len(file.readings)} copies, not {data.copies},"
    elif not all(_hash(data) == reading for reading in file.readings):
        reason = "other images or labels (or of ones that are random at each reading)"
    if reason is not None:
        _LOGGER.warning("%s holds features of %s: computing them anew", path, reason)
    return reason is None


def _hash(data: Data) -> str:
    content = ContentHash(data)
    for images, classes in data.batches():
        content.add(images, classes)
    return content.hexdigest()


def _as_it_is(model, path: Path | None) -> CachedFeatures:
    if path is None or not path.exists():
        raise ValueError(
            "`dataset` must be images or a data set, or None for a `filepath` that "
            f"exists. Received: dataset=None, filepath={path and str(path)!r}"
        )
    file = read_features(path)
    cache = CachedFeatures(file.features, file.labels, file.made_by)
    opened(model, cache, None)
    return cache


def _fingerprint(model):
    parts = [layer for layer in model.layers if layer.name not in ("backbone", "head")]
    configs = [part.get_config() for part in parts]
    network = keras.saving.serialize_keras_object(model.backbone)
    configs.append(_without_names(network))
    digest = hashlib.sha256(json.dumps(configs, default=str, sort_keys=True).encode())
    for weight in model.backbone.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


# Where a network's config has the names of its layers.
_NAMES = ("name", "keras_history", "input_layers", "output_layers")


def _without_names(config):
    """The config with layers numbered: Keras names those of a second network anew."""
    return _numbered(config, {}, named=False)


def _numbered(config, numbers, named):
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
