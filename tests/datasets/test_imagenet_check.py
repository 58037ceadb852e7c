"""What a check finds in files that are broken on purpose."""

import dataclasses
import io
import os

import numpy as np
import pytest
from image_files import encoded_image_batches
from PIL import Image, ImageFile

from keras_residual import ImageNetFolder, make_tiny_imagenet_tree
from keras_residual.datasets import ImageNetReport, _imagenet_check
from keras_residual.datasets._image_examination import KINDS, UNUSABLE

pytestmark = pytest.mark.once

# A resolution that should stand at byte 255. Some photos of ImageNet are like that.
CUT_OFF_EXIF = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x1a\0\x05\0\0\0\x01\0\0\xff\0"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return make_tiny_imagenet_tree(
        folder / "tree", num_classes=5, train_per_class=3, val_per_class=2
    )


@pytest.fixture
def folders(tmp_path):
    """Two classes of whole images and one file of each kind of trouble."""
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (40, 60, 3), np.uint8))

    def encoded(mode, file_format, **options):
        file = io.BytesIO()
        picture.convert(mode).save(file, file_format, **options)
        return file.getvalue()

    whole = encoded("RGB", "JPEG")
    files = {
        "a/whole.jpg": whole,
        "a/cmyk.JPEG": encoded("CMYK", "JPEG"),
        "a/gray.jpg": encoded("L", "JPEG"),
        "a/gray_png.jpeg": encoded("L", "PNG"),
        "a/webp.png": encoded("RGB", "WEBP"),
        "b/whole.png": encoded("RGB", "PNG"),
        "b/exif.jpg": encoded("RGB", "JPEG", exif=CUT_OFF_EXIF),
        "b/empty.jpg": b"",
        "b/text.jpg": b"<html>404 Not Found</html>",
        "b/head.jpg": whole[:10],
        "b/half.jpg": whole[: len(whole) // 2],
        "b/without_end.jpg": whole[:-2],
        "b/half.png": encoded("RGB", "PNG")[:3000],
        "b/tiff.jpg": encoded("RGB", "TIFF"),
    }
    for name, content in files.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(content)
    return tmp_path / "tree"


def read(root):
    return ImageNetFolder(root, index_dir=root.parent / "index")


@pytest.fixture
def examined(monkeypatch):
    """The names of files that are decoded."""
    names = []
    examine = _imagenet_check._examine

    def recording(image):
        names.append(image)
        return examine(image)

    monkeypatch.setattr(_imagenet_check, "_examine", recording)
    return names


def test_every_kind_is_found_by_name(folders, capsys):
    data = read(folders)
    report = data.check(verbose=0)

    found = {
        kind: [file.removeprefix(f"{folders}/") for file in files]
        for kind, files in report.files.items()
    }
    assert found == {
        "unreadable": ["b/empty.jpg", "b/head.jpg", "b/text.jpg"],
        "truncated": ["b/half.jpg", "b/half.png", "b/without_end.jpg"],
        "unsupported": ["b/tiff.jpg"],
        "CMYK": ["a/cmyk.JPEG"],
        "grayscale": ["a/gray.jpg", "a/gray_png.jpeg"],
        "other format": ["a/gray_png.jpeg", "a/webp.png"],
    }
    assert report.unusable == [
        file
        for kind in ("unreadable", "truncated", "unsupported")
        for file in report.files[kind]
    ]
    assert report.num_images == {"train": 14}
    assert report.num_classes == 2
    assert report.counts["grayscale"] == 2
    text = str(report)
    assert "2 classes; images checked: 14 in train" in text
    assert f"3 unreadable: no image: {folders / 'b' / 'empty.jpg'}, " in text
    assert capsys.readouterr().out == ""


def test_long_lists_are_shortened_and_nothing_is_said_of_nothing():
    def report(truncated):
        files = {kind: [] for kind in KINDS} | {"truncated": truncated}
        return str(ImageNetReport({"train": 1300}, 10, files, {}, ""))

    text = report([f"image{number}.JPEG" for number in range(1234)])
    assert "1,234 truncated" in text
    assert "image4.JPEG and 1,229 more" in text
    assert "image5.JPEG" not in text
    assert report([]).endswith("Nothing to report: every file is an RGB image.")


def test_what_cannot_be_decoded_is_left_out(folders):
    data = read(folders)
    usable = data.without(data.check(verbose=0))

    assert data.num_images("train") == 14  # a new object, and the old one as it was
    assert usable.num_images("train") == 7
    assert usable.labels("train").tolist() == [0] * 5 + [1] * 2
    assert usable.files("train")[-1] == f"{folders}/b/whole.png"
    images = [
        images
        for images, _ in usable.dataset(
            "train", image_size=16, batch_size=1, training=True
        )
    ]
    assert [image.shape for image in images] == [(1, 16, 16, 3)] * 7


def test_other_kinds_are_left_out_by_choice(folders):
    data = read(folders)
    report = data.check(verbose=0)
    kept = data.without(report, kinds=KINDS).files("train")

    assert [file.rsplit("/")[-1] for file in kept] == [
        "whole.jpg",
        "exif.jpg",
        "whole.png",
    ]
    # One after the other is as good as both.
    twice = data.without(report).without(report, kinds="CMYK")
    assert twice.num_images("train") == 6
    with pytest.raises(ValueError, match=r"`kinds` must be .* Received: kinds='PNG'"):
        data.without(report, kinds=["PNG"])


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_tensorflow_cannot_decode_is_what_is_found(quality, progressive):
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    generator = np.random.default_rng(quality)
    smooth = generator.integers(0, 256, (9, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(smooth).resize((90, 70)).save(
        file, "JPEG", quality=quality, progressive=progressive
    )
    whole = file.getvalue()

    def decodes(content):
        try:
            tf.io.decode_jpeg(content)
        except tf.errors.InvalidArgumentError:
            return False
        return True

    unusable = KINDS["unreadable"] | KINDS["truncated"]
    for length in [*np.linspace(0, len(whole) - 1, 25).astype(int), len(whole)]:
        found = _imagenet_check._examine(whole[:length]) & unusable
        assert (found == 0) == decodes(whole[:length])


def test_only_changed_files_are_read_again(folders, examined):
    data = read(folders)
    first = data.check(verbose=0)
    assert len(examined) == 14
    examined.clear()
    assert read(folders).check(verbose=0) == first
    assert examined == []

    # The tree's folders do not change when a file is written anew.
    (folders / "b" / "half.jpg").write_bytes((folders / "a" / "whole.jpg").read_bytes())
    again = read(folders).check(verbose=0)

    assert examined == [f"{folders}/b/half.jpg"]
    assert len(again.unusable) == len(first.unusable) - 1


def test_a_stopped_check_goes_on_where_it_was(tiny, examined, monkeypatch, tmp_path):
    monkeypatch.setattr(_imagenet_check, "_CHUNK", 2)
    monkeypatch.setattr(_imagenet_check, "_SAVED_AFTER", 2)
    data = ImageNetFolder(tiny, index_dir=tmp_path)
    whole = ImageNetFolder(tiny, index_dir=tmp_path / "other").check(verbose=0)
    examined.clear()

    def stopped(image):
        if len(examined) == 7:
            raise KeyboardInterrupt
        return recording(image)

    recording = _imagenet_check._examine
    monkeypatch.setattr(_imagenet_check, "_examine", stopped)
    with pytest.raises(KeyboardInterrupt):
        data.check(verbose=0)
    monkeypatch.setattr(_imagenet_check, "_examine", recording)
    before = set(examined)
    examined.clear()

    assert data.check(verbose=0) == whole
    # At most the last chunk and what was not yet saved is read twice.
    assert len(before & set(examined)) <= 4
    assert before | set(examined) == set(data.files("train") + data.files("val"))


def test_progress_counts_every_image(tiny, tmp_path, capsys):
    data = ImageNetFolder(tiny, index_dir=tmp_path)
    data.check("val")
    assert "10/10" in capsys.readouterr().out
    data.check()  # those of "val" are known
    assert "25/25" in capsys.readouterr().out


def test_what_cannot_be_read_now_is_an_error_and_not_kept(folders, monkeypatch):
    data = read(folders)
    first = data.check(verbose=0)
    index = folders.parent / "index"
    next(index.glob("*-check.npz")).unlink()
    missing = folders / "a" / "gray.jpg"
    missing.rename(folders / "elsewhere")
    with pytest.raises(OSError, match=r"a/gray\.jpg cannot be read now: No such file"):
        data.check(verbose=0)
    (folders / "elsewhere").rename(missing)

    def failing(path):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_bytes", failing)
        with pytest.raises(OSError, match=r"cannot be read now: Too many open files"):
            data.check(verbose=0)
    assert data.check(verbose=0) == first


@pytest.mark.parametrize("damage", ["rows", "version", "names"])
def test_a_damaged_list_of_what_is_known_is_made_anew(folders, examined, damage):
    data = read(folders)
    first = data.check(verbose=0)
    (cache,) = (folders.parent / "index").glob("*-check.npz")
    with np.load(cache) as arrays:
        others = dict(arrays)
    others[damage] = others[damage][:-1] if damage != "version" else np.array(0)
    if damage == "names":
        others["names"] = others["names"][:20]
    np.savez(cache, **others)
    examined.clear()

    assert data.check(verbose=0) == first
    assert len(examined) == 14
    examined.clear()
    assert data.check(verbose=0) == first
    assert examined == []


@pytest.mark.slow
def test_formats_and_damages_that_tensorflow_refuses_are_found():
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    picture = Image.fromarray(noise)

    def encoded(file_format, mode="RGB", **options):
        file = io.BytesIO()
        picture.convert(mode).save(file, file_format, **options)
        return file.getvalue()

    animated = {"save_all": True, "append_images": [picture.rotate(90)]}
    png = encoded("PNG")
    files = {
        "unsupported": [
            *map(encoded, ("TIFF", "PPM", "ICO")),
            encoded("WEBP", **animated),
            encoded("BMP", "1"),
            encoded("BMP", "P"),
        ],
        "truncated": [png[:-cut] for cut in (1, 12, 20)],
        "": [
            png,
            encoded("GIF", **animated),
            encoded("BMP"),
            encoded("BMP", "L"),
            encoded("PNG", "P"),
            encoded("WEBP"),
        ],
    }
    kinds = KINDS
    unusable = sum(kinds[kind] for kind in UNUSABLE)
    content = None
    # One pipeline: the bytes are those that `content` is when it is read.
    examples = tf.data.Dataset.from_generator(
        lambda: [(content, 0)],
        output_signature=(tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int32)),
    )
    batches = encoded_image_batches(examples, 1, image_size=8)
    for kind, contents in files.items():
        for content in contents:
            assert _imagenet_check._examine(content) & unusable == kinds.get(kind, 0)
            if not kind:
                assert len(list(batches)) == 1
                continue
            with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be read"):
                list(batches)


def test_what_a_program_told_pillow_stays_and_hides_nothing(folders, monkeypatch):
    expected = read(folders).check(verbose=0).files
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    examine, seen = _imagenet_check._examine, []

    def looking(image):
        seen.append(ImageFile.LOAD_TRUNCATED_IMAGES)
        return examine(image)

    monkeypatch.setattr(_imagenet_check, "_examine", looking)
    again = ImageNetFolder(folders, index_dir=folders.parent / "another index")
    assert again.check(verbose=0).files == expected
    assert seen == [True] * 14  # for other threads too, which load images meanwhile


def test_limits_of_pillow(folders, monkeypatch):
    # More than twice the limit; nothing tells such an image from others.
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    whole = (folders / "a" / "whole.jpg").read_bytes()
    found = _imagenet_check.examine(whole, ".jpg")
    assert found == KINDS["unsupported"]


def test_a_photo_of_several_images_is_a_jpeg_file():
    file = io.BytesIO()
    picture = Image.new("RGB", (16, 16), "red")
    picture.save(file, "MPO", save_all=True, append_images=[picture])
    assert Image.open(file).format == "MPO"
    assert _imagenet_check.examine(file.getvalue(), ".jpg") == 0


@pytest.mark.slow
def test_names_that_are_no_text(folders, capsys):
    tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
    named = os.fsencode(folders / "a") + b"/\xe9.jpg"
    try:
        with open(named, "wb") as opened:
            opened.write((folders / "b" / "whole.png").read_bytes())
    except OSError:
        pytest.skip("needs a file system of names that are any bytes")
    data = read(folders)
    report = data.check(verbose=0)

    assert os.fsdecode(named) in report.files["other format"]
    print(report)
    assert "a/?.jpg" in capsys.readouterr().out
    list(data.without(report).dataset("train", image_size=8))
    with open(named, "wb") as opened:
        opened.write(b"no image")
    with pytest.raises(tf.errors.InvalidArgumentError, match="a/\ufffd\\.jpg"):
        list(data.without(report).dataset("train", image_size=8))


def test_a_split_of_which_nothing_is_left_is_none(folders):
    data = read(folders)
    report = data.check(verbose=0)
    everything = report.files | {"unreadable": data.files("train")}
    report = dataclasses.replace(report, files=everything)
    assert data.without(report).splits == ()
    assert data.splits == ("train",)
