"""Tar files of the WebDataset layout, against what was put into them."""

import io
import tarfile

import imagenet_trees as trees
import numpy as np
import pytest
from PIL import Image

from keras_residual import ImageNetFolder

pytestmark = pytest.mark.once


def write_shard(file, examples, more=()):
    """Examples are (key, grey, label); other files are (name, content)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        for key, grey, label in examples:
            picture = io.BytesIO()
            Image.new("RGB", (16, 16), (grey,) * 3).save(picture, "JPEG", quality=95)
            add(f"{key}.JPEG", picture.getvalue())
            add(f"{key}.cls", b"%d\n" % label)
            add(f"{key}.json", b"{}")
        for name, content in more:
            add(name, content)


@pytest.fixture
def shards(tmp_path):
    """Seven training images of three classes in two files, and one that validates."""
    examples = [(f"n{k % 3}/{k:03}", 30 * k, k % 3) for k in range(7)]
    write_shard(tmp_path / "wds/set-train-001.tar", examples[4:])
    write_shard(
        tmp_path / "wds/set-train-000.tar", examples[:4], [("._note.txt", b"hidden")]
    )
    write_shard(tmp_path / "wds/set-val-000.tar", [("c", 210, 0)])
    return tmp_path / "wds"


def contents(dataset):
    batches = [(trees.greys(images), labels) for images, labels in dataset]
    greys, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    return np.round(np.asarray(greys) / 30).astype(int).tolist(), labels.tolist()


def test_images_and_labels(shards, read):
    data = read(shards)
    assert data.splits == ("train", "val")
    assert data.class_ids == ["0", "1", "2"]
    assert data.labels("train").tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert data.files("train")[4] == f"{shards}/set-train-001.tar/n1/004"
    assert contents(data.dataset("train", image_size=8, batch_size=3)) == (
        list(range(7)),
        [k % 3 for k in range(7)],
    )
    training = data.dataset("train", image_size=8, batch_size=4, training=True)
    for _ in range(2):
        greys, labels = contents(training)
        assert sorted(greys) == list(range(7))
        assert labels == [grey % 3 for grey in greys]
    report = data.check(verbose=0)
    assert report.unusable == []
    assert "No split" not in str(report)


def test_classes_and_folders_of_splits(shards, read):
    for split in ("train", "val"):
        (shards / split).mkdir()
        for file in shards.glob(f"*{split}*.tar"):
            file.rename(shards / split / file.name)
    trees.write_mapping(shards)
    data = read(shards, classes=["n01", "n03"], per_class=2)
    assert data.class_names == ["sea snake", "crane"]
    greys, labels = contents(data.dataset("train", image_size=8))
    assert [grey % 3 // 2 for grey in greys] == labels
    assert len(labels) == 4


def test_the_index_is_kept_while_the_files_stay(shards, read, monkeypatch):
    from keras_residual.datasets import _imagenet_shards

    trees.make_old(shards)
    first = read(shards)
    with monkeypatch.context() as patch:
        patch.setattr(_imagenet_shards, "_scan", None)
        again = read(shards)
    assert again.files("train") == first.files("train")
    assert again.labels("val").tolist() == first.labels("val").tolist()
    write_shard(shards / "set-val-000.tar", [("c", 210, 0), ("d", 0, 1)])
    assert read(shards).labels("val").tolist() == [0, 1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([("x.jpg", b"no label")], r"The key x of .*set-train-000\.tar must have"),
        ([("x.cls", b"0")], "The key x of .* must have an image"),
        ([("x.jpg", b""), ("x.cls", b"cat")], "a label, a file .cls with a number"),
    ],
)
def test_incomplete_examples_are_named(shards, read, more, message):
    write_shard(shards / "set-train-000.tar", [], more)
    with pytest.raises(ValueError, match=message):
        read(shards)


def test_a_share_of_each_class_validates(shards, read):
    whole = read(shards).files("train")
    (shards / "set-val-000.tar").unlink()
    data = read(shards, validation_split=0.4, per_class=1)
    assert data.splits == ("train", "val")
    assert np.bincount(data.labels("val")).tolist() == [1, 1, 1]
    assert data.num_images("train") == 3
    greys = {}
    for split in data.splits:
        # In the order of the stream, as the files and labels are.
        greys[split], labels = contents(data.dataset(split, image_size=8))
        assert data.files(split) == [whole[grey] for grey in greys[split]]
        assert data.labels(split).tolist() == labels == [k % 3 for k in greys[split]]
    assert not set(greys["train"]) & set(greys["val"])
    assert data.check("val", verbose=0).num_images == {"val": 3}


def test_what_is_refused(shards, read):
    with pytest.raises(ValueError, match="`validation_split` must be None unless"):
        read(shards, validation_split=0.5)
    with pytest.raises(ValueError, match="`balanced` must be False for tar files"):
        read(shards).dataset("train", training=True, balanced=True)
    write_shard(shards / "set-train-000.tar", [("x", 0, 3)])
    trees.write_mapping(shards)
    with pytest.raises(ValueError, match=r"must be below 3, .* Received: 3"):
        read(shards)
    (shards / "set-train-000.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"set-train-000\.tar cannot be read"):
        ImageNetFolder(shards)
