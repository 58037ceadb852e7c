"""ImageNet as it unpacks, and everything of its kind: found, checked and read."""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from keras_residual.datasets._image_examination import UNUSABLE
from keras_residual.datasets._imagenet_report import ImageNetReport, check_images
from keras_residual.datasets._imagenet_selection import Selection, check_classes
from keras_residual.datasets._imagenet_source import find_source
from keras_residual.datasets._imagenet_split import check_validation_split
from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.layers._checks import (
    check_choice,
    check_positive_integer,
    check_seed,
)


class ImageNetFolder:
    """ImageNet, or any images in folders by class, from the folder where they lie.

    Supported layouts:

    - Kaggle's tree, from its root or a folder inside of it: `ILSVRC/Data/CLS-LOC` with
      `train/<class>/` and a flat `val/`. The labels of `val/` come from
      `LOC_val_solution.csv`, `ILSVRC2012_val_labels.json`, or the development kit's
      `ILSVRC2012_validation_ground_truth.txt` together with its `meta.mat` (the ground
      truth's numbers are not in the order of the labels);
    - torchvision's tree, `train/<class>/` and `val/<class>/`;
    - folders of one class each, which are the split "train";
    - tar files of the WebDataset layout, in the folders `train/` and `val/`, or with
      `val` in the names of those that validate. The files of a key follow each other:
      an image and the number of its class, `17.jpg` and `17.cls`. They are read in a
      stream;
    - `"tfds:<name>"`, such as `"tfds:imagenet2012"` or `"tfds:cats_vs_dogs"`, with its
      splits; "validation" is called "val".

    Labels are places in `class_ids`, the sorted names of the class folders. With all
    1,000 classes they are the labels of `imagenet_class_index.json`, and of published
    weights. `LOC_synset_mapping.txt` or `imagenet_class_index.json`, where there, give
    the readable names, and the folders are checked against them. TensorFlow Datasets
    keep their own order, and so do the numbers in tar files.

    Images are the `.jpg`, `.jpeg`, `.png`, `.webp` and `.bmp` files: for training in
    the order of classes and file names, for validation in the order of file names.

    The index goes to a file, which is valid while the times of all folders and the
    times and sizes of the label files stay the same. It detects added, removed and
    renamed files. Only `check` detects files that are rewritten in place.

    Args:
        root: The folder, or `"tfds:<name>"`.
        classes: None for all; a number, which the seed draws (a smaller number gives a
            part of what a larger one gives); or a list of class ids or readable names.
            Labels count through the chosen classes, in the order of `class_ids`.
        per_class: Positive integer. How many training images to take of each class,
            drawn by the seed; None for all. A smaller number gives a part of what a
            larger one gives. Other splits are restricted to the classes only.
        validation_split: Share of the images of each class that is the split "val",
            drawn by the seed, where there are no validation images; None for none. What
            is read in a stream is then read as a whole, undecoded, for either split.
        seed: Non-negative integer. Of `classes`, `per_class` and `validation_split`.
        index_dir: Folder for what was found. None: `keras_residual` in the folder of
            Keras (`KERAS_HOME`, or `~/.keras`).
        data_dir: Folder where TensorFlow Datasets keeps its data, or None for its own.
            Only for `"tfds:<name>"`.

    Attributes:
        splits: Names of the splits, such as `("train", "val")`.
        class_ids: Names of the class folders, which are ImageNet's synsets.
        class_names: Readable names, two of which may be equal ("crane").
        num_classes: Their number.

    Raises:
        ValueError: If an argument is outside its range, the folder is none of these
            trees, a label file is damaged, or it and the folders contradict each other.
        ImportError: If a package that reads this source is not installed.
        ConnectionError: If the data must be downloaded and cannot be.

    Example:
        ```python
        from keras_residual import ImageNetFolder, make_tiny_imagenet_tree

        root = make_tiny_imagenet_tree("tiny", num_classes=4, train_per_class=6)
        data = ImageNetFolder(root, index_dir="index")
        print(data.splits, data.num_classes)  # ('train', 'val') 4

        report = data.check(verbose=0)
        print(report)
        data = data.without(report)
        print(data.num_images("train"))  # 23: one is cut off

        training = data.dataset("train", image_size=64, batch_size=8, training=True)
        for images, labels in training.take(1):
            print(images.shape, images.dtype.name)  # (8, 64, 64, 3) uint8
        ```

    Reference:
        Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015.
        <https://arxiv.org/abs/1409.0575>
    """

    def __init__(
        self,
        root: str | Path,
        *,
        classes: int | Iterable[str] | None = None,
        per_class: int | None = None,
        validation_split: float | None = None,
        seed: int = 0,
        index_dir: str | Path | None = None,
        data_dir: str | Path | None = None,
    ):
        if per_class is not None:
            per_class = check_positive_integer("per_class", per_class)
        check_seed(seed)
        classes = check_classes(classes)
        if validation_split is not None:
            check_validation_split(validation_split)
        self._source = find_source(root, index_dir, data_dir, validation_split, seed)
        self._selection = Selection(self._source, classes, per_class, seed)
        chosen = self._selection.classes
        self.class_ids = [self._source.class_ids[place] for place in chosen]
        self.class_names = [self._source.class_names[place] for place in chosen]
        self.num_classes = len(chosen)
        self.splits = self._splits_with_images()

    def num_images(self, split: str) -> int:
        """How many images a split has.

        Args:
            split: One of `splits`.
        """
        return len(self._selection.places(self._checked_split(split)))

    def labels(self, split: str) -> np.ndarray:
        """The labels of a split, in the order of `files`.

        Args:
            split: One of `splits`.

        Returns:
            An array of int64, places in `class_ids`.
        """
        return self._selection.labels(self._checked_split(split))

    def files(self, split: str) -> list[str]:
        """The images of a split.

        Args:
            split: One of `splits`.

        Returns:
            A list of paths; of TensorFlow Datasets, names such as
            `"tfds:imagenet2012/train/17"`.
        """
        return self._selection.files(self._checked_split(split))

    def check(
        self, splits: str | Iterable[str] | None = None, *, verbose: int = 1
    ) -> ImageNetReport:
        """Decodes every image once, so that bad files surface before training.

        The findings are stored: a second check reads only files whose size or time of
        change differs. (It reads TensorFlow Datasets again.) An interrupted check
        resumes about where it stopped.

        Args:
            splits: One or more of `splits`; None for all.
            verbose: 1 shows progress and the time left, 0 nothing.

        Returns:
            A report. `print(report)` shows it; `report.files` has the names of the
            images by kind ("unreadable", "truncated" and "unsupported"; "CMYK",
            "grayscale" and "other format" than the suffix says, which are converted),
            `report.tree` what does not fit together (classes without folder or images,
            images without label and the reverse), `report.counts` how many there are of
            each, and `report.unusable` the images that cannot be decoded: give the
            report to `without` to leave them out.

        Raises:
            OSError: If a file cannot be read, whatever is in it; the message names it.
        """
        names = self.splits if splits is None else splits
        wanted = [names] if isinstance(names, str) else names
        return check_images(self._selection, map(self._checked_split, wanted), verbose)

    def without(
        self,
        report: ImageNetReport,
        kinds: Iterable[str] = UNUSABLE,
    ) -> "ImageNetFolder":
        """The same images, except those that a check found.

        Args:
            report: What `check` returned.
            kinds: Kinds of images to leave out. Those that cannot be decoded, unless
                more are named, such as "CMYK".

        Returns:
            A new `ImageNetFolder`. With `per_class`, left-out images are not replaced.

        Raises:
            ValueError: If a kind is unknown.
        """
        kinds = tuple(kinds)
        for kind in kinds:
            check_choice("kinds", kind, tuple(report.files))
        result = copy.copy(self)
        result._selection = self._selection.without(
            name for kind in kinds for name in report.files[kind]
        )
        result.splits = result._splits_with_images()
        return result

    def dataset(
        self,
        split: str,
        *,
        image_size: int = 224,
        batch_size: int = 32,
        training: bool = False,
        seed: int = 0,
        first_step: int | None = None,
        shard: tuple[int, int] = (0, 1),
        crop_area: tuple[float, float] | None = (0.08, 1.0),
        flip: bool = True,
        center_fraction: float = 0.875,
        augmentation: Callable[[Any], Any] | None = None,
        balanced: bool = False,
        data_format: str | None = None,
    ) -> Any:
        """Batches of images for `fit`, `evaluate` and `predict`, on every backend.

        For training, random crops of random aspect ratios, half of them mirrored, in a
        new random order each time; otherwise the centre of each image, in the order of
        `files`. No more of a JPEG file is decoded than the crop needs. CMYK, grayscale
        and PNG images become RGB.

        Args:
            split: One of `splits`.
            image_size: Positive integer. Height and width of the result.
            batch_size: Positive integer. Images of a batch, of all shards together.
            training: Whether to crop, mirror and shuffle.
            seed: Non-negative integer. Of the order, the crops and the mirroring.
            first_step: None for one pass through the images, the last batch smaller.
                An integer: endless full batches of a training from that step on. What
                batch `k` holds depends on the seed and `k` alone, so training
                that is resumed sees the batches that it would have seen.
            shard: `(index, count)`: which of `count` equal parts of each batch, for
                training on several hosts. All parts of a training have the same number
                of steps: a pass leaves out fewer than `count` images, others each
                time. Without `training` every image is in one of the parts, and the
                last batch may be missing in some of them.
            crop_area: Smallest and largest share of an image's area that a crop for
                training takes; None for the centre crop without mirroring.
            flip: Whether to mirror half of the images for training.
            center_fraction: Share of the shorter side that the centre crop takes.
            augmentation: A layer or function of a batch of images, which works in
                `tf.data`, such as Keras's augmentation layers and `Cutout`; None for
                none. Draws of its own do not depend on `seed` and step.
            balanced: Whether all classes come equally often in training: each once in
                as many images as there are classes. Images of small classes come more
                often in a pass, and some of large ones not at all. Only for folders:
                in a stream the next image of a class may be far away.
            data_format: `"channels_last"`, `"channels_first"` or None for
                `keras.config.image_data_format()`.

        Returns:
            A `tf.data.Dataset` of images (uint8, `(batch, image_size, image_size, 3)`,
            or with the channels first) and labels (int64, `(batch,)`).

        Raises:
            ValueError: If an argument is outside its range.
            ImportError: If TensorFlow, which decodes the images on every backend, is
                not installed.
        """
        split = self._checked_split(split)
        if not self.num_images(split):
            raise ValueError(
                "`split` must have images of the chosen classes (one whose labels are "
                f"not known has none). Received: split={split!r}"
            )
        options = ReaderOptions(
            image_size,
            batch_size,
            training,
            seed,
            first_step,
            shard,
            crop_area,
            flip,
            center_fraction,
            augmentation,
            balanced,
            data_format,
        )
        return self._selection.batches(split, options)

    def _splits_with_images(self) -> tuple[str, ...]:
        splits = self._source.splits
        if self._source.is_stream:
            return splits  # it would take reading all their labels
        # Now and not at the first batch: too few images of a class, or none.
        return tuple(name for name in splits if len(self._selection.places(name)))

    def _checked_split(self, split: str) -> str:
        name = "val" if split == "validation" and "val" in self.splits else split
        if name not in self.splits:
            reason = self._source.without_val
            reason = f" ({reason})" if reason and split in ("val", "validation") else ""
            raise ValueError(
                f"`split` must be one of {', '.join(map(repr, self.splits))}{reason}. "
                f"Received: split={split!r}"
            )
        return name
