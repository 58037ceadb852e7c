"""Images in tar files of the WebDataset layout, read in a stream.

The files of one example follow each other and share a key, their path up to the first
dot of the name: `n01/17.jpg` and `n01/17.cls`, a number in digits. Other files of a key
are ignored. Nothing is unpacked to the disk or from a pickle.
"""

import itertools
import json
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_residual._first_line import first_line
from keras_residual.datasets import _files, _imagenet_check, _imagenet_trees
from keras_residual.datasets import _imagenet_index as index

_VERSION = 1
_FOLDERS = {"train": ("train",), "val": ("val", "validation")}


class Shards(NamedTuple):
    """The content of the tar files of a split.

    Attributes:
        files: The tar files, in the order of their names.
        counts: How many images are in each.
        keys: The keys of all images, in the order in which they are read.
        labels: The labels of all images.
    """

    files: list[Path]
    counts: np.ndarray
    keys: list[str]
    labels: np.ndarray


def find_shards(root: Path) -> dict[str, list[Path]]:
    """The tar files of each split; empty where the root holds no shards."""
    found = {
        split: sorted(file for name in names for file in (root / name).glob("*.tar"))
        for split, names in _FOLDERS.items()
    }
    for file in sorted(root.glob("*.tar")):
        found["val" if "val" in file.name else "train"].append(file)
    return {split: files for split, files in found.items() if files}


class ShardSource:
    """Tar files, which are read in one order."""

    is_stream = True

    def __init__(
        self, root: Path, files: dict[str, list[Path]], index_dir: str | Path | None
    ):
        self._shards = _load(files, index.cache_file(index_dir, root, "shards"))
        self.splits = tuple(self._shards)
        self.findings: dict[str, list[str]] = {}
        self.without_val = ""
        if "val" not in self.splits:
            self.without_val = f"no tar file in {root} has val in its name"
        labels = np.concatenate([shards.labels for shards in self._shards.values()])
        names = _imagenet_trees.read_class_names(
            _imagenet_trees.Tree(root, None, _class_files(root))
        )
        classes = int(labels.max()) + 1
        if names is not None and classes > len(names):
            raise ValueError(
                f"The labels of the tar files in {root} must be below {len(names)}, "
                f"the number of listed classes. Received: {classes - 1}"
            )
        self.class_ids = list(names or map(str, range(classes)))
        self.class_names = list((names or {}).values()) or self.class_ids

    def num_images(self, split: str) -> int:
        return len(self._shards[split].keys)

    def labels(self, split: str) -> np.ndarray:
        return self._shards[split].labels

    def names(self, split: str) -> list[str]:
        shards = self._shards[split]
        files = itertools.chain.from_iterable(
            itertools.repeat(str(file), count)
            for file, count in zip(shards.files, shards.counts, strict=True)
        )
        return [f"{file}/{key}" for file, key in zip(files, shards.keys, strict=True)]

    def check(
        self, split: str, places: np.ndarray, progress: _imagenet_check.Progress
    ) -> np.ndarray:
        images = (image for image, _ in self._chosen(split, places))
        return _imagenet_check.check_encoded(images, progress)

    def examples(
        self, split: str, places: np.ndarray | None, classes: np.ndarray | None
    ) -> Any:
        """A `tf.data.Dataset` of encoded images and labels, places in `classes`.

        None means all places, and the labels as they are.
        """
        import tensorflow as tf

        def read() -> Iterator[tuple[bytes, int]]:
            for image, label in self._chosen(split, places):
                if classes is not None:
                    label = int(np.searchsorted(classes, label))
                yield image, label

        specs = tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64)
        return tf.data.Dataset.from_generator(read, output_signature=specs)

    def _chosen(
        self, split: str, places: np.ndarray | None
    ) -> Iterator[tuple[bytes, int]]:
        shards = self._shards[split]
        chosen = np.ones(len(shards.keys), bool)
        if places is not None:
            chosen[:] = False
            chosen[places] = True
        parts = np.split(chosen, np.cumsum(shards.counts)[:-1])
        for file, part in zip(shards.files, parts, strict=True):
            if part.any():
                for taken, (_, image, label) in zip(
                    part, _read(file, with_images=True), strict=True
                ):
                    if taken:
                        yield image, label


def _read(file: Path, with_images: bool) -> Iterator[tuple[str, bytes, int]]:
    """Key, image (empty without images) and label of each example."""
    try:
        with (
            tarfile.open(file, "r|") if with_images else tarfile.open(file, "r:")
        ) as archive:
            members = (member for member in archive if member.isfile())
            for key, files in itertools.groupby(members, _key):
                if not key.rpartition("/")[2]:
                    continue  # hidden files belong to other programs
                image = label = None
                for member in files:
                    suffix = member.name[len(key) :].lower()
                    if suffix == ".cls":
                        label = _label(_content(archive, member))
                    elif suffix in _files.SUFFIXES:
                        image = _content(archive, member) if with_images else b""
                if image is None or label is None:
                    raise ValueError(
                        f"The key {key} of {file} must have an image "
                        f"({', '.join(_files.SUFFIXES)}) and a label, a file .cls with "
                        "a number of 0 or more."
                    )
                yield key, image, label
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"The tar file {file} cannot be read: {first_line(error)}"
        ) from error


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    return b"" if content is None else content.read()


def _label(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _class_files(root: Path) -> dict[str, Path]:
    files = {name: root / name for name in _imagenet_trees.CLASS_FILES}
    return {name: file for name, file in files.items() if file.is_file()}


def _load(files: dict[str, list[Path]], cache: Path) -> dict[str, Shards]:
    """From the cache if the tar files are unchanged since it was written."""
    stats = {
        str(file): (file.stat().st_mtime_ns, file.stat().st_size)
        for of_split in files.values()
        for file in of_split
    }
    state = json.dumps([_VERSION, stats])
    arrays = index.read_cache(cache)
    try:
        if index.unpack_names(arrays["state"]) == [state]:
            return {
                split: Shards(
                    of_split,
                    arrays[f"{split} counts"],
                    index.unpack_names(arrays[f"{split} keys"]),
                    arrays[f"{split} labels"],
                )
                for split, of_split in files.items()
            }
    except (KeyError, TypeError, ValueError):
        pass  # none there, or not as it was written
    start = time.time()
    found = {split: _scan(of_split) for split, of_split in files.items()}
    if max(changed for changed, _ in stats.values()) / 1e9 < start - index.TOO_RECENT:
        arrays = {"state": index.pack_names([state])}
        for split, shards in found.items():
            arrays[f"{split} counts"] = shards.counts
            arrays[f"{split} keys"] = index.pack_names(shards.keys)
            arrays[f"{split} labels"] = shards.labels
        index.write_cache(cache, arrays)
    return found


def _scan(files: list[Path]) -> Shards:
    keys: list[str] = []
    labels: list[int] = []
    counts = []
    for file in files:
        before = len(keys)
        for key, _, label in _read(file, with_images=False):
            keys.append(key)
            labels.append(label)
        counts.append(len(keys) - before)
    if not keys:
        raise ValueError(f"The tar files of {files[0].parent} must hold images.")
    return Shards(files, np.asarray(counts), keys, np.asarray(labels, np.int64))
