"""The little tree: its files, read by Pillow and line by line."""

import csv

import numpy as np
import pytest
from PIL import Image

from keras_residual import ImageNetFolder, make_tiny_imagenet_tree
from keras_residual.datasets import tiny_imagenet

pytestmark = pytest.mark.once

DATA = "ILSVRC/Data/CLS-LOC"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return make_tiny_imagenet_tree(folder / "new" / "tree", train_per_class=8)


def contents(root):
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_the_tree_is_kaggles(tiny):
    lines = (tiny / "LOC_synset_mapping.txt").read_text().splitlines()
    ids = [line.split()[0] for line in lines]
    assert len(set(ids)) == 10
    assert ids == sorted(ids)
    assert lines[1] == f"{ids[1]} striped square, drawn"
    assert len({line.split(" ", 1)[1] for line in lines}) == 10

    train = sorted((tiny / DATA / "train").iterdir())
    assert [folder.name for folder in train] == ids
    assert [len(list(folder.glob("n*_*.JPEG"))) for folder in train] == [8] * 10

    val = sorted(file.stem for file in (tiny / DATA / "val").iterdir())
    assert val == [f"ILSVRC2012_val_{number:08d}" for number in range(1, 51)]
    with open(tiny / "LOC_val_solution.csv") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["ImageId"] for row in rows) == val
    labels = [row["PredictionString"].split()[0] for row in rows]
    assert [labels.count(class_id) for class_id in ids] == [5] * 10


def test_the_files_are_as_odd_as_the_real_ones(tiny):
    found, cut, sizes = [], [], set()
    for file in sorted((tiny / DATA).rglob("*.JPEG")):
        with Image.open(file) as image:
            sizes.add(image.size)
            found.append((image.format, image.mode))
            try:
                image.load()
            except OSError:
                cut.append(file)
    counts = {kind: found.count(kind) for kind in found}
    assert counts == {
        ("JPEG", "RGB"): 127,
        ("JPEG", "CMYK"): 1,
        ("JPEG", "L"): 1,
        ("PNG", "RGB"): 1,
    }
    assert len(cut) == 1
    assert len(sizes) > 3


def test_the_same_seed_is_the_same_tree(tmp_path):
    def tree(name, **options):
        root = make_tiny_imagenet_tree(
            tmp_path / name,
            num_classes=3,
            train_per_class=2,
            val_per_class=1,
            **options,
        )
        return contents(root)

    first = tree("a", seed=1)
    assert tree("b", seed=1) == first
    other = tree("c", seed=2)
    changed = {name for name in first if first[name] != other[name]}
    assert changed == set(first) - {"LOC_synset_mapping.txt"}
    whole = tree("d", seed=1, broken=False)
    (cut,) = [name for name in first if first[name] != whole[name]]
    assert whole[cut].startswith(first[cut])


def test_classes_can_be_told_but_not_by_colour_alone(tiny, tmp_path):
    data = ImageNetFolder(tiny, index_dir=tmp_path)
    data = data.without(data.check(verbose=0), kinds=["truncated", "grayscale"])

    def colours(split):
        means = []
        for file in data.files(split):
            with Image.open(file) as image:
                red, green, blue = np.asarray(image.convert("RGB")).mean((0, 1))
            means.append((red - green, green - blue))
        return np.array(means), data.labels(split)

    (train, labels), (val, expected) = colours("train"), colours("val")
    centres = np.stack([train[labels == label].mean(0) for label in range(10)])
    # Along the direction of each class's colour, whatever the strength.
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    accuracy = ((val @ centres.T).argmax(1) == expected).mean()
    assert 0.3 < accuracy < 0.9


def test_an_interrupted_tree_is_not_there(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tiny_imagenet, "_encoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_tiny_imagenet_tree(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled_and_no_other(tmp_path):
    (tmp_path / "empty").mkdir()
    small = {"num_classes": 2, "train_per_class": 2, "val_per_class": 1}
    root = make_tiny_imagenet_tree(tmp_path / "empty", **small)
    before = contents(root)

    with pytest.raises(ValueError, match=r"`path` must be a .* Received: path="):
        make_tiny_imagenet_tree(root, **small)
    assert contents(root) == before


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_classes", 1),
        ("num_classes", 51),
        ("train_per_class", 1),
        ("val_per_class", 0),
        ("seed", -1),
    ],
)
def test_bad_arguments_are_named(tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must .* Received: {argument}="):
        make_tiny_imagenet_tree(tmp_path / "tree", **{argument: value})
