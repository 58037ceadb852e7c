"""The index is found again while the tree is as it was, and only then."""

import json
import shutil

import imagenet_trees as trees
import numpy as np
import pytest
from imagenet_trees import DATA

from keras_residual import ImageNetFolder
from keras_residual.datasets import _files

pytestmark = pytest.mark.once

TRAIN = f"{DATA}/train"
VAL = f"{DATA}/val"


@pytest.fixture
def kaggle(tmp_path):
    root = trees.write_kaggle(tmp_path / "kaggle")
    trees.make_old(root)
    return root


@pytest.fixture
def searches(monkeypatch):
    """The folders in which images were searched."""
    found = []
    images_in = _files.images_in

    def recording(folder):
        found.append(folder.name)
        return images_in(folder)

    monkeypatch.setattr(_files, "images_in", recording)
    return found


def content(data):
    parts = [(data.files(split), data.labels(split).tolist()) for split in data.splits]
    return data.splits, data.class_ids, data.class_names, parts


def read(root):
    return ImageNetFolder(root, index_dir=root.parent / "index")


def test_what_did_not_change_is_not_searched_again(kaggle, searches):
    first = read(kaggle)
    assert searches == ["n01", "n02", "n03", "val"]
    searches.clear()

    again = read(kaggle)

    assert searches == []
    assert content(again) == content(first)
    assert again.check(verbose=0) == first.check(verbose=0)
    # What is taken of the images does not matter to what is kept.
    assert (
        ImageNetFolder(
            kaggle, index_dir=kaggle.parent / "index", classes=2, per_class=1
        ).num_images("train")
        == 2
    )
    assert searches == []


CHANGES = {
    "a new image": lambda root: trees.save(root / TRAIN / "n02" / "new.JPEG", 0),
    "a removed image": lambda root: (root / TRAIN / "n03" / "n03_0.JPEG").unlink(),
    "a renamed image": lambda root: (root / TRAIN / "n03" / "n03_0.JPEG").rename(
        root / TRAIN / "n03" / "renamed.JPEG"
    ),
    "a removed class": lambda root: shutil.rmtree(root / TRAIN / "n03"),
    "a removed validation image": lambda root: (
        root / VAL / "ILSVRC2012_val_00000001.JPEG"
    ).unlink(),
    "other labels": lambda root: (root / "LOC_val_solution.csv").write_text(
        "ILSVRC2012_val_00000001,n01 1 2 3 4\n"
    ),
    "other names": lambda root: (root / "LOC_synset_mapping.txt").write_text(
        "n01 one\nn02 two\nn03 three\n"
    ),
    "another label file": lambda root: (root / "imagenet_class_index.json").write_text(
        json.dumps({str(k): [c, "x"] for k, c in enumerate(trees.IDS)})
    ),
    "no validation": lambda root: shutil.rmtree(root / VAL),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_noticed(kaggle, searches, tmp_path, change):
    read(kaggle)
    CHANGES[change](kaggle)
    searches.clear()

    changed = read(kaggle)

    assert searches
    fresh = ImageNetFolder(kaggle, index_dir=tmp_path / "other")
    assert content(changed) == content(fresh)


def test_a_tree_that_just_changed_is_searched_again(kaggle, searches):
    # A file system that counts in seconds would not tell a further change from this.
    trees.save(kaggle / TRAIN / "n01" / "new.JPEG", 0)
    read(kaggle)
    searches.clear()
    read(kaggle)
    assert searches


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


@pytest.mark.parametrize("damage", ["empty", "half", "text", "pickle", "state"])
def test_a_damaged_index_is_made_anew(kaggle, searches, damage):
    first = read(kaggle)
    (index,) = (kaggle.parent / "index").glob("*-index.npz")
    whole = index.read_bytes()
    if damage == "pickle":
        np.savez(index, about=np.array([Malicious()], object))
    elif damage == "state":
        with np.load(index) as arrays:
            others = dict(arrays)
        others["about"] = others["about"][::-1]
        np.savez(index, **others)
    else:
        index.write_bytes(
            {"empty": b"", "half": whole[: len(whole) // 2], "text": b"text"}[damage]
        )
    searches.clear()

    assert content(read(kaggle)) == content(first)
    assert searches
    searches.clear()
    read(kaggle)
    assert searches == []


def test_an_index_that_cannot_be_written_is_a_warning(kaggle, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(
        UserWarning, match=r"could not be written .* another folder as `index_dir`"
    ):
        data = ImageNetFolder(kaggle, index_dir=tmp_path / "file" / "index")
    assert data.num_images("train") == 9


def test_the_index_lies_in_the_folder_of_keras(kaggle, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    ImageNetFolder(kaggle)
    assert len(list((tmp_path / "home" / "keras_residual").glob("*.npz"))) == 1
