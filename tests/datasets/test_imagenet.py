"""ImageNet's trees: small ones written here, and the real images if present."""

import json

import imagenet_trees as trees
import numpy as np
import pytest
from imagenet_trees import DATA, IDS

from keras_residual import ImageNetFolder

pytestmark = pytest.mark.once

TRAIN_FILES = [f"{c}/{c}_{k}.JPEG" for c, n in trees.TRAIN.items() for k in range(n)]
TRAIN_LABELS = [0] * 2 + [1] * 3 + [2] * 4
VAL_LABELS = [2, 0, 0, 1, 2]


@pytest.mark.parametrize("inside", ["", "ILSVRC", "ILSVRC/Data", DATA])
def test_kaggles_tree_from_its_root_or_a_folder_inside(kaggle, read, inside):
    data = read(str(kaggle / inside))

    assert data.splits == ("train", "val")
    assert data.class_ids == IDS
    assert data.class_names == ["sea snake", "crane", "crane"]
    assert data.num_classes == 3
    assert trees.below(data.files("train"), kaggle / DATA / "train") == TRAIN_FILES
    assert data.labels("train").tolist() == TRAIN_LABELS
    assert data.labels("train").dtype == np.int64
    val = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 6)]
    assert trees.below(data.files("val"), kaggle / DATA / "val") == val
    assert data.labels("val").tolist() == VAL_LABELS
    assert (data.num_images("train"), data.num_images("val")) == (9, 5)


def test_torchvisions_tree_has_the_order_of_kaggles(tmp_path, read):
    trees.write_train(tmp_path / "train")
    trees.write_val(tmp_path / "val", by_class=True)

    data = read(tmp_path)

    assert trees.below(data.files("val"), tmp_path / "val") == [
        f"{class_id}/ILSVRC2012_val_{number:08d}.JPEG"
        for number, class_id in enumerate(trees.VAL, 1)
    ]
    assert data.labels("val").tolist() == VAL_LABELS
    assert data.class_names == IDS  # no file has better ones


def test_class_folders_are_the_training_images(tmp_path, read):
    for name in ("zebra", "ant", ".cache"):
        for file in ("0.png", "1.JPG", ".hidden.png"):
            trees.save(tmp_path / name / file, 0)
        (tmp_path / name / "notes.txt").write_text("no image")
    trees.save(tmp_path / "train" / "0.png", 0)  # a class, since it has images

    data = read(tmp_path)

    assert data.splits == ("train",)
    assert data.class_ids == ["ant", "train", "zebra"]
    assert trees.below(data.files("train"), tmp_path) == [
        "ant/0.png",
        "ant/1.JPG",
        "train/0.png",
        "zebra/0.png",
        "zebra/1.JPG",
    ]
    with pytest.raises(
        ValueError, match=r"'train' \(.* holds class folders only: .*\)\. Rec"
    ):
        data.files("val")


@pytest.mark.parametrize("source", ["val_labels", "devkit", "devkit_inside"])
def test_labels_from_other_files_are_the_same(kaggle, read, source):
    (kaggle / "LOC_val_solution.csv").unlink()
    if source == "val_labels":
        (kaggle / "LOC_synset_mapping.txt").unlink()
        trees.write_val_labels(kaggle)
        trees.write_class_index(kaggle)
    else:
        pytest.importorskip("scipy", reason="needs SciPy")
        inside = "" if source == "devkit" else "ILSVRC2012_devkit_t12/data"
        (kaggle / inside).mkdir(parents=True, exist_ok=True)
        trees.write_ground_truth(kaggle / inside)
        trees.write_meta(kaggle / inside)

    data = read(kaggle)

    assert data.labels("val").tolist() == VAL_LABELS
    assert data.class_names == ["sea snake", "crane", "crane"]


def test_validation_images_without_labels_are_no_split(kaggle, read):
    (kaggle / "LOC_val_solution.csv").unlink()
    data = read(kaggle)
    assert data.splits == ("train",)
    with pytest.raises(
        ValueError, match=r"LOC_val_solution\.csv, ILSVRC2012_val_label"
    ):
        data.files("val")

    # The kit's numbers say nothing without the kit's list of synsets.
    trees.write_ground_truth(kaggle)
    data = read(kaggle)
    assert data.splits == ("train",)
    assert "meta.mat" in str(data.check(verbose=0))
    with pytest.raises(ValueError, match=r"not in the order .* meta\.mat .* not found"):
        data.dataset("validation")


def test_what_does_not_fit_together_is_reported(kaggle, read):
    for file in (kaggle / DATA / "train" / "n02").iterdir():
        file.unlink()
    for file in (kaggle / DATA / "train" / "n03").iterdir():
        file.unlink()
    (kaggle / DATA / "train" / "n03").rmdir()
    trees.save(kaggle / DATA / "val" / "ILSVRC2012_val_00000006.JPEG", 0)
    for left_out in ("train/n01/one.gif", "val/two.heic", "val/.hidden"):
        (kaggle / DATA / left_out).touch()
    (kaggle / DATA / "val" / "ILSVRC2012_val_00000003.JPEG").unlink()

    data = read(kaggle)
    report = data.check(verbose=0)

    assert data.class_ids == ["n01", "n02"]
    assert data.labels("train").tolist() == [0, 0]
    assert data.labels("val").tolist() == [0, 1]
    assert report.tree == {
        "missing classes": ["n03"],
        "no images by their suffix": ["n01/one.gif", "val/two.heic"],
        "classes without images": ["train/n02"],
        "images without label": ["ILSVRC2012_val_00000006.JPEG"],
        "labels without image": ["ILSVRC2012_val_00000003"],
        "validation images of other classes": [
            "ILSVRC2012_val_00000001.JPEG",
            "ILSVRC2012_val_00000005.JPEG",
        ],
    }
    assert "1 validation images without a label: ILSVRC2012_val_00000006" in str(report)


def test_folders_that_are_no_classes_are_refused(kaggle, read, tmp_path):
    (kaggle / DATA / "train" / "n04").mkdir()
    with pytest.raises(ValueError, match=r"mapping\.txt lists, but n04 is not\."):
        read(kaggle)

    trees.write_train(tmp_path / "plain" / "train")
    trees.save(tmp_path / "plain" / "val" / "n1" / "0.png", 0)
    with pytest.raises(ValueError, match=r"must be one of the classes .* n1 is not\."):
        read(tmp_path / "plain")


def test_half_sorted_and_flat_splits_are_refused(kaggle, read, tmp_path):
    (kaggle / DATA / "val" / "n01").mkdir()
    with pytest.raises(ValueError, match=r"has 5 images \(.*\) and 1 folders \(n01"):
        read(kaggle)
    (kaggle / DATA / "val" / "n01").rmdir()
    trees.save(kaggle / DATA / "val" / "ILSVRC2012_val_00000002.png", 0)
    with pytest.raises(ValueError, match=r"but ILSVRC2012_val_00000002.JPEG has that"):
        read(kaggle)

    for split in ("train", "val"):
        trees.save(tmp_path / "flat" / split / "0.png", 0)
    with pytest.raises(
        ValueError, match=r"class folders in train and val: these .* Re"
    ):
        read(tmp_path / "flat")


def test_the_reason_why_there_is_no_val(tmp_path, read):
    trees.write_train(tmp_path / "train")
    for root, reason in (
        (tmp_path, r"there is no folder .*/val\)"),
        (tmp_path / "train", r"holds class folders only: pass the folder that holds"),
    ):
        with pytest.raises(ValueError, match=reason):
            read(root).files("val")


def test_labels_would_differ_from_the_class_index(kaggle, read):
    index = {"0": ["n02", "crane"], "1": ["n01", "snake"], "2": ["n03", "crane"]}
    (kaggle / "imagenet_class_index.json").write_text(json.dumps(index))
    with pytest.raises(
        ValueError, match=r"class_index\.json must list .* order of the"
    ):
        read(kaggle)

    index = {"0": ["n01", "snake"], "1": ["n02", "crane"]}
    (kaggle / "imagenet_class_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"mapping\.txt and .* must list the same cla"):
        read(kaggle)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("LOC_synset_mapping.txt", "n01 a\nn02\nn03 c", "Line 2 of .*mapping.txt must"),
        ("LOC_synset_mapping.txt", "n01 a\nn01 b", "Line 2 of .* once each"),
        ("LOC_synset_mapping.txt", b"\xff\xfe", "mapping.txt cannot be read"),
        ("LOC_val_solution.csv", "ImageId,P\nx,\n", "Line 2 of .*solution.csv must be"),
        ("imagenet_class_index.json", "[1, 2]", "class_index.json must hold"),
        ("imagenet_class_index.json", '{"1": ["n01", "a"]}', "must hold"),
        ("imagenet_class_index.json", "{", "class_index.json must be JSON"),
        ("ILSVRC2012_val_labels.json", '{"a": 1}', "val_labels.json must hold"),
        ("ILSVRC2012_validation_ground_truth.txt", "1\n7", "Line 2 of .* meta.mat"),
        ("meta.mat", b"no matrix at all", "meta.mat must hold the synsets"),
    ],
)
def test_damaged_label_files_are_named(kaggle, read, name, text, message):
    if name not in ("LOC_synset_mapping.txt", "LOC_val_solution.csv"):
        (kaggle / "LOC_val_solution.csv").unlink()
        (kaggle / "LOC_synset_mapping.txt").unlink()
    if name.startswith("ILSVRC2012_validation") or name == "meta.mat":
        pytest.importorskip("scipy", reason="needs SciPy")
        trees.write_ground_truth(kaggle)
        trees.write_meta(kaggle)
    (kaggle / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ValueError, match=message):
        read(kaggle)


def test_bad_roots_and_splits_are_named(kaggle, read, tmp_path):
    with pytest.raises(
        ValueError, match=r"`root` must be an existing .* Received: root"
    ):
        read(tmp_path / "nowhere")
    with pytest.raises(
        ValueError, match=r"`root` must be ImageNet's .* Received: root="
    ):
        read(kaggle / DATA / "val")
    (tmp_path / "empty" / "a").mkdir(parents=True)
    (tmp_path / "empty" / "b").mkdir()
    with pytest.raises(ValueError, match="must hold images directly, in no"):
        read(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="`index_dir` must be a folder"):
        ImageNetFolder(kaggle, index_dir=tmp_path / "file")
    with pytest.raises(ValueError, match=r"of 'train', 'val'\. Received: split='te"):
        read(kaggle).num_images("test")


def test_datasets_have_the_images_of_the_files(kaggle, read):
    data = read(kaggle, classes=["n01", "n03"])

    batches = list(data.dataset("val", image_size=8, batch_size=3))

    assert [len(labels) for _, labels in batches] == [3, 1]
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.uint8
    assert images.shape == (4, 8, 8, 3)
    np.testing.assert_allclose(trees.greys(images), [200, 210, 220, 240], atol=2)
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.tolist() == [1, 0, 0, 1]

    training = data.dataset("train", image_size=8, batch_size=6, training=True)
    ((images, labels),) = list(training)
    # Grey 60 k and up belongs to class k of three.
    assert [round(g / 120) for g in trees.greys(images)] == np.asarray(labels).tolist()
    assert sorted(np.asarray(labels).tolist()) == [0, 0, 1, 1, 1, 1]


@pytest.mark.slow
def test_the_real_images(shared_data, tmp_path, read):
    sample = shared_data("imagenet_sample")
    root = tmp_path / "ILSVRC"
    lines = (sample / "LOC_synset_mapping.txt").read_text().splitlines()
    (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(lines))
    for file in sample.glob("*.JPEG"):
        folder = root / "Data" / "CLS-LOC" / "train" / file.name[:9]
        folder.mkdir(parents=True)
        (folder / file.name).symlink_to(file)

    data = read(root, classes=["koala", "n01440764", "Indian cobra"])
    report = data.check(verbose=0)

    assert data.class_ids == ["n01440764", "n01748264", "n01882714"]
    assert data.class_names == ["tench", "Indian cobra", "koala"]
    assert data.labels("train").tolist() == [0, 1, 2]
    assert [file.rsplit("_")[-1] for file in data.files("train")] == [
        "tench.JPEG",
        "cobra.JPEG",
        "koala.JPEG",
    ]
    assert report.unusable == []
    batches = data.dataset("train", image_size=64, training=True)
    assert [images.shape for images, _ in batches] == [(3, 64, 64, 3)]
    assert len(report.tree["missing classes"]) == 1000 - 143
