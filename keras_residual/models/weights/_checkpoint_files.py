"""Files of weights, read into arrays by name. Nothing in a file is executed."""

import importlib.util
import io
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_residual._first_line import first_line
from keras_residual.models.weights._hdf5_files import read_hdf5
from keras_residual.models.weights._not_weights import (
    NotWeights,
    Tensors,
    check_archive,
)
from keras_residual.models.weights._torch_files import read_torch

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".tar")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".h5", ".hdf5", ".keras")

# The types of weights; tensors of other types are other data.
_SAFETENSORS_TYPES = {
    "F64": np.dtype("float64"),
    "F32": np.dtype("float32"),
    "F16": np.dtype("float16"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("int64"),  # counters
}


def check_readable(path: Path) -> None:
    """Raises the errors that can be found before anything is read or downloaded."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"A file of weights must end in {', '.join(SUFFIXES)}. "
            f"Received: {str(path)!r}"
        )
    if suffix in TORCH_SUFFIXES and importlib.util.find_spec("torch") is None:
        raise ImportError(
            f"{path.name} is a PyTorch file, and PyTorch is not installed: "
            "pip install torch. The same weights as .safetensors need only "
            "pip install 'keras-residual[pretrained]'."
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
            raise NotWeights("it is empty")
        with open(path, "rb") as file:
            start = file.read(512)
        _check_start(suffix, start)
        if suffix in TORCH_SUFFIXES:
            tensors = read_torch(path)
        elif suffix == ".safetensors":
            tensors = _read_safetensors(path)
        elif suffix == ".keras":
            check_archive(path)
            with zipfile.ZipFile(path) as archive:
                content = archive.read("model.weights.h5")
            tensors = read_hdf5(io.BytesIO(content), len(content))
        else:
            tensors = read_hdf5(path, path.stat().st_size)
        if not tensors:
            raise NotWeights("it holds no tensors")
    except NotWeights as error:
        raise ValueError(
            f"The file {path} cannot be read as weights: {error}"
        ) from error
    except Exception as error:
        # Errors of many libraries, which all mean that the file is bad.
        raise ValueError(
            f"The file {path} cannot be read as weights: it is damaged or incomplete "
            f"({first_line(error)})"
        ) from error
    return tensors


def _check_start(suffix: str, start: bytes) -> None:
    # A download that ended at a login page or an error.
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise NotWeights("it is a web page")
    signatures: tuple[bytes, ...]
    if suffix in TORCH_SUFFIXES:
        if start[257:262] == b"ustar":
            raise NotWeights(
                "it is in PyTorch's format from before 2018. If you trust it, load it "
                "in PyTorch and save it again"
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
        raise NotWeights(f"it is damaged or incomplete ({len(start)} bytes)")
    raise NotWeights(f"it is not {kind}, in spite of its name")


def _read_safetensors(path: Path) -> Tensors:
    tensors = {}
    # Not `safetensors.numpy.load_file`: it knows no bfloat16.
    for name, entry in import_safetensors(path).deserialize(path.read_bytes()):
        if entry["dtype"] not in _SAFETENSORS_TYPES:
            raise NotWeights(f"its tensor {name!r} has the type {entry['dtype']}")
        flat = np.frombuffer(entry["data"], _SAFETENSORS_TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    return tensors
