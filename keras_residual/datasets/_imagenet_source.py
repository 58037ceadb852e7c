"""Where images come from: files, tar files, or a set of TensorFlow Datasets."""

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
from keras_residual.datasets._imagenet_split import with_validation


class FolderSource:
    """A tree of files."""

    def __init__(
        self,
        path: Path,
        index_dir: str | Path | None,
        validation_split: float | None,
        seed: int,
    ):
        index_file = _imagenet_index.cache_file(index_dir, path, "index")
        self._check_file = _imagenet_index.cache_file(index_dir, path, "check")
        tree = _imagenet_trees.find_tree(path)
        self._folders = {"train": tree.train, "val": tree.val}
        self._listing = _imagenet_index.load_listing(tree, index_file)
        if validation_split is not None:
            self._folders["val"] = tree.train
            self._listing = with_validation(self._listing, validation_split, seed)
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
    """A set of TensorFlow Datasets, whose encoded images come in one order."""

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


# All images of a data set, by split and place in it.
Source = FolderSource | ShardSource | TfdsSource


def find_source(
    root: str | Path,
    index_dir: str | Path | None,
    data_dir: str | Path | None,
    validation_split: float | None,
    seed: int,
) -> Source:
    """The source at a root, whatever it is."""
    is_tfds = str(root).startswith("tfds:")
    if data_dir is not None and not is_tfds:
        raise ValueError(
            "`data_dir` must be None for a folder: it is where TensorFlow Datasets "
            f"keeps its data. Received: data_dir={str(data_dir)!r}"
        )
    path = Path(os.path.abspath(root))
    if not is_tfds and not path.is_dir():
        raise ValueError(
            "`root` must be an existing folder or 'tfds:<name>'. "
            f"Received: root={str(root)!r}"
        )
    shards = {} if is_tfds else find_shards(path)
    if not is_tfds and not shards:
        return FolderSource(path, index_dir, validation_split, seed)
    if validation_split is not None:
        raise ValueError(
            "`validation_split` must be None for what is read in a stream. "
            f"Received: validation_split={validation_split!r}"
        )
    if shards:
        return ShardSource(path, shards, index_dir)
    return TfdsSource(str(root).removeprefix("tfds:"), data_dir)
