"""Files of weights, read into arrays by name. Nothing in a file is executed."""

import collections
import importlib.util
import io
import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import ml_dtypes
import numpy as np

from keras_residual.layers._random_state import KEY as RANDOM_STATE

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".tar")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".h5", ".hdf5", ".keras")

# The types that weights are stored in; everything else is another kind of data.
_SAFETENSORS_TYPES = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("int64"),  # counters
}

# What Keras numbers in the files that it writes now.
_CONVOLUTION = ("kernel", "bias")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

# Before its storages: magic number, protocol, system, content, names of the storages.
_LEGACY_PICKLES = 5

_TOO_LITTLE = "it declares more data than it holds"

Tensors = dict[str, np.ndarray]


class _NotWeights(Exception):
    """What is wrong with a file, as the end of a sentence."""


def check_readable(path: Path) -> None:
    """Raises what can be known before anything is read or downloaded."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"A file of weights must end in {', '.join(SUFFIXES)}. "
            f"Received: {str(path)!r}"
        )
    if suffix in TORCH_SUFFIXES and importlib.util.find_spec("torch") is None:
        raise ImportError(
            f"{path.name} is a PyTorch file, and PyTorch is not installed: "
            "pip install torch, or take the same weights as .safetensors, which need "
            "pip install 'keras-residual[pretrained]' only."
        )
    if suffix == ".safetensors":
        import_safetensors(path)


def import_safetensors(path: Path):
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{path.name} needs the package safetensors: "
            "pip install 'keras-residual[pretrained]'"
        ) from error
    return safetensors


def read_tensors(path: Path) -> Tensors:
    """Reads every tensor of the file."""
    check_readable(path)
    suffix = path.suffix.lower()
    try:
        if path.stat().st_size == 0:
            raise _NotWeights("it is empty")
        with open(path, "rb") as file:
            start = file.read(512)
        _check_start(suffix, start)
        if suffix in TORCH_SUFFIXES:
            tensors = _read_torch(path)
        elif suffix == ".safetensors":
            tensors = _read_safetensors(path)
        elif suffix == ".keras":
            _check_archive(path)
            with zipfile.ZipFile(path) as archive:
                content = archive.read("model.weights.h5")
            tensors = _read_hdf5(io.BytesIO(content), len(content))
        else:
            tensors = _read_hdf5(path, path.stat().st_size)
        if not tensors:
            raise _NotWeights("it holds no tensors")
    except _NotWeights as error:
        raise ValueError(
            f"The file {path} cannot be read as weights: {error}"
        ) from error
    except Exception as error:
        # The readers raise errors of many libraries; for the user they mean one thing.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"The file {path} cannot be read as weights: it is damaged or incomplete "
            f"({reason})"
        ) from error
    return tensors


def _check_start(suffix: str, start: bytes) -> None:
    # A download that ended at a login page or an error.
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _NotWeights("it is a web page")
    signatures: tuple[bytes, ...]
    if suffix in TORCH_SUFFIXES:
        if start[257:262] == b"ustar":
            raise _NotWeights(
                "it is in PyTorch's format of before 2018: load it in PyTorch where "
                "you trust it, and save it again"
            )
        kind, signatures = "a PyTorch file", (b"PK\x03\x04", b"\x80")
    elif suffix == ".safetensors":
        # Eight bytes hold the header's length; the header is JSON.
        kind, signatures = "a safetensors file", (start[:8].ljust(8) + b"{",)
    elif suffix == ".keras":
        kind, signatures = "a Keras file", (b"PK\x03\x04",)
    else:
        kind, signatures = "an HDF5 file", (b"\x89HDF\r\n\x1a\n",)
    if start.startswith(signatures):
        return
    if any(signature.startswith(start) for signature in signatures):
        raise _NotWeights(f"it is damaged or incomplete ({len(start)} bytes)")
    raise _NotWeights(f"it is not {kind}, whatever its name says")


def _check_archive(path: Path) -> None:
    """Neither PyTorch nor Keras compresses: who does may unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        if sum(i.file_size for i in archive.infolist()) > 2 * path.stat().st_size:
            raise _NotWeights(_TOO_LITTLE)


def _read_torch(path: Path) -> Tensors:
    import torch

    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        _check_archive(path)
    try:
        # A damaged file makes it warn of what it is about to fail at.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_archive and _ends_in_a_pickle(path):
            raise _NotWeights("it is damaged or incomplete (it ends early)") from error
        raise _NotWeights(
            "it is damaged or holds more than tensors, and such a file can run code "
            "when it is opened. Where you trust it, load it in PyTorch and save "
            "model.state_dict() alone"
        ) from error
    return {name: _from_torch(name, value) for name, value in _flat(content).items()}


def _ends_in_a_pickle(path: Path) -> bool:
    """Whether one of the pickles that a legacy PyTorch file starts with has no end.

    Reads their instructions without executing any.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        for _ in range(_LEGACY_PICKLES):
            if file.tell() == size:
                break
            try:
                collections.deque(pickletools.genops(file), maxlen=0)
            except ValueError:
                return True
    return False


def _flat(content) -> dict:
    """The state_dict itself, where a checkpoint keeps it beside other things."""
    for _ in range(3):
        inner = next(
            (
                content[key]
                for key in ("state_dict", "model")
                if isinstance(content, dict) and isinstance(content.get(key), dict)
            ),
            None,
        )
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise _NotWeights(f"it holds a {type(content).__name__}, not a state_dict")
    return content


def _from_torch(name, value) -> np.ndarray:
    import torch

    if not isinstance(value, torch.Tensor):
        raise _NotWeights(
            f"its entry {name!r} is a {type(value).__name__}, not a tensor"
        )
    value = value.detach()
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _NotWeights(f"its tensor {name!r} claims more numbers than it stores")
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()


def _read_safetensors(path: Path) -> Tensors:
    tensors = {}
    # Not `safetensors.numpy.load_file`: it knows no bfloat16.
    for name, entry in import_safetensors(path).deserialize(path.read_bytes()):
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise _NotWeights(f"its tensor {name!r} has the type {entry['dtype']}")
        flat = np.frombuffer(entry["data"], _SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors


def _read_hdf5(file: Path | io.BytesIO, size: int) -> Tensors:
    with h5py.File(file, "r") as content:
        nodes: dict[str, h5py.Group | h5py.Dataset] = {}
        # Follows hard links only: a file cannot lead to another one.
        content.visititems(nodes.__setitem__)
        datasets = {p: n for p, n in nodes.items() if isinstance(n, h5py.Dataset)}
        for path, dataset in datasets.items():
            if dataset.external or dataset.is_virtual:
                raise _NotWeights(f"its tensor {path!r} points to another file")
            # Records of variable length may point to one place a thousand times.
            if dataset.dtype.hasobject:
                raise _NotWeights(f"its tensor {path!r} holds other data than numbers")
        # Chunks that were never written take no room on disk, but do in memory.
        if sum(dataset.nbytes for dataset in datasets.values()) > 2 * size:
            raise _NotWeights(_TOO_LITTLE)
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
                raise _NotWeights(f"it holds two tensors of the name {name!r}")
            tensors[name] = np.array(dataset)
            if dataset.attrs.get("dtype") == "bfloat16":
                tensors[name] = tensors[name].view(ml_dtypes.bfloat16)
        return tensors


def _legacy_name(path: str) -> str:
    """`conv1_conv/conv1_conv/kernel:0` is `conv1_conv/kernel`."""
    parts = path.split(":")[0].split("/")
    return "/".join([parts[0], *(parts[2:] or parts[1:])])


def _check_order() -> None:
    """Raises where Keras numbers a layer's variables in another order than this one.

    A file does not tell which of two orders it has.
    """
    norm = keras.layers.BatchNormalization(name="order")
    norm.build((None, 1))
    saved: dict = {}
    norm.save_own_variables(saved)
    order = tuple(variable.name for _, variable in sorted(saved.items()))
    if order != _NORM:
        raise _NotWeights(
            f"Keras {keras.version()} saves batch normalization as {', '.join(order)}, "
            f"where keras-residual reads {', '.join(_NORM)}. Export the weights with "
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
        raise _NotWeights(
            f"its entry {path!r} belongs to no named layer. Files of older versions of "
            "Keras are like that: load it into the model that wrote it, and save again"
        )
    count = len(nodes["/".join([*groups, marker])])
    variables = _NORM if count == len(_NORM) else _CONVOLUTION
    known = index.isdecimal() and int(index) < len(variables)
    return "/".join([*names, variables[int(index)] if known else index])
