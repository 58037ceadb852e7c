"""The project's own copy of CIFAR-10: labels, and images as tiles of WebP strips.

A folder holds `train_labels.npy`, `test_labels.npy` and the images in `train_00.webp`,
`train_01.webp`, ... and `test_00.webp`, ...: tiles in reading order, one strip after
the other.
"""

import math
from pathlib import Path

import numpy as np

from keras_residual._first_line import first_line
from keras_residual._image_file import read_rgb


def is_strip_folder(folder: Path) -> bool:
    return (folder / "train_labels.npy").is_file()


def read_strips(
    folder: Path, split: str, *, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    labels_file = folder / f"{split}_labels.npy"
    strips = sorted(folder.glob(f"{split}_*.webp"))
    if not labels_file.is_file() or not strips:
        raise FileNotFoundError(
            f"The folder {folder} must hold {labels_file.name} and {split}_00.webp, "
            f"{split}_01.webp, ..."
        )
    try:
        labels = np.load(labels_file).reshape(-1).astype(np.int64)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The file {labels_file} cannot be read: {first_line(error)}"
        ) from error
    images = np.concatenate([_read_strip(file, tile) for file in strips])
    if len(images) != len(labels):
        raise ValueError(
            f"The folder {folder} must hold one label per image. It has "
            f"{len(images)} images and {len(labels)} labels in the split {split!r}."
        )
    return images, labels


def _read_strip(file: Path, tile: int) -> np.ndarray:
    strip = read_rgb(file)
    rows, columns = (math.ceil(size / tile) for size in strip.shape[:2])
    if strip.shape[:2] != (rows * tile, columns * tile):
        height, width = strip.shape[:2]
        raise ValueError(
            f"The image {file} must consist of tiles of {tile} x {tile} pixels. It has "
            f"{width} x {height}."
        )
    tiles = strip.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, tile, tile, 3)
