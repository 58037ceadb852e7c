"""Strict matching: every tensor is used and every weight set, or nothing changes."""

from pathlib import Path

import keras
import ml_dtypes
import numpy as np

from keras_residual.models.weights._network import Network
from keras_residual.models.weights._weight_names import (
    HEAD,
    Layout,
    depth_of,
    find_layout,
    without_prefix,
)

Assignments = list[tuple[keras.Variable, np.ndarray]]

_FLOATS = [np.dtype(t) for t in ("float16", "float32", "float64", ml_dtypes.bfloat16)]
_SHOWN = 20  # names in a message


def match(
    network: Network, tensors: dict[str, np.ndarray], path: Path
) -> tuple[Assignments, list[str]]:
    """The values of all variables, and notes on what was not loaded one to one."""
    try:
        tensors = without_prefix(tensors)
    except ValueError as error:
        raise ValueError(f"The file {path} holds {error}.") from None
    layout = find_layout(tensors)
    if layout is None:
        raise ValueError(
            f"The file {path} holds no residual network that this library knows. Its "
            f"tensors: {_listed(sorted(tensors))}"
        )
    _check_variant(network, layout, tensors, path)
    tensors = {
        n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")
    }
    shapes = network.shapes()
    skipped, notes = _head(shapes, layout, tensors)

    missing, different, assignments = [], [], []
    unused = set(tensors) - {layout.name(key) for key in skipped}
    for key, variable in network.variables.items():
        name = layout.name(key)
        if key in skipped:
            continue
        if name not in tensors:
            missing.append(name)
            continue
        unused.discard(name)
        array = tensors[name]
        if array.dtype not in _FLOATS:
            different.append(f"{name}: numbers of type {array.dtype} in the file")
            continue
        array = layout.to_keras(array)
        if key == "stem_conv/kernel" and _other_channels(array.shape, shapes[key]):
            array = _adapted(array, network.channels)
            notes.append(_channels_note(network.channels))
        if array.shape != shapes[key]:
            different.append(
                f"{name}: {tensors[name].shape} in the file, "
                f"{layout.file_shape(shapes[key])} in the model"
            )
            continue
        if key.endswith("/moving_variance") and (array < 0).any():
            different.append(f"{name}: negative variances in the file")
            continue
        wide = "float64" if variable.dtype == "float64" else "float32"
        assignments.append((variable, np.ascontiguousarray(array, wide)))
    problems = [
        f"{title}: {_listed(names)}"
        for title, names in (
            ("In the model, not in the file", missing),
            ("In the file, not in the model", sorted(unused)),
            ("Different", different),
        )
        if names
    ]
    if problems:
        raise ValueError(
            f"The file {path}, {_described(layout, tensors)}, does not fit the model "
            f"{network.name!r}, {network}; the model is unchanged. "
            + ". ".join(problems)
        )
    return assignments, notes


def _check_variant(network, layout, tensors, path):
    if layout.variant is None:
        return
    if network.residual and layout.variant == network.variant:
        return
    needed = f"ResNet({depth_of(tensors)}, variant={layout.variant!r})"
    raise ValueError(
        f"The file {path}, {_described(layout, tensors)}, needs the network {needed}. "
        f"Received: the model {network.name!r}, which computes the same as {network}"
    )


def _described(layout: Layout, tensors) -> str:
    origin = {
        "torchvision": "a PyTorch network for ImageNet",
        "resnet_d": "a PyTorch network with the stem of ResNet-D",
        "cifar": "a PyTorch network for CIFAR",
        "keras": "a network of keras.applications",
        None: "a network of keras-residual",
    }[layout.variant]
    return f"{origin} of {depth_of(tensors)} layers"


def _head(shapes, layout, tensors):
    """The variables of the classifier that keep their values, and why."""
    kernel, bias = (tensors.get(layout.name(key)) for key in HEAD)
    if HEAD[0] not in shapes:
        if kernel is None or bias is None:
            return (), []
        return HEAD, ["the classifier of the file is left out: the model has none"]
    if kernel is None and bias is None:
        return HEAD, ["the classifier is new: the file has none"]
    if kernel is None or bias is None or kernel.ndim != 2:
        return (), []
    features, classes = layout.to_keras(kernel).shape
    own_features, own_classes = shapes[HEAD[0]]
    if features == own_features and classes != own_classes and bias.shape == (classes,):
        return HEAD, [
            f"the classifier is new: the file has {classes} classes, the model "
            f"{own_classes}"
        ]
    return (), []


def _other_channels(shape, own):
    return (
        len(shape) == 4
        and (shape[0], shape[1], shape[3]) == (own[0], own[1], own[3])
        and shape[2] == 3 != own[2]
    )


def _adapted(kernel, channels):
    """The first kernel, for other than three channels: the rule of timm."""
    kernel = kernel.astype("float32")
    if channels == 1:
        return kernel.sum(axis=2, keepdims=True)
    repeated = np.tile(kernel, (1, 1, -(-channels // 3), 1))[:, :, :channels]
    return repeated * np.float32(3 / channels)


def _channels_note(channels):
    how = (
        "summed into one"
        if channels == 1
        else f"repeated for {channels} and scaled by 3/{channels}"
    )
    return f"the first kernel's three input channels are {how}"


def _listed(names):
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
