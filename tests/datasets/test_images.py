"""Readers of image data: small trees written here, and the real CIFAR-10 if present."""

import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from keras_residual.datasets import (
    load_cifar10,
    load_class_folders,
    load_images,
    load_tfds,
)
from keras_residual.datasets._strips import read_strips

pytestmark = pytest.mark.once


@pytest.fixture
def class_folders(tmp_path):
    """Two classes, three images, of known colours."""
    for name, colour in (
        ("zebra/0.png", (10, 20, 30)),
        ("ant/1.PNG", (40, 50, 60)),
        ("ant/0.bmp", (70, 80, 90)),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), colour).save(tmp_path / name)
    for hidden in (".ipynb_checkpoints/0.png", "ant/._0.png"):
        (tmp_path / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / hidden).write_text("of another program")
    (tmp_path / "README").write_text("no class")
    return tmp_path


@pytest.fixture
def binary(tmp_path):
    """Three images a file: red 1, green 2, blue from 0 at the left to 31."""
    ramp = np.tile(np.arange(32, dtype=np.uint8), 32)
    pixels = np.concatenate([np.full(1024, 1), np.full(1024, 2), ramp])
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for number, name in enumerate(names):
        rows = [[(number + k) % 10, *pixels] for k in range(3)]
        np.array(rows, np.uint8).tofile(tmp_path / f"{name}.bin")
    return tmp_path


def test_the_binary_version_of_cifar10(binary):
    images, labels, names = load_cifar10(binary)

    assert images.shape == (15, 32, 32, 3)
    assert images[7, 4, 9].tolist() == [1, 2, 9]
    assert labels.tolist() == [n + k for n in range(5) for k in range(3)]
    assert labels.dtype == np.int64
    assert names[3] == "cat"
    assert load_cifar10(binary, split="test")[1].tolist() == [5, 6, 7]
    assert load_images(str(binary))[1].tolist() == labels.tolist()
    assert len(load_images("cifar10", data_dir=binary)[0]) == 15


def test_a_binary_version_that_is_not_whole_is_named(binary):
    file = binary / "data_batch_3.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=r"_3\.bin must hold .* It has 9218 bytes"):
        load_cifar10(binary)
    file.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(ValueError, match=r"_3\.bin must hold labels .* Received: 10"):
        load_cifar10(binary)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"Missing: data_batch_3\.bin$"):
        load_cifar10(binary)


@pytest.fixture
def cifar10_copy(tmp_path):
    """Strips of 2 x 3 tiles, tile k filled with the number k."""
    numbers = np.arange(6, dtype=np.uint8)
    tiles = np.repeat(numbers, 32 * 32 * 3).reshape(2, 3, 32, 32, 3)
    strip = tiles.transpose(0, 2, 1, 3, 4).reshape(64, 96, 3)
    for split in ("train", "test"):
        Image.fromarray(strip).save(tmp_path / f"{split}_00.webp", lossless=True)
        Image.fromarray(strip + 6).save(tmp_path / f"{split}_01.webp", lossless=True)
        np.save(tmp_path / f"{split}_labels.npy", np.arange(12, dtype=np.uint8) % 10)
    return tmp_path


def test_class_folders_in_alphabetical_order(class_folders):
    images, labels, names = load_class_folders(class_folders)

    assert names == ["ant", "zebra"]
    assert images.dtype == np.uint8
    assert images[:, 31, 31].tolist() == [[70, 80, 90], [40, 50, 60], [10, 20, 30]]
    assert labels.tolist() == [0, 0, 1]
    assert labels.dtype == np.int64


def test_a_file_that_is_left_out_is_named(class_folders):
    (class_folders / "ant" / "2.gif").write_bytes(b"GIF89a")

    with pytest.warns(UserWarning, match=r"ant holds files that are left out: 2\.gif"):
        _, labels, _ = load_class_folders(class_folders)
    assert labels.tolist() == [0, 0, 1]


def test_the_classes_take_turns(class_folders, monkeypatch):
    """Nine images of three classes; where a class runs out, the others fill up."""
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    found = np.arange(10).reshape(-1, 1), labels, ["ant", "bee", "cat"]
    reader = "keras_residual.datasets.images.load_class_folders"
    monkeypatch.setattr(reader, lambda *_, **__: found)

    for number, counts in ((6, [2, 2, 2]), (9, [4, 3, 2])):
        pixels, chosen, _ = load_images(str(class_folders), number=number)
        assert np.bincount(chosen).tolist() == counts
        assert len(set(pixels.ravel())) == number
        np.testing.assert_array_equal(labels[pixels.ravel()], chosen)
    with pytest.raises(ValueError, match=r"at most the 10 images.*number=11"):
        load_images(str(class_folders), number=11)


def test_grey_images_become_rgb(class_folders):
    Image.new("L", (32, 32), 7).save(class_folders / "zebra" / "0.png")

    images, _, _ = load_class_folders(class_folders)

    assert images[2, 0, 0].tolist() == [7, 7, 7]


def test_an_image_of_another_size_is_named(class_folders):
    Image.new("RGB", (40, 30)).save(class_folders / "zebra" / "1.png")

    with pytest.raises(ValueError, match=r"zebra.1\.png has 40 x 30 .* 32 x 32"):
        load_class_folders(class_folders)


def test_an_image_that_is_none_is_named(class_folders):
    (class_folders / "ant" / "2.jpg").write_bytes(b"no image")

    with pytest.raises(ValueError, match=r"ant.2\.jpg cannot be read"):
        load_class_folders(class_folders)


def test_a_truncated_image_is_named(class_folders):
    file = class_folders / "zebra" / "0.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[:800])

    with pytest.raises(ValueError, match=r"zebra.0\.png cannot be read"):
        load_class_folders(class_folders)


def test_a_class_without_images_is_named(class_folders):
    (class_folders / "empty").mkdir()

    with pytest.raises(ValueError, match="empty has no image"):
        load_class_folders(class_folders)


def test_one_folder_is_no_classification(class_folders):
    with pytest.raises(ValueError, match="at least two folders"):
        load_class_folders(class_folders / "ant")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        load_class_folders(tmp_path / "nowhere")


def test_strips_are_cut_in_reading_order(cifar10_copy):
    images, labels = read_strips(cifar10_copy, "test", tile=32)

    assert images.shape == (12, 32, 32, 3)
    assert images.min((1, 2, 3)).tolist() == list(range(12))
    assert images.max((1, 2, 3)).tolist() == list(range(12))
    assert labels.tolist() == [*range(10), 0, 1]


def test_a_folder_tells_what_it_is(cifar10_copy, class_folders):
    # Both fixtures share one folder: the label file decides.
    assert len(load_images(str(cifar10_copy))[0]) == 12
    (cifar10_copy / "train_labels.npy").unlink()
    assert load_images(str(class_folders))[2] == ["ant", "zebra"]


def test_a_local_copy_must_be_complete(cifar10_copy):
    (cifar10_copy / "train_01.webp").unlink()
    with pytest.raises(ValueError, match="6 images and 12 labels"):
        load_images(str(cifar10_copy))
    (cifar10_copy / "train_labels.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"train_labels\.npy cannot be read"):
        load_images(str(cifar10_copy))
    (cifar10_copy / "train_labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold train_labels\.npy"):
        read_strips(cifar10_copy, "train", tile=32)


def test_a_strip_that_is_no_grid_is_named(cifar10_copy):
    Image.new("RGB", (96, 63)).save(cifar10_copy / "train_01.webp")

    with pytest.raises(ValueError, match=r"train_01\.webp must .* It has 96 x 63"):
        load_images("cifar10", data_dir=cifar10_copy)


def test_unknown_split_and_source():
    with pytest.raises(ValueError, match=r"`split` must .* Received: split='val'"):
        load_cifar10(split="val")
    with pytest.raises(ValueError, match=r"`source` must .* Received: source='cifar9'"):
        load_images("cifar9")


def test_another_image_size_than_that_of_the_data(cifar10_copy):
    with pytest.raises(ValueError, match="`image_size` must be 32"):
        load_images("cifar10", data_dir=cifar10_copy, image_size=64)


def test_without_a_network_the_message_says_what_to_do(monkeypatch):
    def fail():
        raise Exception("URL fetch failure on https://example.org: no route\ndetails")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", fail)

    with pytest.raises(ConnectionError, match=r"a local copy.*no route$"):
        load_cifar10()


def test_the_download_of_keras_is_reshaped(monkeypatch):
    images = np.zeros((3, 32, 32, 3), np.uint8)
    labels = np.array([[1], [2], [3]], np.uint8)
    data = ((images, labels), (images + 1, labels + 1))
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: data)

    loaded, numbers, _ = load_cifar10(split="test")

    assert loaded.max() == 1
    assert numbers.tolist() == [2, 3, 4]


def test_without_tfds_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)

    with pytest.raises(ImportError, match=r"keras-residual\[datasets\]"):
        load_images("tfds:cifar10")


@pytest.mark.filterwarnings("ignore")  # what tfds imports is not ours
@pytest.mark.parametrize("name", ["no_such_set", "", "../etc"])
def test_unknown_tfds_name(name):
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")

    with pytest.raises(ValueError, match=r"`name` must be a data set of TensorFlow"):
        load_tfds(name)


@pytest.mark.filterwarnings("ignore")
def test_tfds_images_of_another_size():
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")

    with pytest.raises(ValueError, match=r"32 x 32 RGB .*'mnist'.*\(28, 28, 1\)"):
        load_tfds("mnist")


def test_a_package_that_tfds_lacks_is_named(monkeypatch):
    tfds = types.ModuleType("tensorflow_datasets")
    tfds.core = types.SimpleNamespace(DatasetNotFoundError=LookupError)
    image = types.SimpleNamespace(shape=(32, 32, 3))

    class Builder:
        info = types.SimpleNamespace(features={"image": image, "label": None})

        def download_and_prepare(self):
            raise ModuleNotFoundError("No module named 'scipy.io'", name="scipy")

    tfds.builder = lambda name, data_dir: Builder()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)

    with pytest.raises(ImportError, match=r"'tfds:svhn' .* pip install scipy"):
        load_tfds("svhn")


@pytest.mark.filterwarnings("ignore")
def test_tfds_data_come_as_arrays(make_set, tmp_path):
    splits = {"train": [range(6)]}
    make_set(["even", "odd"], splits, lambda number: (32, 32), shape=(32, 32, 3))

    images, labels, names = load_tfds("tiny", data_dir=str(tmp_path))

    order = np.argsort(images[:, 0, 0, 0])  # tfds shuffles what it writes
    assert images.shape == (6, 32, 32, 3)
    assert images[order, 5, 5, 1].tolist() == [0, 1, 2, 3, 4, 5]
    assert labels[order].tolist() == [0, 1, 0, 1, 0, 1]
    assert names == ["even", "odd"]
    with pytest.raises(ValueError, match="`split` must be one of train"):
        load_tfds("tiny", split="test", data_dir=str(tmp_path))


@pytest.mark.slow
def test_the_real_cifar10(shared_data):
    images, labels, _ = load_images("cifar10", data_dir=shared_data("cifar10"))

    assert images.shape == (50_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [5000] * 10
    # The published channel means and deviations.
    values = np.arange(256) / 255
    counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(3)]
    means = [np.average(values, weights=count) for count in counts]
    variances = [
        np.average((values - mean) ** 2, weights=count)
        for mean, count in zip(means, counts, strict=True)
    ]
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(variances), [0.2470, 0.2435, 0.2616], atol=5e-5)
