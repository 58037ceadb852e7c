"""ImageNet's folders as they unpack, and the files with their classes and labels."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_residual._first_line import first_line
from keras_residual.datasets import _files

CLASS_FILES = ("LOC_synset_mapping.txt", "imagenet_class_index.json")
SOLUTION = "LOC_val_solution.csv"
LABELS = "ILSVRC2012_val_labels.json"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
METADATA = (*CLASS_FILES, SOLUTION, LABELS, GROUND_TRUTH, META)

_INNER = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", ".")
_SPLITS = frozenset({"test", "train", "val", "validation"})
_DEVKIT = ("ILSVRC2012_devkit_t12/data", "devkit/data")


class NoLabels(Exception):
    """The labels of the validation images are not known."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """Where things are.

    Attributes:
        train: Folder with one folder of training images per class.
        val: Folder of the validation images, flat or one folder per class, or None.
        metadata: Files that name classes and labels, by their names.
        is_classes_only: Whether the given folder itself holds the class folders.
    """

    train: Path
    val: Path | None
    metadata: dict[str, Path]
    is_classes_only: bool = False


def find_tree(root: Path) -> Tree:
    for inner in _INNER:
        base = root / inner
        if _files.folders_in(base / "train"):
            places = [base / "val", base / "validation"]
            val = next((place for place in places if place.is_dir()), None)
            return Tree(base / "train", val, _find_metadata(root, base))
    classes = _files.folders_in(root)
    if classes and _SPLITS.issuperset(classes):
        raise ValueError(
            f"`root` must have class folders in {' and '.join(classes)}: these are "
            "names of splits, not of classes, and hold no folders. "
            f"Received: root={str(root)!r}"
        )
    if len(classes) < 2:
        raise ValueError(
            "`root` must be ImageNet's folder (with ILSVRC/Data/CLS-LOC/train in it), "
            "one with train/<class>/ and val/, or one with a folder of images for each "
            f"of two or more classes. Received: root={str(root)!r}"
        )
    return Tree(root, None, _find_metadata(root, root), is_classes_only=True)


def read_class_names(tree: Tree) -> dict[str, str] | None:
    """Readable names by class id, in the order of the labels, if a file has them."""
    found: dict[str, dict[str, str]] = {}
    for name in CLASS_FILES:
        if name in tree.metadata:
            file = tree.metadata[name]
            names = _from_json(file) if file.suffix == ".json" else _from_mapping(file)
            if list(names) != sorted(names):
                raise ValueError(
                    f"The file {file} must list the classes in the order of their ids, "
                    "which is that of the labels."
                )
            found[str(file)] = names
    if len({tuple(names) for names in found.values()}) > 1:
        raise ValueError(f"The files {' and '.join(found)} must list the same classes.")
    return next(iter(found.values()), None)


def read_val_labels(tree: Tree) -> dict[str, str]:
    """Class ids of the images in the flat validation folder, by name without suffix.

    Raises `NoLabels` with the reason if no file has them.
    """
    if SOLUTION in tree.metadata:
        return dict(_from_solution(tree.metadata[SOLUTION]))
    if LABELS in tree.metadata:
        return _from_labels(tree.metadata[LABELS])
    if GROUND_TRUTH not in tree.metadata:
        raise NoLabels(
            f"the images in {tree.val} are in no class folders, and none of the files "
            f"{SOLUTION}, {LABELS} and {GROUND_TRUTH} was found beside them"
        )
    if META not in tree.metadata:
        raise NoLabels(
            f"the numbers in {tree.metadata[GROUND_TRUTH]} are not in the order of the "
            f"synsets, and {META} of the same development kit, which explains them, "
            f"was not found. {SOLUTION} or {LABELS} would do as well"
        )
    ids = _class_ids_by_number(tree.metadata[META])
    return _from_ground_truth(tree.metadata[GROUND_TRUTH], ids)


def _find_metadata(root: Path, base: Path) -> dict[str, Path]:
    folders, folder = [root, base], base
    # Kaggle's files are beside ILSVRC, also if `root` is a folder inside it.
    for name in ("CLS-LOC", "Data", "ILSVRC"):
        if folder.name != name:
            break
        folder = folder.parent
        folders.append(folder)
    folders += [folder / inner for folder in folders for inner in _DEVKIT]
    found: dict[str, Path] = {}
    for folder in folders:
        for name in METADATA:
            if name not in found and (folder / name).is_file():
                found[name] = folder / name
    return found


def _from_mapping(file: Path) -> dict[str, str]:
    names = {}
    for number, line in _lines(file):
        class_id, _, words = line.partition(" ")
        name = words.split(",")[0].strip()
        if not name or class_id in names:
            raise _bad_line(file, number, "'<class id> <name>, ...', once each")
        names[class_id] = name
    return names


def _from_json(file: Path) -> dict[str, str]:
    content = _json(file)
    try:
        pairs = [content[str(label)] for label in range(len(content))]
        names = {class_id: name.replace("_", " ") for class_id, name in pairs}
        if len(names) == len(pairs):
            return names
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    raise ValueError(
        f'The file {file} must hold {{"0": [<class id>, <name>], "1": ...}} with each '
        "class once."
    )


def _from_solution(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in _lines(file):
        image, _, boxes = line.partition(",")
        if image == "ImageId":
            continue
        words = boxes.split()
        if not words:
            raise _bad_line(file, number, "'<image>,<class id> <box> ...'")
        yield image, words[0]


def _from_labels(file: Path) -> dict[str, str]:
    content = _json(file)
    if not isinstance(content, dict) or not all(
        isinstance(class_id, str) for class_id in content.values()
    ):
        raise ValueError(
            f'The file {file} must hold {{"<image>.JPEG": <class id>, ...}}.'
        )
    return {Path(name).stem: class_id for name, class_id in content.items()}


def _from_ground_truth(file: Path, ids: dict[int, str]) -> dict[str, str]:
    labels = {}
    for number, line in _lines(file):
        if not line.isdecimal() or int(line) not in ids:
            raise _bad_line(file, number, f"the number of a class in {META}")
        labels[f"ILSVRC2012_val_{number:08d}"] = ids[int(line)]
    return labels


def _class_ids_by_number(file: Path) -> dict[int, str]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"The file {file} needs SciPy: pip install 'keras-residual[datasets]'"
        ) from error
    try:
        synsets = loadmat(file, squeeze_me=True, variable_names=["synsets"])["synsets"]
        # The first two fields; the kit's text and its file name them differently.
        return {int(synset[0]): str(synset[1]) for synset in synsets.reshape(-1)}
    except Exception as error:
        # A damaged file makes SciPy's reader raise all kinds of errors.
        raise ValueError(
            f"The file {file} must hold the synsets of ImageNet's development kit: "
            f"{first_line(error)}"
        ) from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, counted from one."""
    for number, line in enumerate(_text(file).splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _json(file: Path) -> Any:
    try:
        return json.loads(_text(file))
    except ValueError as error:
        raise ValueError(f"The file {file} must be JSON: {error}") from error


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"The file {file} cannot be read: {first_line(error)}"
        ) from error


def _bad_line(file: Path, number: int, expected: str) -> ValueError:
    return ValueError(f"Line {number} of {file} must be {expected}.")
