"""Validation images that are taken from class folders."""

import imagenet_trees as trees
import numpy as np
import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def folders(tmp_path):
    for name, count in (("ant", 2), ("bee", 10), ("cow", 21)):
        for number in range(count):
            trees.save(tmp_path / "photos" / name / f"{name}{number:02}.png", number)
    return tmp_path / "photos"


def test_a_share_of_each_class_validates(folders, read):
    whole, data = read(folders), read(folders, validation_split=0.2)
    assert data.splits == ("train", "val")
    assert np.bincount(data.labels("val")).tolist() == [1, 2, 4]
    assert np.bincount(data.labels("train")).tolist() == [1, 8, 17]
    files = {split: data.files(split) for split in data.splits}
    assert sorted(files["train"] + files["val"]) == whole.files("train")
    names = [file.rsplit("/")[-1] for file in files["val"]]
    assert names == sorted(names)
    for split in data.splits:
        classes = [file.split("/")[-2] for file in files[split]]
        assert classes == [data.class_ids[label] for label in data.labels(split)]
    ((images, _),) = data.dataset("val", image_size=8)
    assert images.shape == (7, 8, 8, 3)

    again = read(folders, validation_split=0.2)
    assert again.files("val") == files["val"]
    other = read(folders, validation_split=0.2, seed=1)
    assert other.files("val") != files["val"]
    # What trains may be fewer; what validates stays.
    few = read(folders, validation_split=0.2, per_class=1)
    assert few.files("val") == files["val"]
    assert few.num_images("train") == 3


@pytest.mark.parametrize("share", [0, 1, -0.1, "0.2", True])
def test_bad_share(folders, read, share):
    with pytest.raises(ValueError, match=r"`validation_split` must be None or a numbe"):
        read(folders, validation_split=share)


def test_what_cannot_be_split(folders, read, kaggle):
    with pytest.raises(ValueError, match=r"no validation .* are train, val\. Received"):
        read(kaggle, validation_split=0.2)
    (folders / "ant/ant00.png").unlink()
    with pytest.raises(ValueError, match=r"at least two images .* there is one of"):
        read(folders, validation_split=0.2)
