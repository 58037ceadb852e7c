"""The images of simulation 4."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_residual import datasets
from keras_residual.experiments import RefusedError

IMAGE_SIZE = 32


def load_data(settings: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As many images as asked for: all classes alike, always the same ones."""
    if settings.dataset == "synthetic":
        images, labels = datasets.sinusoid_images(
            settings.images, image_size=IMAGE_SIZE, strength=settings.strength or 0.0
        )
        return images, labels, [f"class {label}" for label in range(10)]
    try:
        images, labels, names = datasets.load_images(
            settings.dataset, data_dir=settings.data_dir, image_size=IMAGE_SIZE
        )
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from error
    if settings.images > len(images):
        raise RefusedError(
            f"{settings.dataset} has {len(images)} images, fewer than the "
            f"{settings.images} of --images"
        )
    chosen = balanced_choice(labels, len(names), settings.images)
    return images[chosen], labels[chosen], names


def balanced_choice(
    labels: np.ndarray, num_classes: int, num_images: int
) -> np.ndarray:
    """Indices of images in a fixed random order in which the classes take turns."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(order), np.int64)
    for label in range(num_classes):
        places = np.flatnonzero(labels[order] == label)
        turn[places] = np.arange(len(places))
    return order[np.argsort(turn, kind="stable")][:num_images]


def check_source(dataset: str, data_dir: Path | None) -> None:
    stored = dataset == "cifar10" or dataset.startswith("tfds:")
    named = stored or dataset == "synthetic"
    for folder in (None if named else Path(dataset), data_dir):
        if folder is None or folder.is_dir():
            continue
        if folder.exists():
            raise RefusedError(f"{folder} is a file; a folder of images is needed")
        if folder == data_dir:
            raise RefusedError(f"the folder --data-dir {folder} does not exist")
        raise RefusedError(
            f"unknown dataset {dataset!r}: it must be synthetic, cifar10, "
            "tfds:<name> or an existing folder"
        )
    if data_dir is not None and not stored:
        raise RefusedError(
            f"--data-dir is for cifar10 and tfds:<name>, not for --dataset {dataset}"
        )
