"""CIFAR-10's binary version: one byte of label and 3,072 of pixels for each image."""

from pathlib import Path

import numpy as np

_SIDE = 32
_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}


def is_binary_folder(folder: Path) -> bool:
    return (folder / _FILES["train"][0]).is_file()


def read_binary(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    missing = [name for name in _FILES[split] if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"The folder {folder} must hold CIFAR-10's binary version. "
            f"Missing: {', '.join(missing)}"
        )
    rows = np.concatenate([_rows(folder / name) for name in _FILES[split]])
    images = rows[:, 1:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].astype(np.int64)


def _rows(file: Path) -> np.ndarray:
    content = np.fromfile(file, np.uint8)
    length = 1 + 3 * _SIDE * _SIDE
    if content.size == 0 or content.size % length:
        raise ValueError(
            f"The file {file} must hold images of {length} bytes each. It has "
            f"{content.size} bytes."
        )
    rows = content.reshape(-1, length)
    if rows[:, 0].max() > 9:
        raise ValueError(
            f"The file {file} must hold labels from 0 to 9. Received: "
            f"{rows[:, 0].max()}"
        )
    return rows
