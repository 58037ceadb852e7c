"""The reader of one's own photos: what it takes, leaves out and refuses."""

import numpy as np
import pytest
from PIL import Image

from keras_residual.datasets import load_photos, read_photos

pytestmark = pytest.mark.once


def save(file, grey=0, size=(20, 10), **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(file, **options)


@pytest.fixture
def root(tmp_path):
    for name, grey in (
        ("owl/2.png", 20),
        ("owl/10.png", 10),
        ("ant/series/b.PNG", 40),
        ("ant/z.png", 30),
    ):
        save(tmp_path / name, grey)
    (tmp_path / "ant/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    (tmp_path / "ant/IMG_1.HEIC").write_bytes(b"another format")
    (tmp_path / "owl/.DS_Store").write_bytes(b"hidden")
    save(tmp_path / "owl/.thumbnails/1.png")
    save(tmp_path / ".trash/1.png")
    (tmp_path / "notes.txt").write_text("beside the classes")
    return tmp_path


def test_photos_labels_names_files_and_what_is_left_out(root):
    photos = read_photos(root, image_size=8)

    assert photos.names == ["ant", "owl"]
    assert photos.files == ["ant/z.png", "ant/series/b.PNG", "owl/10.png", "owl/2.png"]
    assert photos.labels.tolist() == [0, 0, 1, 1]
    assert photos.images.shape == (4, 8, 8, 3)
    assert photos.images.dtype == np.uint8
    assert photos.images[:, 0, 0, 0].tolist() == [30, 40, 10, 20]
    assert len(photos) == 4
    left_out = dict(photos.left_out)
    assert set(left_out) == {"ant/broken.jpg", "ant/IMG_1.HEIC"}
    assert left_out["ant/IMG_1.HEIC"] == "no photo: its name ends in .HEIC"
    assert "ant/broken.jpg cannot be read" in left_out["ant/broken.jpg"]


def test_phones_note_how_a_photo_stands(tmp_path):
    """Orientation 6: the first column of the file is the first row, from the right."""
    pixels = np.zeros((20, 20), np.uint8)
    pixels[:, :5] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "1.png", exif=exif)

    image = read_photos(tmp_path, image_size=20).images[0, ..., 0]

    assert (image[:5] == 200).all()
    assert (image[5:] == 0).all()


def test_real_photos_are_those_of_the_other_reader(shared_data, tmp_path):
    source = shared_data("cats_dogs")
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            file = tmp_path / name / f"{number}.jpg"
            file.symlink_to(source / f"{name}.{number}.jpg")

    photos = read_photos(tmp_path, image_size=64, min_per_class=3)

    images, labels, names = load_photos(tmp_path, image_size=64)
    np.testing.assert_array_equal(photos.images, images)
    np.testing.assert_array_equal(photos.labels, labels)
    assert photos.names == names


def test_refused_with_words(root, tmp_path_factory):
    with pytest.raises(ValueError, match="at least 3 readable photos, but ant has 2"):
        read_photos(root, min_per_class=3)
    for file in (root / "owl").rglob("*.png"):
        file.unlink()
    with pytest.raises(ValueError, match=r"but owl has 0\."):
        read_photos(root)
    one = tmp_path_factory.mktemp("one")
    save(one / "cat/1.png")
    with pytest.raises(ValueError, match=r"one per class\. Received: root=.* with 1"):
        read_photos(one)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_photos(one / "none")
    with pytest.raises(ValueError, match="`image_size` must be"):
        read_photos(root, image_size=0)
