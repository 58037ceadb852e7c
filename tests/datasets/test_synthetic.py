"""The generated images, against what can be said about them without the formula."""

import numpy as np
import pytest

from keras_residual.datasets import sinusoid_images


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
