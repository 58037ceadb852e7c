"""Image files on disk: found in a fixed order, read whole, or rejected by name."""

import math
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from keras_residual._image_file import first_line as first_line
from keras_residual._image_file import read_file, read_part

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def existing_folder(path: Path) -> Path:
    if not path.is_dir():
        raise FileNotFoundError(f"The folder {path} does not exist or is no folder.")
    return path


def sorted_entries(folder: Path, *, folders: bool) -> list[Path]:
    """Without hidden ones, which belong to other programs."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise ValueError(
            f"The folder {folder} cannot be read: {error.strerror}"
        ) from error
    return [
        entry
        for entry in entries
        if not entry.name.startswith(".") and entry.is_dir() == folders
    ]


def image_files(folder: Path) -> list[Path]:
    files = sorted_entries(folder, folders=False)
    return [file for file in files if file.suffix.lower() in SUFFIXES]


def images_of_class(folder: Path) -> list[Path]:
    """The images of a class folder, with a warning of the files that are none."""
    images, others = [], []
    for file in sorted_entries(folder, folders=False):
        if file.suffix.lower() in SUFFIXES:
            images.append(file)
        else:
            others.append(file.name)
    if not images:
        raise ValueError(f"The class folder {folder} has no image.")
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        warnings.warn(
            f"The class folder {folder} holds files that are left out: "
            f"{', '.join(others[:3])}{more}. Images end in {', '.join(SUFFIXES)}.",
            stacklevel=3,
        )
    return images


def read_image(file: Path, image_size: int) -> np.ndarray:
    image = _decode(file)
    height, width = image.shape[:2]
    if (height, width) != (image_size, image_size):
        raise ValueError(
            f"The image {file} has {width} x {height} pixels, "
            f"but {image_size} x {image_size} are needed."
        )
    return image


def read_photo(file: Path | BinaryIO, name: str, image_size: int) -> np.ndarray:
    """The largest centred square of a photo of any size, upright, scaled."""
    return read_part(file, name, (image_size, image_size))


def is_cifar10_folder(folder: Path) -> bool:
    return (folder / "train_labels.npy").is_file()


def read_strips(
    folder: Path, split: str, *, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    labels_file = existing_folder(folder) / f"{split}_labels.npy"
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
    strip = _decode(file)
    rows, columns = (math.ceil(size / tile) for size in strip.shape[:2])
    if strip.shape[:2] != (rows * tile, columns * tile):
        height, width = strip.shape[:2]
        raise ValueError(
            f"The image {file} has {width} x {height} pixels, which are no tiles of "
            f"{tile} x {tile}."
        )
    tiles = strip.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, tile, tile, 3)


def _decode(file: Path) -> np.ndarray:
    return read_file(file, str(file), lambda image: image.convert("RGB"))
