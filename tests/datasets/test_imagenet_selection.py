"""Which classes and images are taken, by name, number and seed."""

import imagenet_trees as trees
import pytest

pytestmark = pytest.mark.once


def test_classes_by_id_and_name(kaggle, read):
    data = read(kaggle, classes=["n03", "sea snake"])

    assert data.class_ids == ["n01", "n03"]  # always in the order of the labels
    assert data.class_names == ["sea snake", "crane"]
    assert data.labels("train").tolist() == [0, 0, 1, 1, 1, 1]
    assert data.labels("val").tolist() == [1, 0, 0, 1]
    assert [file[-12:] for file in data.files("val")] == [
        f"0000000{number}.JPEG"[-12:] for number in (1, 2, 3, 5)
    ]
    with pytest.raises(
        ValueError, match=r"ids in place of a name that n02, n03 share. .*'crane'"
    ):
        read(kaggle, classes=["n01", "crane"])


def test_so_many_classes_and_images_by_seed(tmp_path, read):
    root = tmp_path / "many"
    for class_id in [f"c{number:02d}" for number in range(12)]:
        for number in range(12):
            trees.save(root / "train" / class_id / f"{number}.png", 0, size=(1, 1))
        for number in range(3):
            trees.save(root / "val" / class_id / f"{number}.png", 0, size=(1, 1))

    def chosen(**options):
        data = read(root, **options)
        assert data.labels("train").tolist() == sorted(data.labels("train").tolist())
        assert data.num_images("val") == 3 * data.num_classes
        return data.class_ids, trees.below(data.files("train"), root / "train")

    few, _ = chosen(classes=3, seed=1)
    more, _ = chosen(classes=7, seed=1)
    assert set(few) < set(more)
    assert few == sorted(few)
    assert len({tuple(chosen(classes=3, seed=seed)[0]) for seed in range(5)}) > 1

    _, two = chosen(per_class=2, seed=1)
    _, five = chosen(per_class=5, seed=1)
    assert (len(two), len(five)) == (24, 60)
    assert set(two) < set(five)
    assert len({tuple(chosen(per_class=2, seed=s)[1]) for s in range(3)}) == 3
    # The classes are drawn apart from each other, and whichever others are taken.
    pairs = [two[2 * k : 2 * k + 2] for k in range(12)]
    assert len({tuple(file.rsplit("/")[-1] for file in pair) for pair in pairs}) > 1
    _, alone = chosen(classes=["c07", "c03"], per_class=2, seed=1)
    assert alone == pairs[3] + pairs[7]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 1}, "`classes` must be from 2 to 3.* Received: classes=1"),
        ({"classes": 4}, "`classes` must be from 2 to 3.* Received: classes=4"),
        ({"classes": 0}, "`classes` must be a positive"),
        ({"classes": True}, "`classes` must be a positive"),
        ({"classes": 1.5}, "`classes` must be None, a number .* Received: classes=1.5"),
        ({"classes": "n01"}, "`classes` must be None, .* Received: classes='n01'"),
        ({"classes": ["n01"]}, "`classes` must be two or more different"),
        ({"classes": ["n01", "n01"]}, "`classes` must be two or more different"),
        ({"classes": ["n01", "n9"]}, "`classes` must hold ids .* Received: 'n9'"),
        ({"per_class": 0}, "`per_class` must .* Received: per_class=0"),
        ({"per_class": 3}, "but n01 has 2. Received: per_class=3"),
        ({"seed": -1}, "`seed` must .* Received: seed=-1"),
        ({"data_dir": "x"}, "`data_dir` must be None .* Received: data_dir='x'"),
    ],
)
def test_bad_arguments_are_named(kaggle, read, options, message):
    with pytest.raises(ValueError, match=message):
        read(kaggle, **options)
