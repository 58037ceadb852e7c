"""Every image file decoded once before training, and what that finds."""

import dataclasses
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_residual.datasets import _imagenet_index as index
from keras_residual.datasets._image_examination import KINDS, UNUSABLE, examine

if TYPE_CHECKING:
    from keras_residual.datasets._imagenet_selection import Selection

_CHUNK = 1000  # images at a time, which bounds the memory
_SAVED_AFTER = 50_000  # images, so that a check that is stopped goes on from there
_SHOWN = 5
_VERSION = 1  # of what is kept, and of what is looked for

_MEANINGS = {
    "missing classes": "classes listed, without a folder of training images",
    "no images by their suffix": "files left out, whose suffix is of no image",
    "classes without images": "classes without images",
    "validation images of other classes": "validation images of other classes",
    "images without label": "validation images without a label",
    "labels without image": "labels without their validation image",
    "unreadable": "unreadable: no image",
    "truncated": "truncated: cut off or damaged",
    "unsupported": "unsupported: of a format or a size that is not read",
    "CMYK": "CMYK",
    "grayscale": "grayscale",
    "other format": "in another format than the suffix says",
}

Progress = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class ImageNetReport:
    """What a check found; `print(report)` shows it.

    Attributes:
        num_images: How many images were checked, by split.
        num_classes: How many classes they have.
        files: Names of images by kind: "unreadable", "truncated" and "unsupported",
            which cannot be used; "CMYK", "grayscale" and "other format" (than the
            suffix says), which are converted.
        tree: Names by kind of what does not fit together in the tree.
        without_val: Why there is no split "val", "" if there is one.
    """

    num_images: dict[str, int]
    num_classes: int
    files: dict[str, list[str]]
    tree: dict[str, list[str]]
    without_val: str

    @property
    def unusable(self) -> list[str]:
        """Names of the images that cannot be decoded."""
        return [name for kind in UNUSABLE for name in self.files[kind]]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind, files and tree together."""
        return {kind: len(names) for kind, names in (self.tree | self.files).items()}

    def __str__(self) -> str:
        images = ", ".join(f"{n:,} in {split}" for split, n in self.num_images.items())
        lines = [f"{self.num_classes:,} classes; images checked: {images}"]
        if self.without_val:
            lines.append(f"No split 'val': {self.without_val}.")
        sections = {
            "In the tree": self.tree,
            "Cannot be used": {kind: self.files[kind] for kind in UNUSABLE},
            "Converted to RGB": {
                kind: names
                for kind, names in self.files.items()
                if kind not in UNUSABLE
            },
        }
        for title, kinds in sections.items():
            lines += [f"{title}:"] if any(kinds.values()) else []
            for kind, names in kinds.items():
                if names:
                    more = len(names) - _SHOWN
                    shown = ", ".join(names[:_SHOWN])
                    shown += f" and {more:,} more" if more > 0 else ""
                    lines.append(f"  {len(names):,} {_MEANINGS[kind]}: {shown}")
        if not any(self.counts.values()):
            lines.append("Nothing to report: every file is an RGB image.")
        # A name on a disk need not be text, and would stop `print`.
        return "\n".join(lines).encode(errors="replace").decode()


def check_images(
    selection: "Selection", splits: Iterable[str], verbose: int
) -> ImageNetReport:
    places = {split: selection.places(split) for split in splits}
    total = sum(map(len, places.values()))
    bar = keras.utils.Progbar(total, unit_name="image") if verbose else None
    source = selection.source
    files: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for split, chosen in places.items():
        names = source.names(split)
        with warnings.catch_warnings():
            # Of damaged EXIF data, for example: no matter for what is reported here.
            warnings.filterwarnings("ignore", module="PIL")
            found = source.check(split, chosen, bar.add if bar else lambda done: None)
        for kind, bit in KINDS.items():
            files[kind] += [names[place] for place in chosen[(found & bit) > 0]]
    return ImageNetReport(
        num_images={split: len(chosen) for split, chosen in places.items()},
        num_classes=len(selection.classes),
        files=files,
        tree=source.findings,
        without_val=source.without_val,
    )


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
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The check of images needs Pillow: pip install 'keras-residual[datasets]'"
        ) from error
    remaining = iter(images)
    # Pillow decodes outside of Python's lock.
    with ThreadPoolExecutor(_cores()) as pool:
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            yield from pool.map(_examine, chunk)
            progress(len(chunk))


def _cores() -> int:
    """Number of cores that this process may use, fewer than the machine's at times."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _examine(image: str | bytes) -> int:
    if isinstance(image, bytes):
        return examine(image)
    try:
        content = Path(image).read_bytes()
    except OSError as error:
        # Nothing about the image: too many open files, a disk that is gone.
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
    """What earlier checks found, by file, with its size and time then."""

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
