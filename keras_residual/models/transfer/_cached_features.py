"""A backbone's features of a data set, valid for the weights that computed them."""

import dataclasses
import logging
import os
from pathlib import Path

import keras
import numpy as np

from keras_residual.layers._checks import (
    check_choice,
    check_file,
    check_positive_integer,
)
from keras_residual.models.transfer._feature_data import ContentHash, Data
from keras_residual.models.transfer._feature_file import (
    FeatureFile,
    GrowingFeatures,
    joined_weights,
    read_features,
)
from keras_residual.models.transfer._fingerprint import fingerprint
from keras_residual.models.transfer._first_batch import check_images, check_labels
from keras_residual.models.transfer._head import output_kind

_LOGGER = logging.getLogger("keras_residual")


@dataclasses.dataclass(frozen=True)
class CachedFeatures:
    """Features and labels of a data set, as `TransferModel.cache_features` gives them.

    Attributes:
        features: Array `(n, width)`, the pooled output of the backbone.
        labels: Array of the labels, `n` of them.
        made_by: Hash of what they depend on: backbone, preprocessing and pooling.
        sample_weights: Array of the weights of the images in the loss, or None.
    """

    features: np.ndarray
    labels: np.ndarray
    made_by: str
    sample_weights: np.ndarray | None = None

    def __len__(self):
        return len(self.features)

    def part(self, places) -> "CachedFeatures":
        """Returns some of the rows.

        Args:
            places: Which rows: a slice, or an array of indices or booleans.
        """
        weights = self.sample_weights
        return dataclasses.replace(
            self,
            features=self.features[places],
            labels=self.labels[places],
            sample_weights=None if weights is None else weights[places],
        )


def cache_features(
    self,
    dataset,
    labels=None,
    *,
    sample_weight=None,
    copies: int = 1,
    batch_size: int = 32,
    filepath: str | os.PathLike | None = None,
    verbose: int = 1,
) -> CachedFeatures:
    """Runs images through the frozen backbone once, for any number of epochs.

    `fit` (also as `validation_data`) and `evaluate` take the result in place of
    images and labels: the head trains alone, at the cost of this one pass. `predict`
    takes images as before.

    The features take four bytes a number, in memory or in a file. An existing file is
    used again if backbone, preprocessing, pooling, `copies` and data are unchanged. To
    check this, the data are read but not run through the backbone. Otherwise the
    features are computed again, a warning is logged, and the file is replaced once the
    new one is complete. The order of the images counts in an array, not in a data set.
    A randomly augmented data set counts as new data each time. The model's own
    `augmentation` does not affect features.

    Args:
        dataset: Images in an array, or a data set of batches of images and labels.
            None takes the features in `filepath`, and checks the model but not the
            data.
        labels: The labels of an array of images.
        sample_weight: The weights of an array of images in the loss, or None. A data
            set has weights as the third part of its batches. The features keep them;
            `class_weight` is an argument of `fit`, as for images.
        copies: Positive integer. How often the data set is read, for one that augments
            at random.
        batch_size: Positive integer. Images at a time, if they are an array.
        filepath: Path of an `.h5` file to keep the features in, from which training
            reads them. None keeps them in memory.
        verbose: 1 for a progress bar, 0 for none.

    Returns:
        A [`CachedFeatures`][keras_residual.models.CachedFeatures] with `copies` rows
        for each image. They are rejected once the backbone's weights change.

    Raises:
        ValueError: If an argument is outside its range, a part of the backbone trains,
            `fit` would not accept the data, or `filepath` is damaged or another kind of
            file.
    """
    copies = check_positive_integer("copies", copies)
    batch_size = check_positive_integer("batch_size", batch_size)
    check_choice("verbose", verbose, (0, 1))
    path = None if filepath is None else check_file("filepath", filepath, (".h5",))
    _check_frozen(self)
    if dataset is None:
        return _as_it_is(self, path)
    data = Data(dataset, labels, sample_weight, copies, batch_size)
    data.check(in_file=path is not None)
    made_by = fingerprint(self)
    if path is None:
        parts: list[tuple] = []
        _run(self, data, lambda *part: parts.append(part), verbose)
        features, classes, weights = zip(*parts, strict=True)
        return CachedFeatures(
            np.concatenate(features),
            np.concatenate(classes),
            made_by,
            joined_weights(weights),
        )
    file = read_features(path) if path.exists() else None
    if file is None or not _fits(file, path, made_by, data):
        file = _written(self, data, path, made_by, verbose)
    return CachedFeatures(file.features, file.labels, made_by, file.sample_weights)


def opened(model, cache, y=None, sample_weight=None) -> dict:
    """Arguments of `fit`; raises unless the model would compute the same features."""
    if y is not None:
        raise ValueError(
            "`y` must be left out with cached features, which hold the labels. "
            f"Received: y of type {type(y).__name__}"
        )
    if cache.sample_weights is not None:
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` must be left out with cached features that hold the "
                "weights. Received: sample_weight of type "
                f"{type(sample_weight).__name__}"
            )
        sample_weight = cache.sample_weights
    _check_frozen(model)
    if cache.made_by != fingerprint(model):
        raise ValueError(
            "`x` must be features of this model's backbone as it is now: its weights, "
            "its preprocessing or its pooling have changed since they were cached. "
            "Call `cache_features` again. Received: features of another backbone"
        )
    found = {"x": cache.features, "y": cache.labels, "sample_weight": sample_weight}
    return {name: value for name, value in found.items() if value is not None}


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
        for images, classes, weights in data.batches():
            check_images(images, model.input_shape[1:], model.value_range)
            check_labels(classes, model.num_classes, output_kind(model))
            # MirroredStrategy gives the outputs once for each replica.
            outputs = network.predict_on_batch(images)[: len(images)]
            # A copy: on the CPU a backend may hand out its own memory.
            add(np.array(outputs, "float32"), classes, weights)
            if hashed:
                content.add(images, classes, weights)
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
        reason = "other images or labels (or they are random at each reading)"
    if reason is not None:
        _LOGGER.warning("%s holds features of %s: computing them again", path, reason)
    return reason is None


def _hash(data: Data) -> str:
    content = ContentHash(data)
    for batch in data.batches():
        content.add(*batch)
    return content.hexdigest()


def _as_it_is(model, path: Path | None) -> CachedFeatures:
    if path is None or not path.exists():
        raise ValueError(
            "`dataset` must be images or a data set, or None for a `filepath` that "
            f"exists. Received: dataset=None, filepath={path and str(path)!r}"
        )
    file = read_features(path)
    cache = CachedFeatures(
        file.features, file.labels, file.made_by, file.sample_weights
    )
    opened(model, cache)
    return cache
