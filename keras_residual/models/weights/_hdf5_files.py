"""Keras's files of weights: HDF5, in the legacy and the current format."""

import io
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_residual.layers._random_state import KEY as RANDOM_STATE
from keras_residual.models.weights._not_weights import TOO_LITTLE, NotWeights, Tensors

# Variables by their numbers in the current format.
_CONVOLUTION = ("kernel", "bias")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def read_hdf5(file: Path | io.BytesIO, size: int) -> Tensors:
    with h5py.File(file, "r") as content:
        nodes: dict[str, h5py.Group | h5py.Dataset] = {}
        # Follows hard links only: a file cannot lead to another one.
        content.visititems(nodes.__setitem__)
        datasets = {p: n for p, n in nodes.items() if isinstance(n, h5py.Dataset)}
        for path, dataset in datasets.items():
            if dataset.external or dataset.is_virtual:
                raise NotWeights(f"its tensor {path!r} points to another file")
            # Records of variable length may point to one place a thousand times.
            if dataset.dtype.hasobject:
                raise NotWeights(f"its tensor {path!r} holds other data than numbers")
        # Chunks that were never written take memory, but no space on disk.
        if sum(dataset.nbytes for dataset in datasets.values()) > 2 * size:
            raise NotWeights(TOO_LITTLE)
        # A whole model in the legacy format keeps its weights one level down.
        prefix = "model_weights/" if "model_weights" in nodes else ""
        legacy = "layer_names" in (nodes.get(prefix[:-1]) or content).attrs
        if not legacy:
            _check_order()
        tensors: Tensors = {}
        for path, dataset in datasets.items():
            if not path.startswith(prefix) or path.startswith("optimizer"):
                continue
            if path.endswith(f"/vars/{RANDOM_STATE}"):
                continue
            name = _legacy_name(path[len(prefix) :]) if legacy else _name(nodes, path)
            if name in tensors:
                raise NotWeights(f"it holds two tensors of the name {name!r}")
            tensors[name] = np.array(dataset)
            if dataset.attrs.get("dtype") == "bfloat16":
                tensors[name] = tensors[name].view(ml_dtypes.bfloat16)
        return tensors


def _legacy_name(path: str) -> str:
    """`conv1_conv/conv1_conv/kernel:0` is `conv1_conv/kernel`."""
    parts = path.split(":")[0].split("/")
    return "/".join([parts[0], *(parts[2:] or parts[1:])])


def _check_order() -> None:
    """Raises if this Keras numbers variables in another order than `_NORM`.

    A file does not store which of two orders it has.
    """
    norm = keras.layers.BatchNormalization(name="order")
    norm.build((None, 1))
    saved: dict = {}
    norm.save_own_variables(saved)
    order = tuple(variable.name for _, variable in sorted(saved.items()))
    if order != _NORM:
        raise NotWeights(
            f"Keras {keras.version()} saves batch normalization as {', '.join(order)}, "
            f"but keras-residual reads {', '.join(_NORM)}. Export the weights with "
            "export_torch under an earlier version"
        )


def _name(nodes: dict, path: str) -> str:
    """`layers/conv2d_1/vars/0` is `conv1_conv/kernel`: groups carry layer names."""
    above, _, index = path.rpartition("/")
    *groups, marker = above.split("/")
    ends = range(1, len(groups) + 1)
    states = [nodes.get("/".join([*groups[:end], "vars"])) for end in ends]
    names = [str(state.attrs.get("name", "")) for state in states if state is not None]
    if marker != "vars" or not names or not all(names):
        raise NotWeights(
            f"its entry {path!r} belongs to no named layer, as in files of older "
            "versions of Keras: load it into the model that wrote it, and save again"
        )
    count = len(nodes["/".join([*groups, marker])])
    variables = _NORM if count == len(_NORM) else _CONVOLUTION
    known = index.isdecimal() and int(index) < len(variables)
    return "/".join([*names, variables[int(index)] if known else index])
