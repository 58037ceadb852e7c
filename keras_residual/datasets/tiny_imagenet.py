"""A little ImageNet of drawn pictures, in the tree that Kaggle ships."""

import colorsys
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_residual._image_file import import_pillow
from keras_residual.datasets import _shapes
from keras_residual.layers._checks import check_positive_integer, check_seed

if TYPE_CHECKING:
    from PIL.Image import Image

_DRAWN = 96  # pixels of a side, before it gets the size of a photo
_SIZES = ((160, 120), (120, 160), (180, 135), (128, 128), (200, 112), (96, 144))
_ADJECTIVES = ("plain", "striped", "checked", "dotted", "wavy")  # of the textures
_TINT = 0.5  # the largest share of a class's colour
_CHUNK = 256  # pictures at a time, which bounds the memory


def make_tiny_imagenet_tree(
    path: str | Path,
    *,
    num_classes: int = 10,
    train_per_class: int = 20,
    val_per_class: int = 5,
    seed: int = 0,
    broken: bool = True,
) -> Path:
    """Writes drawn pictures in the folders and files of Kaggle's ImageNet.

    The tree has all parts of the real one: `ILSVRC/Data/CLS-LOC` with `train/<class>/`
    and the flat `val/`, `LOC_synset_mapping.txt` and `LOC_val_solution.csv`, JPEG files
    of several sizes and shapes, and its oddities: one training image is CMYK, one is
    grayscale, one is a PNG file named `.JPEG`, and one is truncated.

    A class is an object of one shape and texture, as in
    [`shape_texture_images`][keras_residual.datasets.shape_texture_images], in front of
    another texture. The whole picture is tinted with the class's colour, with a random
    strength from none to half. A network learns colours first, and needs shapes and
    textures for faintly tinted pictures. The class ids are not synsets of WordNet.

    Args:
        path: Folder to write, new or empty. It appears in one move.
        num_classes: Integer from 2 to 50. Number of classes.
        train_per_class: Integer of at least 2. Training images of each class.
        val_per_class: Positive integer. Validation images of each class.
        seed: Non-negative integer. Seed of the pictures.
        broken: Whether one training image is truncated.

    Returns:
        The path of the folder, for [`ImageNetFolder`][keras_residual.ImageNetFolder].

    Raises:
        ValueError: If an argument is outside its range, or the folder is not empty.
        ImportError: If Pillow is not installed.

    Example:
        ```python
        from keras_residual import make_tiny_imagenet_tree

        root = make_tiny_imagenet_tree("tiny", num_classes=3, train_per_class=2)
        print((root / "LOC_synset_mapping.txt").read_text())
        ```
    """
    _check_arguments(num_classes, train_per_class, val_per_class, seed)
    folder = Path(os.path.abspath(path))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"`path` must be a new or an empty folder. Received: path={str(path)!r}"
        )
    import_pillow()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}.", dir=folder.parent
    ) as temporary:
        tree = Path(temporary, "tree")
        _write_tree(tree, num_classes, train_per_class, val_per_class, seed, broken)
        if folder.exists():
            folder.rmdir()  # some systems do not replace a folder in a move
        tree.rename(folder)
    return folder


def _check_arguments(
    num_classes: int, train_per_class: int, val_per_class: int, seed: int
) -> None:
    available = len(_shapes.SHAPES) * len(_shapes.TEXTURES)
    if not 2 <= check_positive_integer("num_classes", num_classes) <= available:
        raise ValueError(
            f"`num_classes` must be from 2 to {available}. "
            f"Received: num_classes={num_classes!r}"
        )
    # One may be cut off, and the class keeps an image.
    if check_positive_integer("train_per_class", train_per_class) < 2:
        raise ValueError(
            "`train_per_class` must be at least 2. "
            f"Received: train_per_class={train_per_class!r}"
        )
    check_positive_integer("val_per_class", val_per_class)
    check_seed(seed)


def _write_tree(
    tree: Path,
    num_classes: int,
    train_per_class: int,
    val_per_class: int,
    seed: int,
    broken: bool,
) -> None:
    data = tree / "ILSVRC" / "Data" / "CLS-LOC"
    ids = [f"n{90_000_000 + label}" for label in range(num_classes)]
    for class_id in ids:
        (data / "train" / class_id).mkdir(parents=True)
    (data / "val").mkdir()
    (tree / "LOC_synset_mapping.txt").write_text(
        "".join(f"{class_id} {_name(k)}, drawn\n" for k, class_id in enumerate(ids))
    )

    # The classes take turns, so that the odd images are of different classes.
    labels = np.tile(np.arange(num_classes), train_per_class)
    oddities = dict(enumerate(("CMYK", "L", "PNG", "cut" if broken else "")))
    for place, picture in enumerate(_pictures(labels, num_classes, seed, split=0)):
        class_id = ids[labels[place]]
        file = data / "train" / class_id / f"{class_id}_{place // num_classes + 1}.JPEG"
        file.write_bytes(_encoded(picture, oddities.get(place, "")))

    labels = np.repeat(np.arange(num_classes), val_per_class)
    labels = np.random.default_rng(seed).permutation(labels)
    rows = ["ImageId,PredictionString"]
    for place, picture in enumerate(_pictures(labels, num_classes, seed, split=1)):
        name = f"ILSVRC2012_val_{place + 1:08d}"
        (data / "val" / f"{name}.JPEG").write_bytes(_encoded(picture, ""))
        width, height = picture.size
        rows.append(f"{name},{ids[labels[place]]} 0 0 {width} {height} ")
    # In random order, as in Kaggle's file.
    rows[1:] = np.random.default_rng(seed).permutation(rows[1:]).tolist()
    (tree / "LOC_val_solution.csv").write_text("\n".join(rows) + "\n")


def _pictures(labels: np.ndarray, num_classes: int, seed: int, *, split: int):
    from PIL import Image

    for start in range(0, len(labels), _CHUNK):
        generator = np.random.default_rng([seed, split, start])
        part = labels[start : start + _CHUNK]
        shapes, textures = _shape_and_texture(part)
        drawn = _shapes.draw(
            generator, len(_shapes.TEXTURES) * shapes + textures, _DRAWN
        )
        shares = _TINT * generator.random(len(part))
        sizes = generator.integers(len(_SIZES), size=len(part))
        for image, label, share, size in zip(drawn, part, shares, sizes, strict=True):
            colour = 255 * np.array(colorsys.hsv_to_rgb(label / num_classes, 0.8, 0.8))
            tinted = ((1 - share) * image + share * colour + 0.5).astype(np.uint8)
            yield Image.fromarray(tinted).resize(_SIZES[size], Image.Resampling.BICUBIC)


def _shape_and_texture(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A new shape for each of the first ten classes, then their other textures."""
    rounds, shapes = np.divmod(labels, len(_shapes.SHAPES))
    return shapes, (shapes + rounds) % len(_shapes.TEXTURES)


def _name(label: int) -> str:
    shape, texture = _shape_and_texture(np.array(label))
    return f"{_ADJECTIVES[texture]} {list(_shapes.SHAPES)[shape]}"


def _encoded(picture: "Image", oddity: str) -> bytes:
    file = io.BytesIO()
    if oddity == "PNG":
        picture.save(file, "PNG")
    else:
        mode = oddity if oddity in ("CMYK", "L") else "RGB"
        picture.convert(mode).save(file, "JPEG", quality=90)
    content = file.getvalue()
    return content[: len(content) // 2] if oddity == "cut" else content
