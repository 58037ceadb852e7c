"""Folders of images, listed in one way for all readers."""

import os
import warnings
from pathlib import Path

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"The folder {folder} does not exist or is not a folder."
        )
    return folder


def folders_in(folder: Path) -> list[str]:
    """Names, sorted."""
    return [entry.name for entry in _entries(folder) if entry.is_dir()]


def class_folders(root: Path) -> list[str]:
    """Names of the folders in an existing root; raises unless there are two or more."""
    names = folders_in(existing_folder(root))
    if len(names) < 2:
        raise ValueError(
            "`root` must hold at least two folders of images, one per class. "
            f"Received: root={str(root)!r} with {len(names)}"
        )
    return names


def images_in(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images, by their suffix, and of the other files; both sorted."""
    images: list[str] = []
    others: list[str] = []
    for entry in _entries(folder):
        if not entry.is_dir():
            is_image = entry.name.lower().endswith(SUFFIXES)
            (images if is_image else others).append(entry.name)
    return images, others


def images_of_class(folder: Path) -> list[Path]:
    """The images of a class folder, with a warning that names other files."""
    images, others = images_in(folder)
    if not images:
        raise ValueError(f"The class folder {folder} has no image.")
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        warnings.warn(
            f"The class folder {folder} holds files that are left out: "
            f"{', '.join(others[:3])}{more}. Images end in {', '.join(SUFFIXES)}.",
            stacklevel=3,
        )
    return [folder / name for name in images]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Visible entries; hidden ones belong to other programs. None if it is missing."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ValueError(
            f"The folder {folder} cannot be read: {error.strerror}"
        ) from error
    return sorted(visible, key=lambda entry: entry.name)
