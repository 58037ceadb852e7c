"""Cached features on disk: an HDF5 file whose features NumPy maps."""

import dataclasses
import hashlib
import json
import tempfile
from pathlib import Path

import h5py
import numpy as np

from keras_residual._atomic_file import atomic_file

_ABOUT = "about_keras_residual_features"
_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class FeatureFile:
    """What a file holds.

    Attributes:
        features: Array `(n, width)`, float32, in the file and not in memory.
        labels: Array of the labels.
        sample_weights: Array of the weights of the images, or None.
        made_by: Hash of all that the features depend on, except the images.
        readings: A hash of the images and labels, for each time they were read.
    """

    features: np.ndarray
    labels: np.ndarray
    sample_weights: np.ndarray | None
    made_by: str
    readings: list[str]


class GrowingFeatures:
    """Rows in a temporary file, until their number is known."""

    def __init__(self, folder: Path):
        # The system removes it when the process ends, however it ends.
        self._raw = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._width = 0
        self._labels: list[np.ndarray] = []
        self._weights: list[np.ndarray | None] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._raw.close()

    def add(
        self, features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
    ) -> None:
        self._width = features.shape[1]
        self._raw.write(features.astype("<f4").tobytes())
        self._labels.append(labels)
        self._weights.append(weights)

    def save(self, path: Path, made_by: str, readings: list[str]) -> None:
        """Writes the file, in one move."""
        labels = np.concatenate(self._labels)
        weights = joined_weights(self._weights)
        about = {"made_by": made_by, "readings": readings}
        digest = _digest(about, labels, weights)
        with atomic_file(path) as temporary, h5py.File(temporary, "w") as file:
            file["labels"] = labels
            if weights is not None:
                file["sample_weights"] = weights
            # Contiguous, so that NumPy can map it.
            shape = (len(labels), self._width)
            features = file.create_dataset("features", shape, "<f4")
            self._raw.seek(0)
            for start in range(0, len(labels), _ROWS):
                rows = self._raw.read(_ROWS * self._width * 4)
                digest.update(rows)
                part = np.frombuffer(rows, "<f4").reshape(-1, self._width)
                features[start : start + _ROWS] = part
            about["checksum"] = digest.hexdigest()
            file[_ABOUT] = json.dumps(about)


def joined_weights(parts) -> np.ndarray | None:
    """The weights of all batches; raises if some have weights and some have none."""
    if all(part is None for part in parts):
        return None
    if any(part is None for part in parts):
        raise ValueError(
            "`dataset` must give weights with each batch or with none. "
            "Received: batches of both kinds"
        )
    return np.concatenate(parts)


def read_features(path: Path) -> FeatureFile:
    """Returns what a file holds; raises unless `cache_features` wrote exactly this."""
    try:
        return _read(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            "`filepath` must be a new file, or an intact one that `cache_features` "
            "wrote. This one was not touched: delete it, or give another name. "
            f"Received: filepath={str(path)!r}. The reason: {error}"
        ) from error


def _read(path: Path) -> FeatureFile:
    with h5py.File(path, "r") as file:
        if _ABOUT not in file:
            raise ValueError("it holds no cached features")
        about = json.loads(file[_ABOUT][()])
        checksum = about.pop("checksum")
        features, labels = file["features"], file["labels"]
        offset, shape = features.id.get_offset(), features.shape
        if offset is None or features.dtype != "<f4" or len(shape) != 2:
            raise ValueError("its features are stored in another way")
        labels = _numbers(labels, path)
        weights = file.get("sample_weights")
        weights = None if weights is None else _numbers(weights, path)
    # A copy on writing: PyTorch warns of arrays that cannot be written.
    mapped = np.memmap(path, "<f4", mode="c", offset=offset, shape=shape)
    digest = _digest(about, labels, weights)
    for start in range(0, len(mapped), _ROWS):
        digest.update(mapped[start : start + _ROWS].tobytes())
    if digest.hexdigest() != checksum or len(labels) != len(mapped):
        raise ValueError("it is damaged: its checksum does not fit")
    return FeatureFile(mapped, labels, weights, about["made_by"], about["readings"])


def _numbers(stored, path: Path) -> np.ndarray:
    # Chunks that were never written take no room on disk, but do in memory.
    if stored.dtype.kind not in "biuf" or stored.nbytes > path.stat().st_size:
        raise ValueError("its labels are not numbers")
    return stored[()]


def _digest(about: dict, labels: np.ndarray, weights: np.ndarray | None):
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for column in (labels,) if weights is None else (labels, weights):
        digest.update(f"{column.dtype} {column.shape}".encode())
        digest.update(column.tobytes())
    return digest
