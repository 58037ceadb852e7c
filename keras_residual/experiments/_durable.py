"""Files that survive a power cut: synced to the disk before they move."""

import os
from pathlib import Path


def through(path: Path) -> None:
    """Waits until the file, or a folder's list of files, is on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move(file: Path, target: Path) -> None:
    """Puts a file in the place of another one, in one move."""
    through(file)
    os.replace(file, target)
    through(target.parent)
