"""Sources of images: files, tar files, or a set of TensorFlow Datasets."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_residual.datasets import (
    _imagenet_check,
    _imagenet_index,
    _imagenet_trees,
)
from keras_residual.datasets import _tensorflow_datasets as _tfds
from keras_residual.datasets._imagenet_shards import ShardSource, find_shards
from keras_residual.datasets._imagenet_split import drawn


class FolderSource:
    """A tree of files."""

    is_stream = False

    def __init__(self, path: Path, index_dir: str | Path | None):
        index_file = _imagenet_index.cache_file(index_dir, path, "index")
        self._check_file = _imagenet_index.cache_file(index_dir, path, "check")
        tree = _imagenet_trees.find_tree(path)
        self._folders = {"train": tree.train, "val": tree.val}
        self._listing = _imagenet_index.load_listing(tree, index_file)
        self.class_ids = self._listing.class_ids
        self.class_names = self._listing.class_names
        self.splits = tuple(self._listing.names)
        self.findings = self._listing.findings
        self.without_val = self._listing.without_val

    def num_images(self, split: str) -> int:
        return len(self._listing.names[split])

    def labels(self, split: str) -> np.ndarray:
        return self._listing.labels[split]

    def names(self, split: str) -> list[str]:
        folder = f"{self._folders[split]}{os.sep}"
        return [folder + name for name in self._listing.names[split]]

    def check(
        self, split: str, places: np.ndarray, progress: _imagenet_check.Progress
    ) -> np.ndarray:
        names = self.names(split)
        files = [names[place] for place in places]
        return _imagenet_check.check_files(files, self._check_file, progress)


class TfdsSource:
    """A set of TensorFlow Datasets, which is read in one order."""

    is_stream = True

    def __init__(self, name: str, data_dir: str | Path | None):
        builder = _tfds.find_builder(name, data_dir, "root")
        _tfds.check_images(builder, name, "root")
        _tfds.prepare(builder, name)
        self._builder = builder
        self._name = name
        names = list(builder.info.splits)
        self._splits = {
            "val" if split == "validation" and "val" not in names else split: split
            for split in names
        }
        self.splits = tuple(self._splits)
        self.class_ids = self.class_names = _tfds.class_names(builder)
        self.findings: dict[str, list[str]] = {}
        self.without_val = ""
        self._labels: dict[str, np.ndarray] = {}

    def num_images(self, split: str) -> int:
        return self._builder.info.splits[self._splits[split]].num_examples

    def labels(self, split: str) -> np.ndarray:
        if split not in self._labels:
            labels = _tfds.labels(self._builder, self._splits[split])
            self._labels[split] = labels
        return self._labels[split]

    def names(self, split: str) -> list[str]:
        return [
            f"tfds:{self._name}/{split}/{place}"
            for place in range(self.num_images(split))
        ]

    def check(
        self, split: str, places: np.ndarray, progress: _imagenet_check.Progress
    ) -> np.ndarray:
        chosen = self._chosen(split, places)
        images = itertools.compress(self._encoded(split), chosen)
        return _imagenet_check.check_encoded(images, progress)

    def examples(
        self, split: str, places: np.ndarray | None, classes: np.ndarray | None
    ) -> Any:
        """A `tf.data.Dataset` of encoded images and labels, places in `classes`.

        None means all places, and the labels as they are.
        """
        return _tfds.encoded_examples(
            self._builder,
            self._splits[split],
            None if places is None else self._chosen(split, places),
            classes,
        )

    def _encoded(self, split: str) -> Iterator[bytes]:
        return _tfds.encoded_images(self._builder, self._splits[split])

    def _chosen(self, split: str, places: np.ndarray) -> np.ndarray:
        chosen = np.zeros(self.num_images(split), bool)
        chosen[places] = True
        return chosen


class DividedSource:
    """A source whose split "val" is a share of each class of the training images."""

    def __init__(
        self, source: FolderSource | ShardSource | TfdsSource, share: float, seed: int
    ):
        if "val" in source.splits or "train" not in source.splits:
            raise ValueError(
                "`validation_split` must be None unless there are training images and "
                f"no validation images; the splits are {', '.join(source.splits)}. "
                f"Received: validation_split={share!r}"
            )
        validates = drawn(source.labels("train"), source.class_ids, share, seed)
        val = np.flatnonzero(validates)
        if not source.is_stream:
            # As in a tree with validation images: in the order of the file names.
            names = source.names("train")
            order = sorted(val, key=lambda p: (names[p].rsplit("/")[-1], names[p]))
            val = np.array(order)
        self._source: Any = source
        self._places = {"train": np.flatnonzero(~validates), "val": val}
        self.class_ids = source.class_ids
        self.class_names = source.class_names
        self.splits = (*source.splits, "val")
        self.is_stream = source.is_stream
        self.findings = source.findings
        self.without_val = ""

    def num_images(self, split: str) -> int:
        if split in self._places:
            return len(self._places[split])
        return self._source.num_images(split)

    def labels(self, split: str) -> np.ndarray:
        if split in self._places:
            return self._source.labels("train")[self._places[split]]
        return self._source.labels(split)

    def names(self, split: str) -> list[str]:
        if split in self._places:
            names = self._source.names("train")
            return [names[place] for place in self._places[split].tolist()]
        return self._source.names(split)

    def check(
        self, split: str, places: np.ndarray, progress: _imagenet_check.Progress
    ) -> np.ndarray:
        if split in self._places:
            split, places = "train", self._places[split][places]
        return self._source.check(split, places, progress)

    def examples(
        self, split: str, places: np.ndarray | None, classes: np.ndarray | None
    ) -> Any:
        if split in self._places:
            part = self._places[split]
            split, places = "train", part if places is None else part[places]
        return self._source.examples(split, places, classes)


# All images of a data set, by split and place in it.
Source = FolderSource | ShardSource | TfdsSource | DividedSource


def find_source(
    root: str | Path,
    index_dir: str | Path | None,
    data_dir: str | Path | None,
    validation_split: float | None,
    seed: int,
) -> Source:
    """The source at a root, of whichever kind."""
    is_tfds = str(root).startswith("tfds:")
    if data_dir is not None and not is_tfds:
        raise ValueError(
            "`data_dir` must be None for a folder: it is the folder of TensorFlow "
            f"Datasets' data. Received: data_dir={str(data_dir)!r}"
        )
    path = Path(os.path.abspath(root))
    if not is_tfds and not path.is_dir():
        raise ValueError(
            "`root` must be an existing folder or 'tfds:<name>'. "
            f"Received: root={str(root)!r}"
        )
    source: FolderSource | ShardSource | TfdsSource
    if is_tfds:
        source = TfdsSource(str(root).removeprefix("tfds:"), data_dir)
    elif shards := find_shards(path):
        source = ShardSource(path, shards, index_dir)
    else:
        source = FolderSource(path, index_dir)
    if validation_split is None:
        return source
    return DividedSource(source, validation_split, seed)
