"""The generated images, against what can be said about them without the formula."""

import numpy as np
import pytest

from keras_residual.datasets import (
    shape_texture_images,
    sinusoid_images,
    tinted_images,
)
from keras_residual.datasets._shapes import SHAPES, TEXTURES

pytestmark = pytest.mark.once


def test_shapes_types_and_range():
    images, labels = sinusoid_images(60, num_classes=5, image_size=24, strength=1.0)

    assert images.shape == (60, 24, 24, 3)
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert images.min() >= 0
    assert images.max() <= 1


def test_classes_are_balanced_and_mixed():
    _, labels = sinusoid_images(103, num_classes=10)

    assert sorted(np.bincount(labels)) == [10] * 7 + [11] * 3
    assert (np.diff(labels) != 0).mean() > 0.7  # sorted labels would give 0.1


def test_a_seed_is_one_data_set():
    first, labels = sinusoid_images(20, seed=3)
    second, same_labels = sinusoid_images(20, seed=3)
    other, _ = sinusoid_images(20, seed=4)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(first, other)


def test_the_data_do_not_touch_the_global_generator():
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    sinusoid_images(4)

    assert np.random.random() == expected


@pytest.mark.parametrize("label", range(10))
def test_each_class_mean_is_one_plane_wave_in_its_direction(label):
    images, labels = sinusoid_images(1500, strength=0.6, seed=1)
    mean = images[labels == label].mean((0, -1))

    spectrum = np.abs(np.fft.fft2(mean - mean.mean()))
    row, column = np.unravel_index(spectrum.argmax(), spectrum.shape)
    frequency = np.array([row, column])
    frequency = np.where(frequency > 16, frequency - 32, frequency)
    angle = np.degrees(np.arctan2(*frequency)) % 180

    assert np.hypot(*frequency) == pytest.approx(4, abs=0.6)
    # A whole-numbered frequency of four cycles hits a direction to about 8 degrees.
    difference = abs(angle - 18 * label)
    assert min(difference, 180 - difference) < 9


def test_strength_zero_is_uniform_noise_without_classes():
    images, labels = sinusoid_images(2000, strength=0, seed=2)

    assert images.mean() == pytest.approx(0.5, abs=1e-3)
    assert images.std() == pytest.approx(np.sqrt(1 / 12), abs=1e-3)
    means = np.stack([images[labels == label].mean(0) for label in range(10)])
    # Each pixel of a class mean is the mean of 200 uniform numbers.
    assert means.std() == pytest.approx(np.sqrt(1 / 12 / 200), rel=0.02)


def test_the_mean_share_of_the_pattern_is_half_the_strength():
    weak, labels = sinusoid_images(2000, strength=0.4, seed=5)
    full, _ = sinusoid_images(2000, strength=1.0, seed=5)
    weak, full = ((part[labels == 0].mean((0, -1)) - 0.5) for part in (weak, full))

    # Regression of one class mean on the other: 0.2 against 0.5 of the pattern.
    assert (weak * full).sum() / (full * full).sum() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("num_images", 0),
        ("num_classes", -1),
        ("image_size", 0),
        ("strength", 1.5),
        ("strength", -0.1),
        ("strength", float("nan")),
        ("seed", -1),
    ],
)
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must .* Received: {argument}="):
        sinusoid_images(**{argument: value})


def mean_redness(images):
    means = images.mean((1, 2))
    return means[:, 0] - means[:, 2]


def test_tinted_shapes_types_and_classes():
    images, labels = tinted_images(301, image_size=24)

    assert images.shape == (301, 24, 24, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert sorted(np.bincount(labels)) == [150, 151]
    assert (np.diff(labels) != 0).mean() > 0.4  # sorted labels would give 0


def test_tints_are_warm_and_cold_and_equally_bright():
    images, labels = tinted_images(600, strength=1.0, seed=1)
    warm, cold = (images[labels == label].mean((0, 1, 2)) for label in (0, 1))

    # Half of each on average: noise of mean 127.5, and orange or sky blue.
    np.testing.assert_allclose(warm, [191.25, 127.5, 63.75], atol=8)
    np.testing.assert_allclose(cold, [63.75, 127.5, 191.25], atol=8)


def test_the_difficulty_is_that_of_the_docstring():
    # The best threshold, by symmetry, is zero.
    def share_told(strength):
        images, labels = tinted_images(3000, 16, strength=strength, seed=2)
        return ((mean_redness(images) < 0) == labels).mean()

    assert share_told(0) == pytest.approx(0.5, abs=0.03)
    assert share_told(0.1) == pytest.approx(0.83, abs=0.03)
    assert share_told(0.25) == pytest.approx(0.93, abs=0.02)
    assert share_told(0.5) == pytest.approx(0.965, abs=0.015)


def test_untinted_noise_has_clouds_and_a_cast():
    images, _ = tinted_images(300, strength=0, seed=3)
    # The mean of the docstring's cast: independent pixels alone would give 0.003.
    assert mean_redness(images / 255).std() == pytest.approx(0.044, rel=0.15)
    blocks = images.reshape(300, 4, 16, 4, 16, 3).mean((2, 4)) / 255
    assert blocks.std() > 0.06  # independent pixels alone would give 0.009
    assert images.mean() == pytest.approx(127.5, abs=1)


def test_shape_texture_images_are_balanced_and_reproducible():
    images, labels = shape_texture_images(305, num_classes=7, image_size=16, seed=4)
    fewer, same_labels = shape_texture_images(40, 7, image_size=16, seed=4)
    other, _ = shape_texture_images(40, 7, image_size=16, seed=5)

    assert images.shape == (305, 16, 16, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert sorted(np.bincount(labels)) == [43] * 3 + [44] * 4
    np.testing.assert_array_equal(images[:40], fewer)
    np.testing.assert_array_equal(labels[:40], same_labels)
    assert not np.array_equal(fewer, other)
    assert len(np.unique(images.reshape(305, -1), axis=0)) == 305


def test_all_fifty_classes_occur():
    _, labels = shape_texture_images(100, image_size=8)
    assert np.bincount(labels).tolist() == [2] * 50


def test_colours_do_not_tell_the_class():
    images, labels = shape_texture_images(2000, num_classes=10, image_size=24, seed=6)
    features = np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)
    features = np.c_[features, np.ones(len(features))]
    fit, held_out = np.s_[:1000], np.s_[1000:]
    weights, *_ = np.linalg.lstsq(features[fit], np.eye(10)[labels[fit]], rcond=None)
    told = (features[held_out] @ weights).argmax(1) == labels[held_out]

    # Textured objects spread more than plain ones; beyond that it is a guess.
    assert told.mean() < 0.25


def test_the_texture_of_the_object_stands_out():
    # Behind a plain object there is always a texture, behind a striped one not always.
    images, labels = shape_texture_images(250, image_size=64, seed=7)
    plain = images[labels % 5 == 0].astype(float)
    striped = images[labels % 5 == 1].astype(float)

    # A tile of 4 x 4 pixels evens out the noise: contrast that is left is texture.
    def contrast(batch):
        tiles = batch.reshape(len(batch), 16, 4, 16, 4, 3).mean((2, 4))
        return np.abs(np.diff(tiles, axis=1)).mean((1, 2, 3))

    assert contrast(striped).mean() > 1.2 * contrast(plain).mean()


def test_behind_a_plain_object_there_is_a_texture():
    images, _ = shape_texture_images(200, num_classes=1, seed=8)
    means = images.reshape(200, 16, 4, 16, 4, 3).mean((2, 4))
    corners = [
        means[:, rows, columns]
        for rows in (np.s_[:4], np.s_[-4:])
        for columns in (np.s_[:4], np.s_[-4:])
    ]
    # The corner that the object leaves free.
    spread = np.min([corner.std((1, 2)).mean(-1) for corner in corners], axis=0)

    # Noise alone, of 0.04 * 255 in each of the 16 pixels of a tile, gives 2.5.
    assert spread.mean() > 3.5


# Areas in closed form, for a disc around all of them of radius 1.
def lens(first, second, distance):
    """The area that two discs share."""

    def part(radius, other):
        along = (distance**2 + radius**2 - other**2) / (2 * distance)
        half = np.arccos(along / radius)
        return radius**2 * (half - np.sin(half) * np.cos(half))

    return part(first, second) + part(second, first)


AREAS = {
    "disc": np.pi * 0.95**2,
    "square": 1.4**2,
    "triangle": 0.75 * np.sqrt(3),
    "ring": np.pi * (0.99**2 - 0.45**2),
    "cross": 2 * 1.9 * 0.6 - 0.6**2,
    "star": 5 * 0.45 * np.sin(np.pi / 5),
    "bar": 1.86 * 0.72,
    "crescent": np.pi * 0.98**2 - lens(0.98, 0.7, 0.55),
    "half disc": np.pi * 0.9**2 / 2,
    "corner": 2 * 0.56 * 1.36 - 0.56**2 + 0.56 * 0.04,
}


@pytest.mark.parametrize("name", AREAS)
def test_shapes_have_their_area_and_lie_in_the_unit_disc(name):
    y, x = np.mgrid[-1.1:1.1:1000j, -1.1:1.1:1000j].astype(np.float32)
    inside = SHAPES[name](x, y) < 0

    assert inside.mean() * 2.2**2 == pytest.approx(AREAS[name], abs=0.01)
    assert np.hypot(x, y)[inside].max() <= 1.001


@pytest.mark.parametrize(
    ("name", "share", "period"),
    [
        ("plain", 0, (0.3, 0.7)),
        ("stripes", 0.5, (1, 0.4)),
        ("checks", 0.5, (1, 1)),
        ("dots", np.pi * 0.34**2, (1, 0)),
        ("waves", 0.5, (1, 0)),
    ],
)
def test_textures_repeat_and_have_their_share_of_the_second_colour(name, share, period):
    # Whole periods of all of them.
    v, u = (np.mgrid[:400, :400] / 100).astype(np.float32)
    texture = TEXTURES[name](u, v)

    assert texture.min() >= 0
    assert texture.max() <= 1
    assert texture.mean() == pytest.approx(share, abs=0.01)
    moved = TEXTURES[name](u + np.float32(period[0]), v + np.float32(period[1]))
    np.testing.assert_allclose(moved, texture, atol=1e-3)


@pytest.mark.parametrize(
    ("generate", "argument", "value"),
    [
        (tinted_images, "num_images", 0),
        (tinted_images, "image_size", 2.5),
        (tinted_images, "strength", 1.5),
        (tinted_images, "seed", -1),
        (shape_texture_images, "num_images", -1),
        (shape_texture_images, "num_classes", 51),
        (shape_texture_images, "num_classes", 0),
        (shape_texture_images, "image_size", 0),
        (shape_texture_images, "seed", 0.5),
    ],
)
def test_bad_arguments_of_the_others_are_named(generate, argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must .* Received: {argument}="):
        generate(**{argument: value})
