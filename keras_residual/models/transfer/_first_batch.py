"""Checks of the first batch: images in another range, impossible labels."""

import types

import keras
import numpy as np

from keras_residual.models.transfer._head import output_kind

# Images of 0 to 1, with what resizing and augmentation may add.
_UNIT = 1.01


def checked(model, x, y=None):
    """Raises if these cannot be the model's data, and returns `x` to continue with."""
    images, labels, x = first_batch(x, y)
    if images is not None:
        check_images(images, model.input_shape[1:], model.value_range)
    if labels is not None:
        check_labels(labels, model.num_classes, output_kind(model))
    return x


def first_batch(x, y):
    """Images and labels of the first batch, and the data to continue with.

    The first batch of a generator is put back in front.
    """
    if x is None or isinstance(x, (dict, list, tuple)):
        # Keras takes these as several inputs, and reports errors itself.
        return None, None, x
    if hasattr(x, "shape"):
        return as_array(x[:32]), None if y is None else as_array(y), x
    if isinstance(x, types.GeneratorType):
        batch = next(x, None)
        if batch is not None:
            x = _chain(batch, x)
    elif isinstance(x, keras.utils.PyDataset):
        batch = x[0]
    else:
        batch = next(iter(x), None)
    if not isinstance(batch, (list, tuple)):
        batch = (batch,)
    images = batch[0]
    if images is None or isinstance(images, dict):
        return None, None, x
    labels = batch[1] if len(batch) > 1 else None
    return as_array(images), None if labels is None else as_array(labels), x


def check_images(images: np.ndarray, input_shape: tuple, value_range) -> None:
    """Raises if these cannot be the images that the model was made for."""
    if images.ndim != 4 or any(
        expected not in (None, size)
        for expected, size in zip(input_shape, images.shape[1:], strict=True)
    ):
        raise ValueError(
            f"`x` must hold images of shape {('batch', *input_shape)}. "
            f"Received: a batch of shape {images.shape}"
        )
    if value_range is None or not images.size:
        return
    low, high = float(images.min()), float(images.max())
    is_integer = np.issubdtype(images.dtype, np.integer)
    # Integers of 0 and 1 are a dark frame.
    if value_range == (0, 255) and not is_integer and 0 <= low < high <= _UNIT:
        likely = "0 to 1"
        advice = "multiply them by 255 or make the model with value_range=(0, 1)"
    elif value_range == (0, 1) and low >= 0 and high > 2:
        likely = "0 to 255"
        advice = "divide them by 255 or make the model with value_range=(0, 255)"
    elif (
        # Resizing may go a little beyond the range.
        low < -0.1 * value_range[1]
        or high > 1.1 * value_range[1]
        or (low < 0 and high < 0.05 * value_range[1])
    ):
        likely = f"{low:.4g} to {high:.4g}"
        advice = (
            "the model preprocesses images itself, so pass them without preprocessing "
            "(value_range=None turns this check off)"
        )
    else:
        return
    raise ValueError(
        f"`x` must hold images in the range {value_range[0]} to {value_range[1]}, and "
        f"these look like {likely}: {advice}. "
        f"Received: a first batch from {low:.4g} to {high:.4g}"
    )


def check_labels(labels: np.ndarray, num_classes: int, kind: str | None) -> None:
    """Raises if these cannot be labels of the outputs; None as kind accepts any."""
    if kind is None:
        return
    one_each = labels.ndim == 2 and labels.shape[1] == num_classes
    single = labels.ndim == 1 or labels.shape[1:] == (1,)
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if kind == "classes":
        if one_each or (single and low >= 0 and high < num_classes):
            return
        expected = (
            f"class numbers from 0 to {num_classes - 1}, or one-hot rows of "
            f"{num_classes}, for num_classes={num_classes}"
        )
    else:
        # Several outputs and one label would broadcast against each other.
        fits = one_each or (single and num_classes == 1)
        if fits and (kind == "numbers" or (low >= 0 and high <= 1)):
            return
        range_ = "" if kind == "numbers" else " from 0 to 1"
        expected = (
            f"numbers{range_}, {num_classes} for each image, for "
            f"num_classes={num_classes}"
        )
    received = f"labels of shape {labels.shape}"
    if single or one_each:
        received = f"labels from {low} to {high}"
        if not single or kind != "classes":
            received += f" of shape {labels.shape}"
    raise ValueError(f"`y` must hold {expected}. Received: {received}")


def as_array(values) -> np.ndarray:
    """The values of a tensor of the backend, or of anything else, in NumPy."""
    if keras.ops.is_tensor(values):
        return keras.ops.convert_to_numpy(values)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(values, tf.distribute.DistributedValues):
            # One part for each replica, of a dataset that a strategy distributes.
            parts = tf.nest.flatten(values, expand_composites=True)
            return np.concatenate([np.asarray(part) for part in parts])
    return np.asarray(values)


def _chain(first, rest):
    # Keras takes generators, but no other iterators.
    yield first
    yield from rest
