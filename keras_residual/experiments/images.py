"""The images of an experiment on ImageNet, or anything smaller of its kind.

The options of a command line, and the images opened, checked and known again.
"""

import os
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import keras

from keras_residual.datasets.imagenet import ImageNetFolder
from keras_residual.datasets.tiny_imagenet import make_tiny_imagenet_tree
from keras_residual.experiments.run_folder import digest
from keras_residual.experiments.settings import (
    Aside,
    Bounds,
    Folder,
    Positive,
    Run,
    refuse,
    shown_default,
)
from keras_residual.experiments.tasks import RefusedError, refusing

ALL = shown_default("all")
MOST = 256  # images in a step on one device; trainings may have many devices


@dataclass(frozen=True, kw_only=True)
class Images(Run):
    """The options of images. Subclass it for the settings of an experiment.

    Without `data_dir` and `dataset` a tiny tree of ImageNet's format is generated.

    Args:
        check: read every image file once, say what is wrong with them, and end
        data_dir: ImageNet as Kaggle or torchvision have it, or folders of classes; the
            folder of TensorFlow Datasets with --dataset
        dataset: tfds:<name>, such as tfds:imagenet2012
        classes: how many classes, or their names
        per_class: training images of each class
        image_size: height and width in pixels
        center_fraction: share of the shorter side that the validation crop shows
    """

    check: Aside[bool] = False
    data_dir: Aside[Folder | None] = None
    dataset: Aside[str | None] = None
    classes: Annotated[Aside[tuple[str, ...]], ALL] = ()
    per_class: Annotated[Positive | None, ALL] = None
    image_size: Positive = 224
    center_fraction: Annotated[float, Bounds(0, 1, "above 0, at most 1", open=True)] = (
        0.875
    )

    @property
    def is_tiny(self) -> bool:
        """Whether the images are generated."""
        return self.dataset is None and self.data_dir is None

    @property
    def tiny(self) -> dict[str, int]:
        """How many classes and images the tiny tree has."""
        train = 50 if self.preset == "quick" else 100
        return {"num_classes": 10, "train_per_class": train, "val_per_class": 20}

    def checked(self) -> typing.Self:
        refuse(
            {
                f"unknown dataset {self.dataset!r}: it must be tfds:<name>; a folder "
                "is given by --data-dir": (
                    self.dataset is not None and not self.dataset.startswith("tfds:")
                ),
                "--check is for --data-dir: TensorFlow Datasets checks what it "
                "downloads": self.check and self.dataset is not None,
            }
        )
        return super().checked()


def open_data(
    source: str,
    classes: Any,
    per_class: int | None,
    data_dir: Path | None = None,
    said: bool = False,
) -> ImageNetFolder:
    """Opens the images of a run, without those that cannot be decoded.

    Args:
        source: A folder or "tfds:<name>".
        classes: Their ids or names, their number, or None for all.
        per_class: Training images of each class, or None for all.
        data_dir: The folder of TensorFlow Datasets.
        said: Whether to print the progress and the findings of the check.
    """
    how: dict[str, Any] = {"classes": classes, "per_class": per_class}
    if source.startswith("tfds:"):
        # Checked by its checksums when it was prepared.
        return ImageNetFolder(source, data_dir=data_dir, **how)
    data = ImageNetFolder(source, **how)
    # A progress bar in a file would be thousands of lines.
    report = data.check(verbose=int(said and sys.stdout.isatty()))
    if said:
        print(report, flush=True)
    return data.without(report)


def open_source(options: Images, folder: Path) -> tuple[str, ImageNetFolder]:
    """The place of the images, in this folder if they are generated, and the images.

    Raises:
        RefusedError: If they cannot be read.
    """
    classes: Any = list(options.classes) or None
    if len(options.classes) == 1 and options.classes[0].isdecimal():
        classes = int(options.classes[0])
    source = options.dataset or str(Path(options.data_dir or "").resolve())
    with refusing():
        if options.is_tiny:
            sizes: dict[str, Any] = options.tiny
            # Hidden: a run folder may hold it before it holds a run.
            tree = folder / f".tiny-imagenet-{'x'.join(map(str, sizes.values()))}"
            if not tree.is_dir():
                make_tiny_imagenet_tree(tree, **sizes)
            source = str(tree)
        said = not options.is_tiny
        data = open_data(source, classes, options.per_class, options.data_dir, said)
    if missing := {"train", "val"} - set(data.splits):
        raise RefusedError(
            f"{source} has no split {' and '.join(sorted(missing))}: "
            "trainings need both train and val"
        )
    return source, data


def image_identity(
    options: Images, source: str, data: ImageNetFolder
) -> dict[str, Any]:
    """What a run knows its images by."""
    folder = Path(options.data_dir or "").resolve().name
    given = "a tiny generated tree" if options.is_tiny else options.dataset or folder
    return {
        "data": given,
        "classes": list(data.class_names),
        "class_ids": list(data.class_ids),
        "images": {split: data.num_images(split) for split in ("train", "val")},
        "images_sha256": fingerprint(source, data),
    }


def fingerprint(source: str, data: ImageNetFolder) -> str | None:
    """Hashes the names and sizes of all images, so that a re-encoded image differs.

    TensorFlow Datasets have a version in their name instead.
    """
    if source.startswith("tfds:"):
        return None
    files = [file for split in ("train", "val") for file in data.files(split)]
    lines = [
        f"{os.path.relpath(file, source)} {os.stat(file).st_size}" for file in files
    ]
    return digest("".join(f"{line}\n" for line in lines).encode())


def decoder() -> dict[str, str]:
    """Names the decoder of the images, the same on every backend."""
    if keras.config.backend() == "tensorflow":
        return {}
    return {"images decoded by": f"tensorflow {version('tensorflow')}"}


def check_images(settings: Mapping[str, Any], data: ImageNetFolder) -> None:
    """Refuses what would fail in the first training."""
    labels = set(data.labels("train").tolist())
    empty = [name for label, name in enumerate(data.class_ids) if label not in labels]
    refuse(
        {
            f"no training image of {', '.join(empty[:5])} can be used; leave these "
            "classes out (--classes)": bool(empty),
            f"--batch-size {settings['batch_size']} is more than the "
            f"{data.num_images('train')} training images": (
                settings["steps_per_epoch"] < 1
            ),
        }
    )


def batches(
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    split: str = "val",
    batch_size: int | None = None,
    **how: Any,
) -> Any:
    """Images and labels of a split: the centre crops, once, unless `how` differs."""
    return data.dataset(
        split,
        image_size=settings["image_size"],
        batch_size=batch_size or min(MOST, settings["batch_size"]),
        center_fraction=settings["center_fraction"],
        **how,
    )
