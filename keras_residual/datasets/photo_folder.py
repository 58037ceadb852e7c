"""A reader of a folder of your own photos, which reports what it leaves out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_residual._image_file import read_part
from keras_residual.datasets import _files
from keras_residual.layers._checks import check_positive_integer


@dataclass(frozen=True)
class Photos:
    """Photos of class folders, as `read_photos` returns them.

    Attributes:
        images: Array `(n, height, width, 3)`, uint8.
        labels: Array `(n,)`, int64: the number of each photo's class.
        names: The names of the classes, in the order of their numbers.
        files: The path of each photo, relative to the root, with forward slashes.
        left_out: Pairs (path, reason) of the other files.

    Example:
        ```python
        import pathlib, tempfile
        from PIL import Image
        from keras_residual.datasets import read_photos

        root = pathlib.Path(tempfile.mkdtemp())
        for name in ("red", "blue"):
            (root / name).mkdir()
            Image.new("RGB", (200, 180), name).save(root / name / "0.jpg")
        photos = read_photos(root)
        print(len(photos), photos.names[photos.labels[0]])  # 2 blue
        ```
    """

    images: np.ndarray
    labels: np.ndarray
    names: list[str]
    files: list[str]
    left_out: list[tuple[str, str]]

    def __len__(self):
        """The number of photos."""
        return len(self.files)


def read_photos(
    root: str | Path, *, image_size: int = 160, min_per_class: int = 1
) -> Photos:
    """Reads all photos of a folder that has one folder per class.

    Each photo is rotated by its EXIF tag, converted to RGB, cropped to its largest
    centred square and scaled with antialiasing. A file that is no photo or cannot be
    read is left out and listed in the result; hidden files and folders are ignored. A
    class folder may hold further folders.

    Args:
        root: The folder. The classes are its folders in alphabetical order. Photos are
            the `.jpg`, `.jpeg`, `.png`, `.webp` and `.bmp` files.
        image_size: Positive integer. Height and width of the result.
        min_per_class: Positive integer. Smallest number of readable photos in a class.

    Returns:
        A [`Photos`][keras_residual.datasets.Photos], sorted by class and path.

    Raises:
        FileNotFoundError: If the root is missing or is not a folder.
        ValueError: If there are fewer than two classes, a class has fewer than
            `min_per_class` readable photos, or an argument is outside its range.
        ImportError: If Pillow is not installed.

    Example:
        ```python
        import pathlib, tempfile
        from PIL import Image
        from keras_residual.datasets import read_photos

        root = pathlib.Path(tempfile.mkdtemp())
        for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg"):
            (root / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", (300, 200)).save(root / name)
        (root / "dog/notes.txt").write_text("no photo")
        photos = read_photos(root, image_size=96)
        print(photos.files)  # ['cat/1.jpg', 'cat/2.jpg', 'dog/1.jpg']
        print(photos.left_out)  # [('dog/notes.txt', 'no photo: its name ends in .txt')]
        ```
    """
    check_positive_integer("image_size", image_size)
    check_positive_integer("min_per_class", min_per_class)
    root = Path(root)
    names = _files.class_folders(root)
    images, labels, files, left_out = [], [], [], []
    for label, name in enumerate(names):
        photos, others = _all_files(root / name)
        for file in others:
            reason = f"no photo: its name ends in {file.suffix or 'no suffix'}"
            left_out.append((file.relative_to(root).as_posix(), reason))
        for file in photos:
            path = file.relative_to(root).as_posix()
            try:
                image = read_part(file, path, (image_size, image_size))
            except ValueError as error:
                left_out.append((path, str(error)))
                continue
            images.append(image)
            labels.append(label)
            files.append(path)
    _check_counts(np.bincount(labels, minlength=len(names)), names, min_per_class)
    return Photos(
        np.stack(images), np.asarray(labels, np.int64), names, files, left_out
    )


def _all_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Photos and other files, including those of the folders inside."""
    photos, others = ([folder / n for n in names] for names in _files.images_in(folder))
    for name in _files.folders_in(folder):
        more = _all_files(folder / name)
        photos += more[0]
        others += more[1]
    return photos, others


def _check_counts(counts, names, min_per_class) -> None:
    few = [
        f"{name} has {count}"
        for name, count in zip(names, counts, strict=True)
        if count < min_per_class
    ]
    if few:
        raise ValueError(
            f"Each class must have at least {min_per_class} readable photos, but "
            f"{', '.join(few)}."
        )
