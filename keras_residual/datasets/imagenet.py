"""ImageNet as it unpacks, and other images in folders: found, checked and read."""

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
    """Finds, checks and reads ImageNet, or any images in folders by class.

    Supported layouts:

    - Kaggle's tree, from its root or a folder inside it: `ILSVRC/Data/CLS-LOC` with
      `train/<class>/` and a flat `val/`. The labels of `val/` come from
      `LOC_val_solution.csv`, `ILSVRC2012_val_labels.json`, or the development kit's
      `ILSVRC2012_validation_ground_truth.txt` together with its `meta.mat` (the ground
      truth's numbers are not in the order of the labels);
    - torchvision's tree, `train/<class>/` and `val/<class>/`;
    - folders of one class each, which are the split "train";
    - tar files of the WebDataset layout, in the folders `train/` and `val/` or with
      `val` in the names of those for validation: an image and the number of its class
      follow each other, `17.jpg` and `17.cls`;
    - `"tfds:<name>"`, such as `"tfds:imagenet2012"` or `"tfds:cats_vs_dogs"`, with its
      splits; "validation" is called "val".

    Labels are places in `class_ids`, the sorted names of the class folders. With all
    1,000 classes they are the labels of `imagenet_class_index.json` and of published
    weights. If there is a `LOC_synset_mapping.txt` or `imagenet_class_index.json`, it
    gives the readable names, and the folders are checked against it. TensorFlow
    Datasets and tar files have their own order.

    Images are the `.jpg`, `.jpeg`, `.png`, `.webp` and `.bmp` files: for training in
    the order of classes and file names, for validation in the order of file names.

    An index is kept in a file while the times of folders and label files stay the same.
    It detects added, removed and renamed files; only `check` detects rewritten ones.

    Args:
        root: The folder, or `"tfds:<name>"`.
        classes: None for all; a number of classes, drawn by the seed (a smaller number
            selects a subset of a larger one); or a list of class ids or readable names.
            Labels count through the chosen classes, in the order of `class_ids`.
        per_class: Positive integer. How many training images to take of each class,
            drawn by the seed; None for all. A smaller number selects a subset of a
            larger one. It does not apply to other splits.
        validation_split: Share of the training images of each class, drawn by the seed,
            for the split "val" of data without one, or None. Tar files and TensorFlow
            Datasets are then read as a whole, undecoded, for either split.
        seed: Non-negative integer. Of `classes`, `per_class` and `validation_split`.
        index_dir: Folder for the index. None: `keras_residual` in the folder of Keras
            (`KERAS_HOME`, or `~/.keras`).
        data_dir: Folder of TensorFlow Datasets' data, or None for its default. Only for
            `"tfds:<name>"`.

    Attributes:
        splits: Names of the splits, such as `("train", "val")`.
        class_ids: Names of the class folders, which are ImageNet's synsets.
        class_names: Readable names; two may be equal ("crane").
        num_classes: Number of classes.

    Raises:
        ValueError: If an argument is outside its range, the folder has none of these
            layouts, a label file is damaged, or it contradicts the folders.
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
        print(data.num_images("train"))  # 23: one is truncated

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
        """Returns the number of images of a split.

        Args:
            split: One of `splits`.
        """
        return len(self._selection.places(self._checked_split(split)))

    def labels(self, split: str) -> np.ndarray:
        """Returns the labels of a split, in the order of `files`.

        Args:
            split: One of `splits`.

        Returns:
            An array of int64, places in `class_ids`.
        """
        return self._selection.labels(self._checked_split(split))

    def files(self, split: str) -> list[str]:
        """Returns the names of the images of a split.

        Args:
            split: One of `splits`.

        Returns:
            A list of paths; for TensorFlow Datasets, names such as
            `"tfds:imagenet2012/train/17"`.
        """
        return self._selection.files(self._checked_split(split))

    def check(
        self, splits: str | Iterable[str] | None = None, *, verbose: int = 1
    ) -> ImageNetReport:
        """Decodes every image once, so that bad files surface before training.

        The findings are stored: a second check reads only files whose size or time of
        change differs, and an interrupted check resumes about where it stopped. (Tar
        files and TensorFlow Datasets are read again.)

        Args:
            splits: One or more of `splits`; None for all.
            verbose: 1 shows progress and the time left, 0 nothing.

        Returns:
            An [`ImageNetReport`][keras_residual.datasets.ImageNetReport] for `print`,
            and for `without`, which leaves out images that cannot be decoded.

        Raises:
            ValueError: If a split is unknown.
            ImportError: If Pillow is not installed.
            OSError: If the system cannot read a file; the message names it.
        """
        names = self.splits if splits is None else splits
        wanted = [names] if isinstance(names, str) else names
        return check_images(self._selection, map(self._checked_split, wanted), verbose)

    def without(
        self, report: ImageNetReport, kinds: str | Iterable[str] = UNUSABLE
    ) -> "ImageNetFolder":
        """Returns the same images without those that a check found.

        Args:
            report: What `check` returned.
            kinds: One or more kinds of images to leave out, such as "CMYK". By default
                those that cannot be decoded.

        Returns:
            A new `ImageNetFolder`. With `per_class`, left-out images are not replaced.

        Raises:
            ValueError: If a kind is unknown.
        """
        kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
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
        """Returns batches for `fit`, `evaluate` and `predict`, on every backend.

        Training uses random crops of random aspect ratios, half of them mirrored, in a
        new random order each time; otherwise the centre of each image, in the order of
        `files`. A JPEG is decoded only where the crop needs it. CMYK, grayscale and PNG
        images become RGB.

        Args:
            split: One of `splits`.
            image_size: Positive integer. Height and width of the result.
            batch_size: Positive integer. Images of a batch, of all shards together.
            training: Whether to crop, mirror and shuffle.
            seed: Non-negative integer. Of the order, the crops and the mirroring.
            first_step: None for one pass through the images, the last batch smaller. An
                integer: endless full batches, from that step on. Batch `k` depends only
                on the seed and `k`, so resumed training sees the batches it would have.
            shard: `(index, count)`: which of `count` equal parts of each batch, for
                several hosts. With `training` all parts have as many steps, and a pass
                leaves out fewer than `count` images, others each time. Otherwise every
                image is in one of the parts, and some may lack the last batch.
            crop_area: Smallest and largest share of an image's area in a crop for
                training; None for the centre crop without mirroring.
            flip: Whether to mirror half of the images for training.
            center_fraction: Float in `(0, 1]`. Share of the shorter side in the centre
                crop.
            augmentation: A layer or function of a batch of images that works in
                `tf.data`, such as Keras's augmentation layers and `Cutout`, or None.
                Its own draws do not depend on `seed` and step.
            balanced: Whether training sees all classes equally often. A pass then
                repeats images of small classes and lacks some of large ones. Only for
                folders: in a stream the next image of a class may be far away.
            data_format: `"channels_last"`, `"channels_first"` or None for
                `keras.config.image_data_format()`.

        Returns:
            A `tf.data.Dataset` of images (uint8, `(batch, image_size, image_size, 3)`,
            or with the channels first) and labels (int64, `(batch,)`).

        Raises:
            ValueError: If an argument is outside its range.
            ImportError: If TensorFlow, which decodes the images, is not installed.
        """
        split = self._checked_split(split)
        if not self.num_images(split):
            raise ValueError(
                "`split` must have images of the chosen classes, with known labels. "
                f"Received: split={split!r}"
            )
        options = ReaderOptions(
            *(image_size, batch_size, training, seed, first_step, shard, crop_area),
            *(flip, center_fraction, augmentation, balanced, data_format),
        )
        return self._selection.batches(split, options)

    def _splits_with_images(self) -> tuple[str, ...]:
        splits = self._source.splits
        if self._source.is_stream:
            return splits  # the labels would have to be read
        # Raises now, and not at the first batch, if a class has too few images.
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
