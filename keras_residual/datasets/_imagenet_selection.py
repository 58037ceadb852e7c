"""Which classes, and which images of them."""

import copy
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_residual.datasets._imagenet_source import Source
from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_setup import prepare_tensorflow
from keras_residual.layers._checks import check_positive_integer


class Selection:
    """The selected images of a source, and their labels."""

    def __init__(
        self,
        source: Source,
        classes: int | list[str] | None,
        per_class: int | None,
        seed: int,
    ):
        self.classes = _choose_classes(
            classes, source.class_ids, source.class_names, seed
        )
        self.source = source
        self._per_class = per_class
        self._seed = seed
        self._left_out: frozenset[str] = frozenset()
        self._places: dict[str, np.ndarray] = {}

    def without(self, names: Iterable[str]) -> "Selection":
        result = copy.copy(self)
        result._left_out = self._left_out.union(names)
        result._places = {}
        return result

    @property
    def has_all_classes(self) -> bool:
        return len(self.classes) == len(self.source.class_ids)

    def is_whole(self, split: str) -> bool:
        """Whether all images of the source are selected: then no label must be read."""
        return self._has_all_images(split) and not self._left_out

    def places(self, split: str) -> np.ndarray:
        """Places in the source, ascending."""
        if split not in self._places:
            self._places[split] = self._choose(split)
        return self._places[split]

    def labels(self, split: str) -> np.ndarray:
        labels = self.source.labels(split)[self.places(split)].astype(np.int64)
        # With all classes they stay, even -1 for unknown ones in TensorFlow Datasets.
        return labels if self.has_all_classes else np.searchsorted(self.classes, labels)

    def files(self, split: str) -> list[str]:
        names = self.source.names(split)
        return [names[place] for place in self.places(split)]

    def batches(self, split: str, options: ReaderOptions) -> Any:
        """A `tf.data.Dataset` of batches of images and labels."""
        source: Any = self.source
        if options.balanced and source.is_stream:
            raise ValueError(
                "`balanced` must be False for tar files and TensorFlow Datasets: they "
                "are read in a stream, where the next image of a class may be far "
                "away. Unpack them into folders, or pass `class_weight` to `fit`. "
                f"Received: balanced={options.balanced!r}"
            )
        prepare_tensorflow()
        from keras_residual.datasets import _tensorflow_files, _tensorflow_stream

        if not source.is_stream:
            files, labels = self.files(split), self.labels(split)
            return _tensorflow_files.batches_of_files(files, labels, options)
        places = None if self.is_whole(split) else self.places(split)
        classes = None if self.has_all_classes else self.classes
        examples = source.examples(split, places, classes)
        return _tensorflow_stream.batches_of_examples(
            examples, len(self.places(split)), options
        )

    def _has_all_images(self, split: str) -> bool:
        return self.has_all_classes and (split != "train" or self._per_class is None)

    def _choose(self, split: str) -> np.ndarray:
        if self._has_all_images(split):
            chosen = np.arange(self.source.num_images(split))
        else:
            chosen = _choose_images(
                self.source.labels(split),
                self.classes,
                self.source.class_ids,
                self._per_class if split == "train" else None,
                self._seed,
            )
        if not self._left_out:
            return chosen
        names = self.source.names(split)
        return chosen[[names[place] not in self._left_out for place in chosen]]


def check_classes(classes: Any) -> int | list[str] | None:
    """Checks `classes` before the tree is read, which can take minutes."""
    if classes is None:
        return None
    if isinstance(classes, numbers.Integral):
        return check_positive_integer("classes", classes)
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Iterable):
        raise ValueError(
            "`classes` must be None, a number of classes, or a list of class ids or "
            f"names. Received: classes={classes!r}"
        )
    return list(classes)


def _choose_classes(
    classes: int | list[str] | None, ids: list[str], names: list[str], seed: int
) -> np.ndarray:
    """Places in `ids`, ascending."""
    if classes is None:
        return np.arange(len(ids))
    if isinstance(classes, int):
        if not 2 <= classes <= len(ids):
            raise ValueError(
                f"`classes` must be from 2 to {len(ids)}, the number of all classes. "
                f"Received: classes={classes!r}"
            )
        return np.sort(np.random.default_rng(seed).permutation(len(ids))[:classes])
    chosen = [_find_class(name, ids, names) for name in classes]
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise ValueError(
            "`classes` must be two or more different classes. "
            f"Received: classes={classes!r}"
        )
    return np.sort(chosen)


def _choose_images(
    labels: np.ndarray,
    classes: np.ndarray,
    class_ids: list[str],
    per_class: int | None,
    seed: int,
) -> np.ndarray:
    """Places of the images of these classes, ascending."""
    if per_class is None:
        return np.flatnonzero(np.isin(labels, classes))
    counts = np.bincount(labels, minlength=len(class_ids))[classes]
    few = [
        f"{class_ids[label]} has {count}"
        for label, count in zip(classes, counts, strict=True)
        if count < per_class
    ]
    if few:
        more = f" and {len(few) - 5} more have fewer" if len(few) > 5 else ""
        raise ValueError(
            "`per_class` must be at most the number of training images of each class, "
            f"but {', '.join(few[:5])}{more}. Received: per_class={per_class!r}"
        )
    # Sorted by class once: a search for each of a thousand classes takes long.
    by_class = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[by_class], classes)
    chosen = [
        # A generator for each class, so that the classes do not depend on each other.
        by_class[
            start + np.random.default_rng([seed, label]).permutation(n)[:per_class]
        ]
        for label, start, n in zip(classes.tolist(), starts, counts, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _find_class(wanted: str, ids: list[str], names: list[str]) -> int:
    if wanted in ids:
        return ids.index(wanted)
    places = [place for place, name in enumerate(names) if name == wanted]
    if len(places) == 1:
        return places[0]
    if places:
        same = ", ".join(ids[place] for place in places)
        raise ValueError(
            f"`classes` must hold ids in place of a name that {same} share. "
            f"Received: {wanted!r}"
        )
    raise ValueError(
        "`classes` must hold ids or names of classes, such as "
        f"{ids[0]!r} or {names[-1]!r}. Received: {wanted!r}"
    )
