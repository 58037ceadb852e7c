"""The images of the ImageNet comparison: from a folder, TFDS, or a tiny tree."""

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_residual import ImageNetFolder, make_tiny_imagenet_tree

TINY = ".tiny-imagenet"  # hidden: a run folder may hold it before it holds a run


def open_data(
    source: str,
    settings: Mapping[str, Any],
    per_class: int | None,
    said: bool = False,
) -> ImageNetFolder:
    """Opens the images of a run, without those that cannot be decoded.

    Args:
        source: A folder or "tfds:<name>".
        settings: Settings of the run: "classes" holds names, ids or a number, and
            "data_dir" the folder of TensorFlow Datasets.
        per_class: Training images of each class, or None for all.
        said: Whether to print the progress and the findings of the check.
    """
    data = ImageNetFolder(
        source,
        classes=settings["class_ids"],
        per_class=per_class,
        data_dir=settings["data_dir"],
    )
    if source.startswith("tfds:"):
        return data  # checked by its checksums when it was prepared
    # A progress bar in a file would be thousands of lines.
    report = data.check(verbose=int(said and sys.stdout.isatty()))
    if said:
        print(report, flush=True)
    return data.without(report)


def fingerprint(source: str, data: ImageNetFolder) -> str | None:
    """Hashes the names and sizes of all images, so that a re-encoded image differs.

    TensorFlow Datasets have a version in their name instead.
    """
    if source.startswith("tfds:"):
        return None
    digest = hashlib.sha256()
    for split in ("train", "val"):
        for file in data.files(split):
            size = os.stat(file).st_size
            digest.update(f"{os.path.relpath(file, source)} {size}\n".encode())
    return digest.hexdigest()


def training_batches(
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    seed: int,
    first_step: int,
    shard: tuple[int, int],
) -> Any:
    """Yields batches without end; step and seed alone decide what a batch holds."""
    smallest = settings["crop_area"]
    return data.dataset(
        "train",
        image_size=settings["image_size"],
        batch_size=settings["batch_size"],
        training=True,
        seed=seed,
        first_step=first_step,
        shard=shard,
        crop_area=(smallest, 1.0) if smallest else None,
        center_fraction=settings["center_fraction"],
    )


def validation_batches(
    data: ImageNetFolder,
    settings: Mapping[str, Any],
    batch_size: int,
    *,
    split: str = "val",
    shard: tuple[int, int] = (0, 1),
) -> Any:
    """Yields the centre crops of a split once."""
    return data.dataset(
        split,
        image_size=settings["image_size"],
        batch_size=batch_size,
        shard=shard,
        center_fraction=settings["center_fraction"],
    )


def write_tiny_tree(
    folder: Path, num_classes: int, train_per_class: int, val_per_class: int
) -> Path:
    """Writes the tiny tree of a size into a folder, whole or not at all."""
    path = folder / f"{TINY}-{num_classes}x{train_per_class}x{val_per_class}"
    if not path.is_dir():
        make_tiny_imagenet_tree(
            path,
            num_classes=num_classes,
            train_per_class=train_per_class,
            val_per_class=val_per_class,
        )
    return path
