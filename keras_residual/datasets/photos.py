"""A reader of photos of any size: some of each class, cropped square and scaled."""

import io
import re
from pathlib import Path

import numpy as np

from keras_residual._image_file import read_part
from keras_residual.datasets import _files
from keras_residual.datasets import _tensorflow_datasets as _tfds
from keras_residual.layers._checks import check_positive_integer, check_seed

# As in Kaggle's cats and dogs: cat.0.jpg, dog.12499.jpg.
_CLASS_AND_NUMBER = re.compile(r"(.+)\.(\d+)\.[^.]+")


def load_photos(
    source: str | Path,
    *,
    image_size: int = 160,
    per_class: int | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Loads photos of any size, cropped to their largest centred square and scaled.

    Each photo is rotated by its EXIF tag, converted to RGB, cropped and scaled with
    antialiasing. Only the chosen photos are read, so a few of many take no longer than
    a few.

    Args:
        source: A folder with one folder of photos per class; a folder of files named
            `<class>.<number>.jpg`, as Kaggle's cats and dogs (also if they are in its
            folder `train` or in its only folder); or `"tfds:<name>"`, the split "train"
            of a set of TensorFlow Datasets such as `"tfds:cats_vs_dogs"`. Photos are
            the `.jpg`, `.jpeg`, `.png`, `.webp` and `.bmp` files.
        image_size: Positive integer. Height and width of the result.
        per_class: Positive integer. How many photos to take of each class; None for
            all. A smaller number selects a subset of a larger one.
        seed: Non-negative integer. Decides which photos are used.
        data_dir: Folder of TensorFlow Datasets' data, or None for its default. Only for
            `"tfds:<name>"`.

    Returns:
        Images (uint8, `(n, image_size, image_size, 3)`), labels (int64, `(n,)`) and the
        class names. Photos are sorted by class, in alphabetical order (TensorFlow
        Datasets: in its own), then by file name or number, whatever the seed.

    Raises:
        ValueError: If an argument is outside its range, the source has fewer than two
            classes or a class has fewer than `per_class` photos, a file of a folder of
            `<class>.<number>.jpg` has another name, or a photo cannot be read.
        ImportError: If the package that reads this source is not installed.
        ConnectionError: If the data must be downloaded and cannot be.

    Example:
        ```python
        import pathlib, tempfile
        from PIL import Image
        from keras_residual.datasets import load_photos

        root = pathlib.Path(tempfile.mkdtemp())
        for name in ("dog.0.jpg", "cat.0.jpg", "cat.1.jpg"):
            Image.new("RGB", (300, 200)).save(root / name)
        images, labels, names = load_photos(root, image_size=96, per_class=1)
        print(images.shape, labels, names)  # (2, 96, 96, 3) [0 1] ['cat', 'dog']
        ```
    """
    check_positive_integer("image_size", image_size)
    if per_class is not None:
        check_positive_integer("per_class", per_class)
    check_seed(seed)
    if str(source).startswith("tfds:"):
        name = str(source).removeprefix("tfds:")
        return _from_tfds(name, image_size, per_class, seed, data_dir)
    if not Path(source).is_dir():
        raise ValueError(
            "`source` must be an existing folder or 'tfds:<name>'. "
            f"Received: source={str(source)!r}"
        )
    if data_dir is not None:
        raise ValueError(
            "`data_dir` must be None for a folder: it is the folder of TensorFlow "
            f"Datasets' data. Received: data_dir={str(data_dir)!r}"
        )
    files = _files_by_class(Path(source))
    chosen = _choose(
        {name: len(of_class) for name, of_class in files.items()}, per_class, seed
    )
    images = np.empty((sum(map(len, chosen)), image_size, image_size, 3), np.uint8)
    photos = [
        of_class[place]
        for of_class, places in zip(files.values(), chosen, strict=True)
        for place in places
    ]
    for image, photo in zip(images, photos, strict=True):
        image[:] = read_part(photo, str(photo), (image_size, image_size))
    return images, _labels(chosen), list(files)


def _files_by_class(root: Path) -> dict[str, list[Path]]:
    folders = [root / name for name in _files.folders_in(root)]
    # Several folders are classes, whatever the names of their files.
    inside = [entry for entry in folders if entry.name == "train" or len(folders) == 1]
    for folder in (root, *inside):
        if len(_numbered_classes(folder)) > 1:
            return _by_name(folder)
    if len(folders) < 2:
        raise ValueError(
            "`source` must hold at least two folders of photos, one per class, or "
            "files of at least two classes named <class>.<number>.jpg. "
            f"Received: source={str(root)!r}"
        )
    return {folder.name: _files.images_of_class(folder) for folder in folders}


def _numbered_classes(folder: Path) -> set[str]:
    matches = map(_CLASS_AND_NUMBER.fullmatch, _files.images_in(folder)[0])
    return {match[1] for match in matches if match}


def _by_name(folder: Path) -> dict[str, list[Path]]:
    numbered: dict[str, list[tuple[int, Path]]] = {}
    for name in _files.images_in(folder)[0]:
        file = folder / name
        match = _CLASS_AND_NUMBER.fullmatch(name)
        if not match:
            raise ValueError(
                f"The image {file} must be named <class>.<number>{file.suffix}, like "
                "the others in its folder."
            )
        numbered.setdefault(match[1], []).append((int(match[2]), file))
    return {
        name: [file for _, file in sorted(numbered[name])] for name in sorted(numbered)
    }


def _from_tfds(
    name: str,
    image_size: int,
    per_class: int | None,
    seed: int,
    data_dir: str | Path | None,
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    builder = _tfds.find_builder(name, data_dir, "source")
    _tfds.check_images(builder, name, "source")
    _tfds.prepare(builder, name, "train")
    names = _tfds.class_names(builder)
    labels = _tfds.labels(builder, "train")
    members = [np.flatnonzero(labels == label) for label in range(len(names))]
    counts = {name: len(places) for name, places in zip(names, members, strict=True)}
    chosen = _choose(counts, per_class, seed)
    places = np.concatenate(
        [of_class[part] for of_class, part in zip(members, chosen, strict=True)]
    )
    # Examples are read in one order, and stored in that of the classes.
    target = dict(zip(places.tolist(), range(len(places)), strict=True))
    images = np.empty((len(places), image_size, image_size, 3), np.uint8)
    for place, encoded in enumerate(_tfds.encoded_images(builder, "train")):
        if place in target:
            images[target[place]] = read_part(
                io.BytesIO(encoded),
                f"{place} of tfds:{name}",
                (image_size, image_size),
            )
    return images, _labels(chosen), names


def _choose(
    counts: dict[str, int], per_class: int | None, seed: int
) -> list[np.ndarray]:
    """Places in each class, ascending."""
    few = [
        f"{name} has {count}"
        for name, count in counts.items()
        if count < (per_class or 0)
    ]
    if few:
        raise ValueError(
            f"`per_class` must be at most the number of photos of each class, but "
            f"{', '.join(few)}. Received: per_class={per_class!r}"
        )
    # A generator for each class makes the classes independent of each other.
    return [
        np.sort(np.random.default_rng([seed, label]).permutation(count)[:per_class])
        for label, count in enumerate(counts.values())
    ]


def _labels(chosen: list[np.ndarray]) -> np.ndarray:
    return np.repeat(np.arange(len(chosen)), [len(places) for places in chosen])
