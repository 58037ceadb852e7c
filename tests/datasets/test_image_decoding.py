"""What is cut out of an image file: against Pillow on the whole picture."""

import numpy as np
import pytest
from image_files import image_batches, ramps, save, waves, windows_of
from PIL import Image

pytestmark = pytest.mark.once

pytest.importorskip("tensorflow")
# Decoded at full size, a half, a quarter or an eighth where 40 pixels are needed.
SIZES = [(33, 27), (90, 61), (240, 330), (1001, 803)]
FORMATS = [("JPEG", "L"), ("JPEG", "CMYK")] + [
    (name, "RGB") for name in ("PNG", "GIF", "BMP", "WEBP")
]


def crops_of(files, count=None, **options):
    """One step of crops, each with the number of its file."""
    options = {"batch_size": count or len(files), "first_step": 0, **options}
    images, labels = next(iter(image_batches(files, range(len(files)), **options)))
    return images.numpy(), labels.numpy()


def pillow(file, window, size):
    left, top, right, bottom = window
    with Image.open(file) as image:
        picture = image.convert("RGB").resize(
            (size, size),
            Image.Resampling.BILINEAR,
            box=(min(left, right), top, max(left, right), bottom),
        )
    array = np.asarray(picture).astype(float)
    return array if left < right else array[:, ::-1]


def centre(file, size, fraction):
    """The crop as Pillow makes it, which looks at nothing beyond its border."""
    with Image.open(file) as image:
        width, height = image.size
    side = min(width, height) * size / round(size / fraction)
    left, top = (width - side) / 2, (height - side) / 2
    return pillow(file, (left, top, left + side, top + side), size)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Files of several sizes and formats, all with the same suffix."""
    folder = tmp_path_factory.mktemp("pictures")
    kinds = [(*size, "JPEG", "RGB") for size in SIZES]
    kinds += [(150, 120, *kind) for kind in FORMATS]
    return [
        save(waves(width, height).convert(mode), folder / f"{n:02}.JPEG", image_format)
        for n, (width, height, image_format, mode) in enumerate(kinds)
    ]


def tolerance(file):
    with Image.open(file) as image:
        # 256 colours, or colours that two decoders smooth in two ways.
        return {"GIF": 6.0, "WEBP": 3.0}.get(image.format, 1.5)


@pytest.mark.slow
def test_training_crops_are_those_of_pillow(pictures, tmp_path):
    def crops_by_file(files):
        crops, labels = crops_of(files, 40, training=True, image_size=40, seed=5)
        return [crops[labels == number] for number in range(len(files))]

    sizes = []
    for file in pictures:
        with Image.open(file) as image:
            sizes.append(image.size)
    exact, nearly = (
        crops_by_file(
            [
                save(ramps(*size), tmp_path / f"{number}.{image_format}", image_format)
                for number, size in enumerate(sizes)
            ]
        )
        for image_format in ("PNG", "JPEG")
    )
    for file, size, crops, *marks in zip(
        pictures, sizes, crops_by_file(pictures), exact, nearly, strict=True
    ):
        assert crops.dtype == np.uint8
        drawn, decoded = (windows_of(mark, *size) for mark in marks)
        assert (drawn > -0.5).all()
        assert (drawn < np.tile(size, 2) + 0.5).all()
        # A scaled JPEG is cut at whole pixels of its own.
        cut = np.abs(decoded[:, 0] - decoded[:, 2]) / 40
        assert (np.abs(decoded - drawn).max(1) < np.maximum(cut, 1) / 2 + 0.5).all()
        with Image.open(file) as image:
            windows = decoded if image.format == "JPEG" else drawn
        for crop, window in zip(crops, windows, strict=True):
            window = np.clip(window, 0, np.tile(size, 2))
            assert np.abs(crop - pillow(file, window, 40)).mean() < tolerance(file) + 1


@pytest.mark.slow
def test_area_and_aspect_ratio_are_uniform(tmp_path):
    # Every crop of this area fits, so that none is drawn again.
    side, count, low, high = 240, 600, 0.2, 0.5
    file = save(ramps(side, side), tmp_path / "ramps.png", "PNG")
    crops, _ = crops_of(
        [file], count, training=True, image_size=24, crop_area=(low, high), flip=False
    )
    left, top, right, bottom = windows_of(crops, side, side).T

    def assert_uniform(draws, lowest, highest):
        """Kolmogorov and Smirnov's distance; beyond this in one case of 10,000."""
        shares = (np.sort(draws) - lowest) / (highest - lowest)
        distance = np.abs(shares - (np.arange(count) + 0.5) / count).max()
        assert distance < 2.23 / np.sqrt(count)

    width, height = right - left, bottom - top
    assert_uniform(width * height / side**2, low, high)
    assert_uniform(np.log(width / height), np.log(3 / 4), np.log(4 / 3))
    across, down = left / (side - width), top / (side - height)
    assert_uniform(across, 0, 1)
    assert_uniform(down, 0, 1)
    # Drawn apart from each other.
    correlations = np.corrcoef([width * height, width / height, across, down])
    assert np.abs(correlations[np.triu_indices(4, 1)]).max() < 4 / np.sqrt(count)


@pytest.mark.slow
def test_an_image_of_which_no_part_has_the_shape_is_cut_at_its_centre(tmp_path):
    for width, height, window in (
        (400, 12, (192, 0, 208, 12)),  # 12 * 4 / 3 wide
        (12, 400, (0, 192, 12, 208)),
    ):
        file = save(ramps(width, height), tmp_path / f"{width}.png", "PNG")
        crops, _ = crops_of(
            [file], 2, training=True, image_size=32, crop_area=(0.9, 1.0)
        )
        found = windows_of(crops, width, height)
        found[:, [0, 2]] = np.sort(found[:, [0, 2]])
        np.testing.assert_allclose(found, [window] * 2, atol=1)


@pytest.mark.slow
def test_every_other_image_is_mirrored(tmp_path):
    file = save(waves(60, 50), tmp_path / "waves.jpg")
    options = {"training": True, "image_size": 8, "seed": 2}
    plain, _ = crops_of([file], 400, flip=False, **options)

    crops, _ = crops_of([file], 400, flip=True, **options)

    same = (crops == plain).all((1, 2, 3))
    mirrored = (crops == plain[:, :, ::-1]).all((1, 2, 3))
    assert (same != mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(400)


@pytest.mark.parametrize(("size", "fraction"), [(40, 0.875), (30, 1.0)])
def test_centre_crops_are_those_of_pillow(pictures, size, fraction):
    crops, labels = crops_of(pictures, image_size=size, center_fraction=fraction)

    np.testing.assert_array_equal(labels, np.arange(len(pictures)))
    for file, crop in zip(pictures, crops, strict=True):
        difference = np.abs(crop - centre(file, size, fraction))[1:-1, 1:-1]
        assert difference.mean() < tolerance(file)


def test_an_image_of_the_right_size_is_not_changed(tmp_path):
    file = save(waves(64, 64), tmp_path / "waves.jpg")
    crops, _ = crops_of([file], image_size=64, center_fraction=1.0)
    with Image.open(file) as image:
        np.testing.assert_array_equal(crops[0], np.asarray(image))


@pytest.mark.slow
def test_large_png_files_are_antialiased(tmp_path):
    stripes = np.tile(np.array([0, 255], np.uint8), (400, 200))
    file = save(Image.fromarray(stripes), tmp_path / "stripes.png", "PNG")
    for training in (False, True):
        crops, _ = crops_of(
            [file], training=training, image_size=8, crop_area=(0.9, 1.0)
        )
        # Single columns would be black or white; their mean is grey.
        np.testing.assert_allclose(crops[:, :, 1:-1], 127.5, atol=8)


@pytest.mark.slow
def test_the_real_photos(shared_data):
    files = sorted(shared_data("imagenet_sample").glob("*.JPEG"))
    images, _ = crops_of(files)
    differences = [
        np.abs(image - centre(file, 224, 0.875))[1:-1, 1:-1].mean()
        for file, image in zip(files, images, strict=True)
    ]
    assert max(differences) < 0.5
