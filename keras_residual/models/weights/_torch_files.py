"""PyTorch's files of weights. Nothing in a file is executed."""

import collections
import pickle
import pickletools
import warnings
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from keras_residual.models.weights._not_weights import (
    NotWeights,
    Tensors,
    check_archive,
)

# A legacy file starts with magic number, protocol, system, content and storage names.
_LEGACY_PICKLES = 5


def read_torch(path: Path) -> Tensors:
    import torch

    is_archive = zipfile.is_zipfile(path)
    if is_archive:
        check_archive(path)
    try:
        # For a damaged file it warns before it fails.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_archive and _ends_in_a_pickle(path):
            raise NotWeights("it is damaged or incomplete (it ends early)") from error
        raise NotWeights(
            "it is damaged or holds more than tensors, and such a file can run code "
            "when it is opened. If you trust it, load it in PyTorch and save "
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
        raise NotWeights(f"it holds a {type(content).__name__}, not a state_dict")
    return content


def _from_torch(name, value) -> np.ndarray:
    import torch

    if not isinstance(value, torch.Tensor):
        raise NotWeights(
            f"its entry {name!r} is a {type(value).__name__}, not a tensor"
        )
    value = value.detach()
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise NotWeights(f"its tensor {name!r} claims more numbers than it stores")
    if value.dtype == torch.bfloat16:
        return value.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return value.numpy()
