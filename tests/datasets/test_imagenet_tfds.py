"""`ImageNetFolder` on a set of TensorFlow Datasets that is made here."""

import numpy as np
import pytest

from keras_residual import ImageNetFolder

NAMES = ["owl", "ant", "cat"]  # the order of the set, not of the alphabet

pytestmark = [
    pytest.mark.once,
    pytest.mark.filterwarnings("ignore"),  # what tfds imports is not ours
]


@pytest.fixture
def builder(make_set):
    """Image k is filled with 10 k and has the label k % 3."""
    splits = {
        "train": [range(12)],
        "validation": [[5, 7]],
        "test": [[3, 4], -1],
    }
    return make_set(NAMES, splits, lambda number: (20 + number, 20), step=10)


@pytest.fixture
def read(builder, tmp_path):
    return lambda **options: ImageNetFolder(
        "tfds:greys", data_dir=tmp_path / "tfds", **options
    )


def content(dataset):
    """The number of each image, and its label."""
    pairs = [
        (round(image[4, 4, 0] / 10), int(label))
        for images, labels in dataset
        for image, label in zip(np.asarray(images), np.asarray(labels), strict=True)
    ]
    return pairs


@pytest.mark.slow
def test_a_set_of_tensorflow_datasets(read):
    data = read()

    assert data.splits == ("train", "val", "test")
    assert data.class_ids == data.class_names == NAMES
    assert (data.num_images("train"), data.num_images("validation")) == (12, 2)
    val = content(data.dataset("val", image_size=8, batch_size=2))
    assert sorted(val) == [(5, 2), (7, 1)]
    assert data.labels("val").tolist() == [label for _, label in val]
    # No labels are known there, as of ImageNet's images for the competition.
    assert data.labels("test").tolist() == [-1, -1]
    test = content(data.dataset("test", image_size=8))
    assert sorted(test) == [(3, -1), (4, -1)]
    pairs = content(data.dataset("train", image_size=8, training=True))
    assert sorted(pairs) == [(number, number % 3) for number in range(12)]


@pytest.mark.slow
def test_chosen_classes_and_images(read):
    data = read(classes=["cat", "owl"], per_class=3, seed=4)

    assert data.class_ids == ["owl", "cat"]
    assert data.num_images("train") == 6
    assert sorted(data.labels("train").tolist()) == [0, 0, 0, 1, 1, 1]
    pairs = content(data.dataset("train", image_size=8))
    assert [label for _, label in pairs] == data.labels("train").tolist()
    assert all(number % 3 == 2 * label for number, label in pairs)
    assert len(set(pairs)) == 6
    assert content(data.dataset("val", image_size=8)) == [(5, 1)]
    with pytest.raises(ValueError, match=r"with known labels\. .*split='test'"):
        data.dataset("test")


@pytest.mark.slow
def test_the_check_and_what_it_leaves_out(read, monkeypatch):
    data = read(classes=["ant", "cat"])
    assert data.check(verbose=0).unusable == []

    from keras_residual.datasets import _tensorflow_datasets as _tfds

    stored = _tfds.encoded_images
    monkeypatch.setattr(
        _tfds,
        "encoded_images",
        lambda builder, split: (
            image[:30] if place == 0 else image
            for place, image in enumerate(stored(builder, split))
        ),
    )
    report = read().check(["train"], verbose=0)
    assert report.files["unreadable"] + report.files["truncated"] == [
        "tfds:greys/train/0"
    ]
    kept = read().without(report)
    assert kept.num_images("train") == 11
    assert kept.files("train")[0] == "tfds:greys/train/1"
    numbers = {number for number, _ in content(kept.dataset("train", image_size=8))}
    assert len(numbers) == 11


def test_unknown_names_are_those_of_the_root():
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")
    with pytest.raises(ValueError, match=r"`root` must be .* root='tfds:nope_nope'"):
        ImageNetFolder("tfds:nope_nope")


def test_what_cannot_be_prepared_says_what_to_do(builder, read, monkeypatch):
    def failing(builder):
        raise error

    monkeypatch.setattr(builder, "download_and_prepare", failing)
    error = OSError("no route")
    with pytest.raises(ConnectionError, match=r"as `data_dir`. The reason: no route"):
        read()
    error = ImportError("something is missing")
    with pytest.raises(ImportError, match="one more package: something is missing"):
        read()
