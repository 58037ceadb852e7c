"""Readers of small image data sets: CIFAR-10, class folders, TensorFlow Datasets."""

from pathlib import Path

import keras
import numpy as np

from keras_residual._first_line import first_line
from keras_residual._image_file import read_rgb
from keras_residual.datasets import _cifar10, _files, _strips
from keras_residual.datasets import _tensorflow_datasets as _tfds
from keras_residual.layers._checks import check_positive_integer

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

Images = tuple[np.ndarray, np.ndarray, list[str]]


def load_images(
    source: str,
    *,
    data_dir: str | Path | None = None,
    image_size: int = 32,
    number: int | None = None,
) -> Images:
    """Loads the training images of a data set given by one string.

    Args:
        source: `"cifar10"`; `"tfds:<name>"`; or a folder with a local copy of CIFAR-10
            (see [`load_cifar10`][keras_residual.datasets.load_cifar10]) or with one
            folder of images per class.
        data_dir: Folder of the local copy for `"cifar10"`, or of TensorFlow Datasets'
            data. None: the default folder of Keras or TensorFlow Datasets.
        image_size: Positive integer. Height and width that every image must have.
        number: Positive integer. How many images to take, always the same ones, in a
            fixed random order with the classes in turn. None: all, in their order.

    Returns:
        Images (uint8, `(n, image_size, image_size, 3)`), labels (int64, `(n,)`) and the
        class names.

    Raises:
        ValueError: If an argument is outside its range, the source is unknown or has
            fewer images, or an image has another size or cannot be read.
        FileNotFoundError: If a folder is missing.
        ImportError: If the package that reads this source is not installed.
        ConnectionError: If the data must be downloaded and cannot be.

    Example:
        ```python
        import pathlib, tempfile
        from PIL import Image
        from keras_residual.datasets import load_images

        root = pathlib.Path(tempfile.mkdtemp())
        for name in ("red", "blue"):
            (root / name).mkdir()
            Image.new("RGB", (32, 32), name).save(root / name / "0.png")
        images, labels, names = load_images(str(root), number=1)
        print(images.shape, names)  # (1, 32, 32, 3) ['blue', 'red']
        ```
    """
    images, labels, names = _images_of(source, data_dir, image_size)
    if number is None:
        return images, labels, names
    check_positive_integer("number", number)
    if number > len(images):
        raise ValueError(
            f"`number` must be at most the {len(images)} images of {source}. "
            f"Received: number={number!r}"
        )
    chosen = _in_turns(labels)[:number]
    return images[chosen], labels[chosen], names


def _images_of(source: str, data_dir: str | Path | None, image_size: int) -> Images:
    if source == "cifar10":
        return _checked_size(_cifar10_in(data_dir), source, image_size)
    if source.startswith("tfds:"):
        name = source.removeprefix("tfds:")
        return load_tfds(name, image_size=image_size, data_dir=data_dir)
    if not Path(source).exists():
        raise ValueError(
            "`source` must be 'cifar10', 'tfds:<name>' or an existing folder. "
            f"Received: source={source!r}"
        )
    if _strips.is_strip_folder(Path(source)) or _cifar10.is_binary_folder(Path(source)):
        return _checked_size(_cifar10_in(source), source, image_size)
    return load_class_folders(source, image_size=image_size)


def load_cifar10(path: str | Path | None = None, *, split: str = "train") -> Images:
    """Loads CIFAR-10, from a local copy or through `keras.datasets.cifar10`.

    Args:
        path: Folder of the binary version: `data_batch_1.bin` to `data_batch_5.bin` and
            `test_batch.bin`. None: Keras downloads the data once (170 MB) and keeps
            them in its folder.
        split: `"train"` (50,000 images) or `"test"` (10,000).

    Returns:
        Images (uint8, `(n, 32, 32, 3)`), labels (int64, `(n,)`) and the class names.

    Raises:
        ValueError: If the split is unknown or a file cannot be read.
        FileNotFoundError: If the folder or one of its files is missing.
        ConnectionError: If the data must be downloaded and cannot be.

    Example:
        ```python
        import pathlib, tempfile
        import numpy as np
        from keras_residual.datasets import load_cifar10

        folder = pathlib.Path(tempfile.mkdtemp())
        np.zeros((2, 3073), "uint8").tofile(folder / "test_batch.bin")
        images, labels, names = load_cifar10(folder, split="test")
        print(images.shape, names[labels[0]])  # (2, 32, 32, 3) airplane
        ```

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
        <https://www.cs.toronto.edu/~kriz/cifar.html>
    """
    if split not in ("train", "test"):
        raise ValueError(
            f"`split` must be 'train' or 'test'. Received: split={split!r}"
        )
    if path is not None:
        images, labels = _cifar10.read_binary(Path(path), split)
        return images, labels, list(CIFAR10_CLASSES)
    try:
        train, test = keras.datasets.cifar10.load_data()
    except Exception as error:
        # Keras raises a bare Exception when a download fails.
        raise ConnectionError(
            "CIFAR-10 could not be downloaded: go online, or pass the folder of a "
            f"local copy. The reason: {first_line(error)}"
        ) from error
    images, labels = train if split == "train" else test
    return images, labels.reshape(-1).astype(np.int64), list(CIFAR10_CLASSES)


def load_class_folders(root: str | Path, *, image_size: int = 32) -> Images:
    """Loads images from a folder that has one folder per class.

    Args:
        root: Folder with the folders of the classes, in alphabetical order. Images are
            their `.png`, `.jpg`, `.jpeg`, `.webp` and `.bmp` files, which are converted
            to RGB. Hidden folders and files are ignored; a warning names other files.
        image_size: Positive integer. Height and width that every image must have.

    Returns:
        Images (uint8, `(n, image_size, image_size, 3)`), labels (int64, `(n,)`) and the
        class names.

    Raises:
        FileNotFoundError: If the root is missing or is not a folder.
        ValueError: If there are fewer than two classes, a class has no image, or an
            image has another size or cannot be read.
        ImportError: If Pillow is not installed.

    Example:
        ```python
        import pathlib, tempfile
        from PIL import Image
        from keras_residual.datasets import load_class_folders

        root = pathlib.Path(tempfile.mkdtemp())
        for name in ("red", "blue"):
            (root / name).mkdir()
            Image.new("RGB", (32, 32), name).save(root / name / "0.png")
        images, labels, names = load_class_folders(root)
        print(names, images[0, 0, 0])  # ['blue', 'red'] [  0   0 255]
        ```
    """
    folder = Path(root)
    names = _files.class_folders(folder)
    images, labels = [], []
    for label, name in enumerate(names):
        files = _files.images_of_class(folder / name)
        images += [_read_image(file, image_size) for file in files]
        labels += [label] * len(files)
    return np.stack(images), np.asarray(labels, np.int64), names


def load_tfds(
    name: str,
    *,
    split: str = "train",
    image_size: int = 32,
    data_dir: str | Path | None = None,
) -> Images:
    """Loads one split of an image classification set of TensorFlow Datasets.

    Args:
        name: Name of the data set, such as `"cifar10"` or `"svhn_cropped"`.
        split: Name of the split.
        image_size: Positive integer. Height and width that every image must have,
            checked before anything is downloaded.
        data_dir: Folder of TensorFlow Datasets' data, or None for its default.

    Returns:
        Images (uint8, `(n, image_size, image_size, 3)`), labels (int64, `(n,)`) and the
        class names.

    Raises:
        ImportError: If tensorflow-datasets, or a package that it needs for this data
            set, is not installed.
        ValueError: If the name or the split is unknown, or the data are not images of
            this size with one label each.
        ConnectionError: If the data must be downloaded and cannot be.

    Example, which downloads the data the first time:
        ```text
        images, labels, names = load_tfds("cifar10", split="test")
        ```
    """
    builder = _tfds.find_builder(name, data_dir)
    shape = _tfds.image_shape(builder)
    if shape != (image_size, image_size, 3):
        raise ValueError(
            f"`name` must be a data set of {image_size} x {image_size} RGB images with "
            f"a label. Received: name={name!r}, whose image shape is {shape}"
        )
    _tfds.prepare(builder, name, split)
    data = _tfds.all_examples(builder, split)
    return data["image"], data["label"].astype(np.int64), _tfds.class_names(builder)


def _cifar10_in(folder: str | Path | None) -> Images:
    if folder is None or not _strips.is_strip_folder(Path(folder)):
        return load_cifar10(folder)
    images, labels = _strips.read_strips(Path(folder), "train", tile=32)
    return images, labels, list(CIFAR10_CLASSES)


def _in_turns(labels: np.ndarray) -> np.ndarray:
    """A fixed random order of the indices in which the classes take turns."""
    order = np.random.default_rng(0).permutation(len(labels))
    turns = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels[order] == label)
        turns[places] = np.arange(len(places))
    return order[np.argsort(turns, kind="stable")]


def _read_image(file: Path, image_size: int) -> np.ndarray:
    image = read_rgb(file)
    height, width = image.shape[:2]
    if (height, width) != (image_size, image_size):
        raise ValueError(
            f"The image {file} has {width} x {height} pixels, "
            f"but {image_size} x {image_size} are needed."
        )
    return image


def _checked_size(data: Images, source: str, image_size: int) -> Images:
    if data[0].shape[1] != image_size:
        raise ValueError(
            f"`image_size` must be {data[0].shape[1]} for {source}. "
            f"Received: image_size={image_size!r}"
        )
    return data
