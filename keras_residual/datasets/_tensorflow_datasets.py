"""TensorFlow Datasets: finds and prepares builders, or reports what to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_residual._first_line import first_line


def find_builder(name: str, data_dir: str | Path | None, argument: str = "name") -> Any:
    """The builder of a data set; arguments other than "name" hold "tfds:<name>"."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"The data set 'tfds:{name}' needs tensorflow-datasets: "
            "pip install 'keras-residual[datasets]'"
        ) from error
    try:
        return tfds.builder(name, data_dir=data_dir)
    # TFDS asserts that the data set has a version.
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        received = name if argument == "name" else f"tfds:{name}"
        raise ValueError(
            f"`{argument}` must be a data set of TensorFlow Datasets "
            "(https://www.tensorflow.org/datasets/catalog). "
            f"Received: {argument}={received!r}"
        ) from error


def image_shape(builder: Any) -> tuple[int | None, ...] | None:
    """The shape of an image, None where images or labels are missing."""
    features = builder.info.features
    if "image" not in features or "label" not in features:
        return None
    return features["image"].shape


def check_images(builder: Any, name: str, argument: str) -> None:
    """Raises unless the data set has images of any size, each with a label."""
    shape = image_shape(builder)
    if shape is None or len(shape) != 3:
        raise ValueError(
            f"`{argument}` must be a data set of images with a label. "
            f"Received: {argument}={'tfds:' + name!r}"
        )


def prepare(builder: Any, name: str, split: str | None = None) -> None:
    try:
        builder.download_and_prepare()
    except ImportError as error:
        raise ImportError(
            f"The data set 'tfds:{name}' needs one more package: "
            + (f"pip install {error.name}" if error.name else first_line(error))
        ) from error
    except Exception as error:
        # For reasons from sockets to checksums the remedy is the same.
        raise ConnectionError(
            f"The data set 'tfds:{name}' could not be prepared: go online, or pass "
            f"its folder as `data_dir`. The reason: {first_line(error)}"
        ) from error
    if split is not None and split not in builder.info.splits:
        raise ValueError(
            f"`split` must be one of {', '.join(builder.info.splits)}. "
            f"Received: split={split!r}"
        )


def all_examples(builder: Any, split: str) -> Any:
    return _examples(builder, split, batch_size=-1)


def labels(builder: Any, split: str) -> np.ndarray:
    """The labels alone: no image is decoded."""
    import tensorflow_datasets as tfds

    only = tfds.decode.PartialDecoding({"label": True})
    found = _examples(builder, split, batch_size=-1, decoders=only)["label"]
    return found.astype(np.int64)


def encoded_images(builder: Any, split: str) -> Iterator[bytes]:
    """The image files as they are stored, in the order of the labels."""
    import tensorflow_datasets as tfds

    encoded = {"image": tfds.decode.SkipDecoding()}
    for example in _examples(builder, split, decoders=encoded):
        yield example["image"]


def encoded_examples(
    builder: Any,
    split: str,
    chosen: np.ndarray | None,
    classes: np.ndarray | None,
) -> Any:
    """A `tf.data.Dataset` of the stored files and their labels' places in `classes`.

    Only those where `chosen` is True. None means all, and the labels as they are.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    encoded = {"image": tfds.decode.SkipDecoding()}
    examples = builder.as_dataset(split=split, decoders=encoded)
    if chosen is not None:
        # A dataset beside the examples: a constant would inflate the graph.
        marks = tf.data.Dataset.from_tensor_slices(chosen)
        examples = tf.data.Dataset.zip(examples, marks)
        examples = examples.filter(lambda _, taken: taken).map(
            lambda example, _: example
        )
    pairs = examples.map(lambda example: (example["image"], example["label"]))
    if classes is None:
        return pairs
    sorted_classes = tf.constant(classes, tf.int64)
    return pairs.map(
        lambda image, label: (
            image,
            tf.searchsorted(sorted_classes, [label], out_type=tf.int64)[0],
        )
    )


def class_names(builder: Any) -> list[str]:
    return list(builder.info.features["label"].names)


def _examples(builder: Any, split: str, **options: Any) -> Any:
    import tensorflow_datasets as tfds

    return tfds.as_numpy(builder.as_dataset(split=split, **options))
