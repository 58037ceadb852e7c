"""Decodes every image file once before training, and keeps what it finds."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_residual._cores import cores
from keras_residual._image_file import import_pillow
from keras_residual.datasets import _imagenet_index as index
from keras_residual.datasets._image_examination import examine

_CHUNK = 1000  # images at a time, which bounds the memory
_SAVED_AFTER = 50_000  # images, so that a stopped check continues from there
_VERSION = 1  # of the cache and of what a check looks for

Progress = Callable[[int], object]


def check_files(files: list[str], cache: Path, progress: Progress) -> np.ndarray:
    """Bits of `KINDS` for each file; those that did not change are not read again."""
    known = _Known(cache)
    stats = [_size_and_time(file) for file in files]
    found = np.array(
        [known.get(file, stat) for file, stat in zip(files, stats, strict=True)],
        np.int16,
    )
    to_read = np.flatnonzero(found < 0)
    progress(len(files) - len(to_read))
    names = (files[place] for place in to_read)
    unsaved = 0
    try:
        for place, bits in zip(to_read, _examined(names, progress), strict=True):
            found[place] = bits
            known.add(files[place], stats[place], bits)
            unsaved += 1
            if unsaved == _SAVED_AFTER:
                known.save()
                unsaved = 0
    finally:
        if unsaved:
            known.save()
    return found


def check_encoded(images: Iterable[bytes], progress: Progress) -> np.ndarray:
    return np.fromiter(_examined(images, progress), np.int16)


def _examined(images: Iterable[str | bytes], progress: Progress) -> Iterator[int]:
    import_pillow()
    remaining = iter(images)
    # Pillow decodes outside of Python's lock.
    with ThreadPoolExecutor(cores()) as pool:
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            yield from pool.map(_examine, chunk)
            progress(len(chunk))


def _examine(image: str | bytes) -> int:
    if isinstance(image, bytes):
        return examine(image)
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        # The image may be good: too many open files, or a disk that is gone.
        raise OSError(
            f"The image {image} cannot be read now: {error.strerror}"
        ) from error
    return examine(content, os.path.splitext(image)[1].lower())


def _size_and_time(file: str) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except OSError:
        return 0, -1
    return found.st_size, found.st_mtime_ns


class _Known:
    """What earlier checks found, by file with its size and time."""

    def __init__(self, file: Path):
        self._file = file
        self._found: dict[str, tuple[int, int, int]] = {}
        arrays = index.read_cache(file)
        try:
            if arrays["version"] == _VERSION:
                names = index.unpack_names(arrays["names"])
                sizes, times, bits = arrays["rows"].astype(np.int64).T.tolist()
                rows = zip(sizes, times, bits, strict=True)
                self._found = dict(zip(names, rows, strict=True))
        except (KeyError, TypeError, ValueError):
            pass  # none there, or not as it was written

    def get(self, file: str, stat: tuple[int, int]) -> int:
        """The bits, or -1 if the file is new or changed."""
        *before, bits = self._found.get(file, (0, 0, -1))
        return bits if tuple(before) == stat else -1

    def add(self, file: str, stat: tuple[int, int], bits: int) -> None:
        if stat[1] >= 0:
            self._found[file] = (*stat, bits)

    def save(self) -> None:
        index.write_cache(
            self._file,
            {
                "version": np.array(_VERSION),
                "names": index.pack_names(list(self._found)),
                "rows": np.array(list(self._found.values()), np.int64),
            },
        )
