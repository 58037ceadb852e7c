"""What Cutout does differently on TensorFlow, JAX, PyTorch and NumPy arrays."""

import functools
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np

from keras_residual.layers import _cutout_patches as cutout
from keras_residual.layers._cutout_patches import Rule
from keras_residual.layers._cutout_states import is_symbolic

_NUMPY = SimpleNamespace(
    arange=np.arange,
    cast=lambda x, dtype: np.asarray(x).astype(dtype),
    floor=np.floor,
    matmul=np.matmul,
    maximum=np.maximum,
    mean=np.mean,
    minimum=np.minimum,
    reshape=np.reshape,
    right_shift=np.right_shift,
    round=np.round,
    shape=np.shape,
    sum=np.sum,
    where=np.where,
    zeros_like=np.zeros_like,
)


@functools.cache
def _tensorflow() -> SimpleNamespace:
    import tensorflow as tf

    def shape(x: Any) -> tuple:
        dynamic = tf.shape(x)
        return tuple(
            dynamic[axis] if extent is None else extent
            for axis, extent in enumerate(x.shape)
        )

    return SimpleNamespace(
        arange=tf.range,
        cast=tf.cast,
        floor=tf.floor,
        matmul=tf.matmul,
        maximum=tf.maximum,
        mean=tf.reduce_mean,
        minimum=tf.minimum,
        reshape=tf.reshape,
        right_shift=tf.bitwise.right_shift,
        round=tf.round,
        shape=shape,
        sum=tf.reduce_sum,
        tile=tf.tile,
        where=tf.where,
        zeros_like=tf.zeros_like,
    )


def ops_for(x: Any) -> Any:
    """Array functions for a NumPy array, or a tensor of the backend or TensorFlow."""
    if isinstance(x, np.ndarray):
        return _NUMPY
    if keras.backend.backend() == "tensorflow" or is_symbolic(x):
        return _tensorflow()
    return keras.ops


def erase(rule: Rule, state: Any, images: Any) -> Any:
    """Erases patches of a batch of images.

    Args:
        rule: What to erase.
        state: Integers `(seed, number of the call)`.
        images: A batch; a NumPy array, or a tensor of the backend or of TensorFlow.
    """
    if isinstance(images, np.ndarray):
        output = images.copy()
        _write_patches(rule, state, images, output)
        return output
    backend = keras.backend.backend()
    if backend == "tensorflow" or is_symbolic(images):
        return _erase_on_tensorflow(rule, state, images)
    if backend == "jax":
        return _compiled_on_jax()(rule, state, images)
    import torch

    if images.device.type != "cpu" or torch.compiler.is_compiling():
        return _erase_masked(rule, state, images)
    output = images.clone()
    # PyTorch would start its threads for every patch.
    plain = output.dtype != torch.bfloat16 and not output.requires_grad
    _write_patches(rule, state, images, output.numpy() if plain else output)
    return output


def check_range(low: float, high: float, images: Any) -> None:
    """Raises a ValueError for values outside a range, where values are at hand."""
    expected = f"`inputs` must be within value_range={(low, high)!r}"
    if is_symbolic(images):
        import tensorflow as tf

        least, most = tf.reduce_min(images), tf.reduce_max(images)
        inside = (tf.cast(least, "float32") >= low) & (tf.cast(most, "float32") <= high)
        tf.debugging.Assert(inside, [expected, "Received: values from", least, most])
    elif _has_values(images) and 0 not in images.shape:
        ops = np if isinstance(images, np.ndarray) else keras.ops
        least, most = float(ops.min(images)), float(ops.max(images))
        # Not `least < low or ...`: NaN is outside as well.
        if not (least >= low and most <= high):
            raise ValueError(f"{expected}. Received: values from {least:g} to {most:g}")


def _has_values(images: Any) -> bool:
    """Whether the values are known, and not still to be computed."""
    if keras.backend.backend() == "jax":
        import jax

        return not isinstance(images, jax.core.Tracer)
    if keras.backend.backend() == "torch":
        import torch

        return not torch.compiler.is_compiling()
    return True


def _erase_masked(rule: Rule, state: Any, images: Any) -> Any:
    ops = keras.ops
    shape = tuple(images.shape)
    patches = cutout.draw_patches(ops, rule, state, *_extents(rule, shape))
    mask = cutout.erase_mask(ops, rule, patches, shape)
    dtype = keras.backend.standardize_dtype(images.dtype)
    return ops.where(mask, cutout.fill_values(ops, rule, state, images, dtype), images)


@functools.cache
def _compiled_on_jax() -> Any:
    import jax

    # Op by op the mask would be written and read several times.
    return jax.jit(_erase_masked, static_argnums=0)


def _erase_on_tensorflow(rule: Rule, state: Any, images: Any) -> Any:
    import tensorflow as tf

    ops = _tensorflow()
    shape = ops.shape(images)
    count, height, width = _extents(rule, shape)
    largest = rule.max_size or rule.size
    for length, extent in zip(largest, (height, width), strict=True):
        if not length.is_share and not isinstance(extent, int):
            message = "`size` must not be larger than the images"
            tf.debugging.assert_less_equal(int(length.value), extent, message)
    patches = cutout.draw_patches(ops, rule, state, count, height, width)
    mask = cutout.erase_mask(ops, rule, patches, shape)
    fill = cutout.fill_values(ops, rule, state, images, images.dtype.name)
    # `tf.where` broadcasts, which costs half as much again where XLA does not fuse it.
    size = tf.shape(images)
    fill = tf.broadcast_to(fill, size) if fill.shape.rank else tf.fill(size, fill)
    return tf.raw_ops.Select(condition=mask, x=fill, y=images)


def _write_patches(rule: Rule, state: Any, images: Any, output: Any) -> None:
    """Erases in `output`, a copy of the images: the least memory to touch on a CPU."""
    ops = _NUMPY if isinstance(output, np.ndarray) else keras.ops
    shape = tuple(images.shape)
    count, height, width = _extents(rule, shape)
    dtype = keras.backend.standardize_dtype(images.dtype)
    state = keras.ops.convert_to_numpy(state)
    patches = cutout.draw_patches(_NUMPY, rule, state, count, height, width)
    rows = np.clip(patches[:2], 0, height).reshape(2, -1).tolist()
    columns = np.clip(patches[2:], 0, width).reshape(2, -1).tolist()
    fill: Any = rule.fill
    if fill == "noise":
        index = cutout.noise_index(_NUMPY, rule, shape)
    elif not isinstance(fill, float):
        array = _NUMPY if isinstance(images, np.ndarray) else keras.ops
        fill = cutout.fill_values(array, rule, state, images, dtype)
        fill = keras.ops.convert_to_numpy(fill) if ops is _NUMPY else fill
    channels = () if rule.data_format == "channels_last" else (slice(None),)
    for number, (top, bottom, left, right) in enumerate(
        zip(*rows, *columns, strict=True)
    ):
        if top == bottom or left == right:
            continue
        image = number // rule.num_holes
        patch = (image, *channels, slice(top, bottom), slice(left, right))
        if rule.fill == "noise":
            output[patch] = _noise_in(ops, rule, state, index[image], patch, dtype)
        elif isinstance(fill, float):
            output[patch] = fill
        else:
            output[patch] = fill[image % len(fill)]


def _noise_in(
    ops: Any, rule: Rule, state: Any, index: np.ndarray, patch: tuple, dtype: str
) -> Any:
    """The noise that tiling an image with that of one patch puts at this place."""
    *channels, rows, columns = patch[1:]
    height, width = index.shape[len(channels) : len(channels) + 2]
    row = np.arange(rows.start, rows.stop)[:, None] % height
    column = np.arange(columns.start, columns.stop) % width
    drawn = "float32" if "float" in dtype else dtype
    noise = cutout.noise_at(_NUMPY, rule, state, index[(*channels, row, column)], drawn)
    return ops.cast(noise, dtype)


def _extents(rule: Rule, shape: tuple) -> tuple[Any, Any, Any]:
    """Number of images, height and width."""
    if rule.data_format == "channels_last":
        return shape[0], shape[1], shape[2]
    return shape[0], shape[2], shape[3]
