"""The content of a tree of images, kept in a file as long as nothing changes."""

import dataclasses
import hashlib
import json
import os
import time
import warnings
from pathlib import Path

import numpy as np

from keras_residual._atomic_file import atomic_file
from keras_residual.datasets import _files
from keras_residual.datasets import _imagenet_trees as trees

_VERSION = 3
# Some file systems count in steps of two seconds: a change right after the index was
# made might not change the time of a folder.
TOO_RECENT = 3


@dataclasses.dataclass(frozen=True)
class Listing:
    """The images of a tree.

    Attributes:
        class_ids: Names of the class folders, sorted.
        class_names: Readable names of the classes.
        names: By split, the images below the folder of the split.
        labels: By split, places in `class_ids`.
        findings: Inconsistent names in the tree, by kind.
        without_val: Why there is no split "val", "" if there is one.
    """

    class_ids: list[str]
    class_names: list[str]
    names: dict[str, list[str]]
    labels: dict[str, np.ndarray]
    findings: dict[str, list[str]]
    without_val: str


def load_listing(tree: trees.Tree, file: Path) -> Listing:
    """From the file if the tree is unchanged since it was written; else a new one."""
    state, newest = _state(tree)
    listing = _read(file, state)
    if listing is None:
        start = time.time()
        listing = _scan(tree)
        if newest < start - TOO_RECENT:
            write_cache(file, _packed(listing, state))
    return listing


def cache_file(index_dir: str | Path | None, root: Path, what: str) -> Path:
    if index_dir is None:
        home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
        index_dir = Path(home, "keras_residual")
    folder = Path(index_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"`index_dir` must be a folder. Received: index_dir={str(index_dir)!r}"
        )
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return folder / f"imagenet-{digest}-{what}.npz"


def write_cache(file: Path, arrays: dict[str, np.ndarray]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as temporary:
            np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"The index {file} could not be written ({error.strerror}), so the images "
            "are searched each time. Pass another folder as `index_dir`.",
            stacklevel=2,
        )


def read_cache(file: Path) -> dict[str, np.ndarray]:
    """The arrays, or none where the file is missing, damaged or another version's."""
    try:
        # Opened here: NumPy does not close a file that is no archive.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception:
        # A damaged archive raises all kinds of errors; it is written again.
        return {}


def pack_names(names: list[str]) -> np.ndarray:
    # No name of a file contains this character.
    return np.frombuffer(b"\0".join(map(os.fsencode, names)), np.uint8)


def unpack_names(packed: np.ndarray) -> list[str]:
    joined = os.fsdecode(packed.tobytes())
    return joined.split("\0") if joined else []


def _scan(tree: trees.Tree) -> Listing:
    known = trees.read_class_names(tree)
    ids = _files.folders_in(tree.train)
    strange = [name for name in ids if name not in known] if known else []
    if strange:
        raise ValueError(
            f"Each folder in {tree.train} must be a class that {_class_file(tree)} "
            f"lists, but {_some(strange)} {'is' if len(strange) == 1 else 'are'} not. "
            "Move other folders away."
        )
    left_out: list[str] = []
    train = [
        (name, f"{name}/{file}")
        for name in ids
        for file in _images_in(tree.train / name, left_out)
    ]
    if not train:
        raise ValueError(
            f"The folders in {tree.train} must hold images directly, in no further "
            f"folder: files that end in {', '.join(_files.SUFFIXES)}. They hold none."
        )
    found = {"train": train}
    there = set(ids)
    findings = {
        "missing classes": [name for name in known or () if name not in there],
        "no images by their suffix": left_out,
    }
    without_val = ""
    if tree.val is None:
        without_val = (
            f"{tree.train} holds class folders only: pass the folder that holds train/ "
            "and val/"
            if tree.is_classes_only
            else f"there is no folder {tree.train.parent / 'val'}"
        )
    else:
        try:
            found["val"] = _val(tree, tree.val, there, known, findings)
        except trees.NoLabels as error:
            without_val = str(error)
        if not found.get("val", True):
            without_val = f"{tree.val} has no image of the classes in {tree.train}"
            del found["val"]
    places = {name: place for place, name in enumerate(ids)}
    labels = {
        split: np.array([places[name] for name, _ in images], np.int64)
        for split, images in found.items()
    }
    findings["classes without images"] = [
        f"{split}/{ids[place]}"
        for split in labels
        for place in np.flatnonzero(np.bincount(labels[split], minlength=len(ids)) == 0)
    ]
    return Listing(
        class_ids=ids,
        class_names=[known[name] if known else name for name in ids],
        names={split: [file for _, file in images] for split, images in found.items()},
        labels=labels,
        findings=findings,
        without_val=without_val,
    )


def _val(
    tree: trees.Tree,
    val: Path,
    ids: set[str],
    known: dict[str, str] | None,
    findings: dict[str, list[str]],
) -> list[tuple[str, str]]:
    """Class and file of each validation image, in the order of the file names."""
    folders = _files.folders_in(val)
    left_out = findings["no images by their suffix"]
    flat = _images_in(val, left_out)
    if folders and flat:
        raise ValueError(
            f"The folder {val} must hold images or class folders, but has {len(flat)} "
            f"images ({_some(flat)}) and {len(folders)} folders ({_some(folders)}): "
            "sort the images into folders, or move one kind away."
        )
    if folders:
        strange = [name for name in folders if name not in ids and not known]
        strange += [name for name in folders if known and name not in known]
        if strange:
            raise ValueError(
                f"Each folder in {val} must be one of the classes in {tree.train}, but "
                f"{_some(strange)} {'is' if len(strange) == 1 else 'are'} not."
            )
        images = [
            (name, f"{name}/{file}")
            for name in folders
            for file in _images_in(val / name, left_out)
        ]
    else:
        class_of = trees.read_val_labels(tree)
        files = {Path(file).stem: file for file in flat}
        if len(files) < len(flat):
            same = sorted(set(flat) - set(files.values()))
            raise ValueError(
                f"Each image in {val} must have a unique name before its suffix, for "
                f"its label, but {_some(same)} "
                f"{'has' if len(same) == 1 else 'have'} that of another."
            )
        images = [(class_of[s], file) for s, file in files.items() if s in class_of]
        findings["images without label"] = [
            file for stem, file in files.items() if stem not in class_of
        ]
        findings["labels without image"] = sorted(class_of.keys() - files.keys())
    findings["validation images of other classes"] = [
        file for name, file in images if name not in ids
    ]
    # By the name of the file alone: the same order in Kaggle's and torchvision's tree.
    images.sort(key=lambda image: (image[1].rsplit("/")[-1], image[1]))
    return [image for image in images if image[0] in ids]


def _images_in(folder: Path, left_out: list[str]) -> list[str]:
    """Names of images; adds the names of other files to `left_out`."""
    images, others = _files.images_in(folder)
    left_out += [f"{folder.name}/{name}" for name in others]
    return images


def _class_file(tree: trees.Tree) -> Path:
    return next(tree.metadata[n] for n in trees.CLASS_FILES if n in tree.metadata)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _state(tree: trees.Tree) -> tuple[str, float]:
    """A text that differs if the tree changed, and the latest change in seconds."""
    folders = [
        tree.train,
        *(tree.train / name for name in _files.folders_in(tree.train)),
    ]
    if tree.val is not None:
        folders += [
            tree.val,
            *(tree.val / name for name in _files.folders_in(tree.val)),
        ]
    times = {str(folder): folder.stat().st_mtime_ns for folder in folders}
    files = {
        str(file): (file.stat().st_mtime_ns, file.stat().st_size)
        for file in tree.metadata.values()
    }
    newest = max([*times.values(), *(changed for changed, _ in files.values())])
    return json.dumps([_VERSION, times, files]), newest / 1e9


def _packed(listing: Listing, state: str) -> dict[str, np.ndarray]:
    about = {
        "state": state,
        "class_ids": listing.class_ids,
        "class_names": listing.class_names,
        "findings": listing.findings,
        "without_val": listing.without_val,
        "splits": list(listing.names),
    }
    arrays = {"about": pack_names([json.dumps(about)])}
    for split, names in listing.names.items():
        arrays[f"{split} names"] = pack_names(names)
        arrays[f"{split} labels"] = listing.labels[split]
    return arrays


def _read(file: Path, state: str) -> Listing | None:
    arrays = read_cache(file)
    try:
        about = json.loads(unpack_names(arrays["about"])[0])
        if about.pop("state") != state:
            return None
        splits = about.pop("splits")
        return Listing(
            names={split: unpack_names(arrays[f"{split} names"]) for split in splits},
            labels={split: arrays[f"{split} labels"] for split in splits},
            **about,
        )
    except (KeyError, TypeError, ValueError, IndexError):
        return None  # none there, or not as it was written
