"""The images of simulation 5, and how a seed parts them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_residual import datasets
from keras_residual.experiments import RefusedError

VALIDATION_SHARE = TEST_SHARE = 0.2
# Photos need some size to be told, in every preset.
PHOTO_SIZE = 160
PRETRAINED_SIZE = 224


def load_data(settings: Any) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """As many images as asked for, equally many of each class, always the same ones."""
    size = settings.image_size
    if settings.dataset == "synthetic":
        number = 2 * settings.per_class
        if settings.strength is None:
            return *datasets.tinted_images(number, size), ["warm", "cold"]
        images, labels = datasets.tinted_images(
            number, size, strength=settings.strength
        )
        return images, labels, ["warm", "cold"]
    source: str | Path = settings.dataset or ""
    data_dir = settings.data_dir
    if source == "photos" and data_dir is not None:
        source, data_dir = data_dir, None
    try:
        return datasets.load_photos(
            source,
            image_size=size,
            per_class=settings.per_class,
            data_dir=data_dir,
        )
    except (ConnectionError, ImportError, OSError, ValueError) as error:
        raise RefusedError(str(error)) from error


def split(labels: np.ndarray, share: float, seed: int) -> dict[str, np.ndarray]:
    """Indices of the training, validation and test images, drawn by the seed.

    In each part the classes are as frequent as in the whole. A smaller share of the
    training images is a part of a larger one; validation and test stay the same.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
    for label in np.unique(labels):
        order = generator.permutation(np.flatnonzero(labels == label))
        validation = round(VALIDATION_SHARE * len(order))
        test = validation + round(TEST_SHARE * len(order))
        training = max(1, round(share * (len(order) - test)))
        parts["validation"].append(order[:validation])
        parts["test"].append(order[validation:test])
        parts["train"].append(order[test : test + training])
    return {name: np.concatenate(indices) for name, indices in parts.items()}


def check_shares(labels: np.ndarray, shares: Sequence[float]) -> None:
    counts = [len(split(labels, share, seed=0)["train"]) for share in shares]
    if len(set(counts)) < len(counts):
        raise RefusedError(
            f"--shares must give different numbers of training images, but "
            f"{', '.join(f'{share:g}' for share in shares)} give "
            f"{', '.join(map(str, counts))}: fewer shares or more images are needed"
        )


def warn_of_small_images(settings: Any, source: str) -> None:
    """Pretrained backbones tell little from pictures far below their own size."""
    small = settings.image_size is not None and settings.image_size < 112
    if small and source in ("ImageNet", "file") and settings.dataset != "synthetic":
        print(
            f"Note: {settings.image_size} pixels are less than half of the "
            f"{PRETRAINED_SIZE} that most pretrained weights come from; transfer looks "
            f"worse than it is. Without --image-size photos have {PHOTO_SIZE}."
        )
