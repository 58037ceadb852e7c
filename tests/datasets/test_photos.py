"""Photos of any size: small files written here, and the real ones if present."""

import io
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keras_residual.datasets import load_photos

pytestmark = pytest.mark.once

EXIF_ORIENTATION = 0x0112
# What the EXIF standard says: where the stored image's 0th row and 0th column are.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def save_grey(file, grey, size=(20, 20)):
    file.parent.mkdir(exist_ok=True, parents=True)
    Image.new("L", size, grey).save(file)


def greys(images):
    assert (images == images[:, :1, :1, :1]).all()
    return images[:, 0, 0, 0].tolist()


@pytest.fixture
def numbered(tmp_path):
    """Twelve cats and twelve dogs, photo k of grey 10 k, a dog one brighter."""
    for name, brighter in (("cat", 0), ("dog", 1)):
        for number in range(12):
            save_grey(tmp_path / f"{name}.{number}.png", 10 * number + brighter)
    (tmp_path / "notes.txt").write_text("no photo")
    return tmp_path


@pytest.fixture
def class_folders(tmp_path):
    for name, grey in (("owl/b", 1), ("owl/a", 2), ("ant/cat.0", 3), ("ant/10", 4)):
        save_grey(tmp_path / f"{name}.png", grey)
    return tmp_path


def test_class_folders(class_folders):
    images, labels, names = load_photos(class_folders, image_size=8)

    assert names == ["ant", "owl"]
    assert greys(images) == [4, 3, 2, 1]  # by class, then by file name
    assert labels.tolist() == [0, 0, 1, 1]
    assert labels.dtype == np.int64
    assert images.shape == (4, 8, 8, 3)
    assert images.dtype == np.uint8


@pytest.mark.parametrize("inside", [None, "only", "train"])
def test_numbered_names(numbered, tmp_path_factory, inside):
    root = numbered
    if inside:
        root = tmp_path_factory.mktemp("kaggle")
        numbered.rename(root / inside)
    if inside == "train":  # as Kaggle's archive unpacks, beside photos without a class
        save_grey(root / "test1" / "1.jpg", 0)

    images, labels, names = load_photos(str(root), image_size=4)

    assert names == ["cat", "dog"]
    # By number: 2 before 10.
    expected = [*range(0, 120, 10), *range(1, 121, 10)]
    assert greys(images) == expected
    assert labels.tolist() == [0] * 12 + [1] * 12


def test_folders_of_numbered_files_are_classes(tmp_path):
    for folder in ("left", "right"):
        for name in ("cat.0.png", "dog.0.png"):
            save_grey(tmp_path / folder / name, 5)

    assert load_photos(tmp_path)[2] == ["left", "right"]


def test_so_many_of_each_class_by_seed(numbered):
    def chosen(per_class, seed):
        images, labels, _ = load_photos(
            numbered, image_size=2, per_class=per_class, seed=seed
        )
        assert labels.tolist() == [0] * per_class + [1] * per_class
        return greys(images)

    few, more = chosen(3, seed=1), chosen(7, seed=1)

    assert chosen(3, seed=1) == few
    assert set(few) < set(more)
    assert sorted(few[:3]) == few[:3]  # the order of the names, not of the draw
    assert len(set(more)) == 14
    assert len({tuple(chosen(3, seed)) for seed in range(5)}) > 1
    # The classes are drawn apart: not the same numbers of both.
    assert any(
        [grey + 1 for grey in drawn[:3]] != drawn[3:]
        for drawn in (chosen(3, seed) for seed in range(3))
    )


def test_what_is_not_chosen_is_not_read(numbered):
    images, _, _ = load_photos(numbered, image_size=2, per_class=2, seed=3)
    chosen = set(greys(images))
    for file in numbered.glob("*.png"):
        with Image.open(file) as image:
            grey = image.getpixel((0, 0))
        if grey not in chosen:
            file.write_bytes(b"no image")

    again, _, _ = load_photos(numbered, image_size=2, per_class=2, seed=3)
    np.testing.assert_array_equal(again, images)
    with pytest.raises(ValueError, match=r"The image .*\.png cannot be read"):
        load_photos(numbered, image_size=2)


def test_the_largest_centred_square_is_cut(tmp_path):
    bands = np.zeros((60, 180, 3), np.uint8)
    bands[:, :60, 0] = bands[:, 60:120, 1] = bands[:, 120:, 2] = 255
    for name, array in (("wide", bands), ("high", bands.swapaxes(0, 1))):
        (tmp_path / name).mkdir()
        Image.fromarray(array).save(tmp_path / name / "0.png")

    images, _, _ = load_photos(tmp_path, image_size=60)

    assert (images == [0, 255, 0]).all()


def test_scaling_down_is_antialiased(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(stripes).save(tmp_path / name / "0.png")

    images, _, _ = load_photos(tmp_path, image_size=8)

    # Single columns would be black or white; their mean is grey.
    np.testing.assert_allclose(images[:, :, 1:-1], 127.5, atol=6)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation_is_applied(tmp_path, orientation):
    stored = np.zeros((40, 40, 3), np.uint8)
    stored[:20, :, 0] = 255  # red: the side of the 0th row
    stored[:, :20, 1] = 255  # green: the side of the 0th column
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    for name in ("a.0.png", "b.0.png"):
        Image.fromarray(stored).save(tmp_path / name, exif=exif)

    images, _, _ = load_photos(tmp_path, image_size=40)

    sides = {
        "top": np.s_[:20],
        "bottom": np.s_[20:],
        "left": np.s_[:, :20],
        "right": np.s_[:, 20:],
    }
    for channel, side in enumerate(ORIENTATIONS[orientation]):
        bright = np.zeros((40, 40), bool)
        bright[sides[side]] = True
        np.testing.assert_array_equal(images[0, ..., channel] > 127, bright)


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    image_size=st.integers(1, 40),
    colour=st.tuples(*[st.integers(0, 255)] * 3),
)
def test_every_size_gives_the_size_asked_for(
    tmp_path_factory, width, height, image_size, colour
):
    root = tmp_path_factory.mktemp("sizes")
    for name in ("a.0.png", "b.0.png"):
        Image.new("RGB", (width, height), colour).save(root / name)

    images, _, _ = load_photos(root, image_size=image_size)

    assert images.shape == (2, image_size, image_size, 3)
    assert (images == colour).all()  # no border comes in


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    for name in ("a", "b"):
        Image.new("RGB", (9, 9), "white").convert(mode).save(
            tmp_path / f"{name}.0.{suffix}"
        )

    assert (load_photos(tmp_path, image_size=5)[0] == 255).all()


def test_exif_data_that_cannot_be_read_are_named(tmp_path):
    # Tag 0x0152 holds whole numbers, here text.
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01R\0\x02\0\0\0\x04abc\0"
    exif += b"\x01\x12\0\x03\0\0\0\x01\0\x06" + bytes(6)
    for name in ("a", "b"):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{name}.0.jpg", exif=exif)

    with pytest.raises(ValueError, match=r"a\.0\.jpg cannot be read"):
        load_photos(tmp_path)


def test_a_picture_too_large_is_named(tmp_path, monkeypatch):
    save_grey(tmp_path / "a.0.png", 0)
    save_grey(tmp_path / "b.0.png", 0)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # an error from 200 on

    with pytest.raises(ValueError, match=r"a\.0\.png cannot be read: Image size"):
        load_photos(tmp_path)


def test_too_few_photos_are_counted(numbered):
    (numbered / "dog.3.png").unlink()

    with pytest.raises(ValueError, match=r"dog has 11\. Received: per_class=12"):
        load_photos(numbered, per_class=12)


def test_a_name_without_number_among_others_is_named(numbered):
    save_grey(numbered / "mouse.png", 0)

    with pytest.raises(ValueError, match=r"mouse\.png must be named <class>"):
        load_photos(numbered)


def test_sources_without_classes_are_refused(tmp_path):
    save_grey(tmp_path / "one" / "0.png", 0)
    with pytest.raises(ValueError, match=r"at least two folders .* Received: source="):
        load_photos(tmp_path)
    (tmp_path / "two").mkdir()
    with pytest.raises(ValueError, match="two has no image"):
        load_photos(tmp_path)
    with pytest.raises(ValueError, match=r"`source` must be .* Received: source='no'"):
        load_photos("no")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("image_size", 0),
        ("per_class", 0),
        ("per_class", 1.5),
        ("seed", -1),
        ("data_dir", "/data"),
    ],
)
def test_bad_arguments_are_named(class_folders, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must .* Received: {argument}="):
        load_photos(class_folders, **{argument: value})


def test_offline_the_message_says_what_to_do(monkeypatch):
    tfds = types.ModuleType("tensorflow_datasets")
    tfds.core = types.SimpleNamespace(DatasetNotFoundError=LookupError)
    image = types.SimpleNamespace(shape=(None, None, 3))

    class Builder:
        info = types.SimpleNamespace(features={"image": image, "label": None})

        def download_and_prepare(self):
            raise OSError("no route to host\ndetails")

    tfds.builder = lambda name, data_dir: Builder()
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", tfds)

    with pytest.raises(ConnectionError, match=r"'tfds:cats' .*go online.*no route"):
        load_photos("tfds:cats")
    Builder.info.features = {"image": image}
    with pytest.raises(ValueError, match=r"with a label. Received: source='tfds:cats'"):
        load_photos("tfds:cats")


@pytest.mark.filterwarnings("ignore")  # what tfds imports is not ours
def test_tfds_photos(make_set, monkeypatch, tmp_path):
    make_set(["even", "odd"], {"train": [range(10)]}, lambda number: (12 + number, 20))

    def load(**options):
        images, labels, names = load_photos(
            "tfds:varied", image_size=6, data_dir=tmp_path, **options
        )
        assert names == ["even", "odd"]
        return greys(images), labels.tolist()

    numbers, labels = load()

    assert sorted(numbers) == list(range(10))
    assert labels == [0] * 5 + [1] * 5
    assert [number % 2 for number in numbers] == labels
    few, labels = load(per_class=2, seed=4)
    assert labels == [0, 0, 1, 1]
    assert [number for number in numbers if number in few] == few
    # Eight is stored as a file that is no photo: refused only where it is chosen.
    monkeypatch.setattr(io, "BytesIO", lambda encoded: _broken(encoded, 8))
    assert 8 not in few
    assert load(per_class=2, seed=4)[0] == few
    with pytest.raises(ValueError, match=r"image \d of tfds:varied cannot be read"):
        load()


def _broken(encoded, number, bytes_io=io.BytesIO):
    with Image.open(bytes_io(encoded)) as image:
        grey = image.getpixel((0, 0))[0]
    return bytes_io(b"no image" if grey == number else encoded)


def test_the_real_cats_and_dogs(shared_data):
    images, labels, names = load_photos(
        shared_data("cats_dogs"), image_size=32, per_class=20, seed=1
    )

    assert names == ["cat", "dog"]
    assert np.bincount(labels).tolist() == [20, 20]
    assert len(np.unique(images.reshape(40, -1), axis=0)) == 40
