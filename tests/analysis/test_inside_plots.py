"""Figures of heat maps, filters, confusions and input gradients."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import note_of, texts_of

from keras_residual.analysis import InputGradients, overlay, plots

pytestmark = pytest.mark.once

PHOTOS = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3)).astype("uint8")
HEAT = np.random.default_rng(1).uniform(size=(3, 6, 8))


def test_overlay_keeps_cold_places_and_colours_hot_ones():
    cold = overlay(PHOTOS, HEAT * 0)
    np.testing.assert_array_equal(cold, PHOTOS)
    np.testing.assert_array_equal(overlay(PHOTOS, HEAT, strength=0.0), PHOTOS)
    hot = overlay(PHOTOS, HEAT * 0 + 1, strength=1.0)
    colour = np.array(matplotlib.colormaps["inferno"](1.0)[:3]) * 255
    np.testing.assert_allclose(hot, np.broadcast_to(colour, PHOTOS.shape), atol=0.51)
    half = overlay(PHOTOS, HEAT * 0 + 1, strength=0.5)
    np.testing.assert_allclose(half, (PHOTOS + colour) / 2, atol=0.51)
    assert half.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": PHOTOS[0]}, "`images` must have the shape"),
        ({"images": PHOTOS * 2.0}, "`images` must have the shape"),
        ({"maps": HEAT[:2]}, "`maps` must have the shape"),
        ({"maps": HEAT * 2}, "`maps` must have the shape"),
        ({"strength": 1.5}, "`strength` must be a number in"),
    ],
)
def test_what_cannot_be_laid_over(change, message):
    with pytest.raises(ValueError, match=message):
        overlay(**{"images": PHOTOS, "maps": HEAT} | change)


def test_photos_stand_beside_their_heat_maps():
    ax = plots.grad_cam(PHOTOS[:1], HEAT[:1])
    canvas = ax.images[0].get_array()
    np.testing.assert_array_equal(canvas[:, :8], PHOTOS[0])
    np.testing.assert_array_equal(canvas[:, 8:], overlay(PHOTOS[:1], HEAT[:1])[0])
    with pytest.raises(ValueError, match="`images` must be 1 to 32 photos"):
        plots.grad_cam(np.zeros((33, 4, 4, 3)), np.zeros((33, 4, 4)))


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_are_scaled_each_by_itself(channels):
    filters = np.arange(2 * 2 * 2 * channels, dtype=float).reshape(2, 2, 2, channels)
    filters[1] *= -5
    ax = plots.first_filters(filters)
    canvas = ax.images[0].get_array()
    assert canvas.shape == (2, 5, 3)
    for tile in (canvas[:, :2], canvas[:, 3:]):
        assert (tile.min(), tile.max()) == (0, 1)
    assert canvas[0, 0, 0] == 0
    assert canvas[0, 3, 0] == 1
    assert "2 filters of 2 x 2" in note_of(ax)


@pytest.mark.parametrize(
    "filters",
    [np.zeros((2, 3, 3, 4)), np.zeros((3, 3, 3)), np.full((1, 2, 2, 3), np.nan)],
)
def test_what_are_no_filters(filters):
    with pytest.raises(ValueError, match="`filters` must have the shape"):
        plots.first_filters(filters)


def test_confusion_matrix_shows_shares_of_rows_and_counts():
    ax = plots.confusion_matrix(
        [[3, 1, 0], [0, 0, 0], [0, 5, 5]], ["cat", "dog", "fox"]
    )
    shares = ax.images[0].get_array()
    np.testing.assert_allclose(shares[0], [0.75, 0.25, 0])
    assert shares.mask[1].all()
    numbers = {text.get_position(): text.get_text() for text in texts_of(ax)}
    assert numbers[(1, 0)] == "1"
    assert numbers[(2, 2)] == "5"
    assert len(numbers) == 6
    assert ax.get_title(loc="left") == "8 of 14 right (57.1\xa0%)"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["cat", "dog", "fox"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(("dog", "rotation"), [("dog", 0), ("Bernese mountain", 45)])
def test_names_of_classes_are_turned_if_they_are_long(dog, rotation):
    ax = plots.confusion_matrix(np.eye(3, dtype=int), ["cat", dog, "fox"])
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {rotation}


def test_many_classes_have_no_numbers_and_few_labels():
    ax = plots.confusion_matrix(np.eye(100, dtype=int), range(100))
    assert texts_of(ax) == []
    assert [t.get_text() for t in ax.get_xticklabels()][:2] == ["0", "3"]


@pytest.mark.parametrize(
    "matrix",
    [np.eye(3, dtype=int), [[1.0, 0], [0, 1]], [[1, -1], [0, 1]], [[0, 0]] * 2],
)
def test_what_is_no_confusion_matrix(matrix):
    with pytest.raises(ValueError, match="`matrix` must be counts of the shape"):
        plots.confusion_matrix(matrix, ["cat", "dog"])


def test_most_wrong_photos_in_order():
    probabilities = [[0.6, 0.4], [0.2, 0.8], [0.9, 0.1]]
    ax = plots.most_wrong(PHOTOS, [1, 1, 1], probabilities, ["cat", "dog"])
    drawn = [image.get_array() for image in ax.images]
    np.testing.assert_array_equal(drawn[0], PHOTOS[2])
    np.testing.assert_array_equal(drawn[1], PHOTOS[0])
    assert len(drawn) == 2
    assert "least probability" in ax.get_title(loc="left")
    with pytest.raises(ValueError, match="`probabilities` must be wrong for at least"):
        plots.most_wrong(PHOTOS[:1], [0], [[1.0, 0.0]], ["cat", "dog"])


def test_one_line_for_each_network():
    at = np.linspace(0, 1, 5)
    gradients = {
        "plain": InputGradients(1 - at, at),
        "residual": InputGradients(1 - at / 2, at),
    }
    ax = plots.input_gradients(gradients)
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_array_equal(lines["residual"].get_ydata(), 1 - at / 2)
    np.testing.assert_array_equal(lines["plain"].get_xdata(), at)
    with pytest.raises(ValueError, match="`gradients` must hold at least one network"):
        plots.input_gradients({})


@pytest.mark.parametrize("draw", ["cam", "filters", "confusion", "gradients"])
def test_axes_that_are_given_are_used_and_returned(draw):
    _, ax = plt.subplots()
    drawn = {
        "cam": lambda: plots.grad_cam(PHOTOS, HEAT, ax),
        "filters": lambda: plots.first_filters(np.zeros((2, 3, 3, 3)), ax),
        "confusion": lambda: plots.confusion_matrix([[1]], ["cat"], ax),
        "gradients": lambda: plots.input_gradients(
            {"plain": InputGradients(np.ones(2), np.arange(2.0))}, ax
        ),
    }[draw]()
    assert drawn is ax
    ax.figure.canvas.draw()
