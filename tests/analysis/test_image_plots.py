"""Grids of photos and feature maps: every pixel where it belongs."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import note_of, texts_of

from keras_residual.analysis import plots

pytestmark = pytest.mark.once

NAMES = ["cat", "dog"]


def photos(number, height=8, width=8):
    images = np.zeros((number, height, width, 3), np.uint8)
    images += np.arange(number, dtype=np.uint8)[:, None, None, None]
    return images


def test_photos_stand_over_their_predictions():
    ax = plots.photo_grid(
        photos(3),
        labels=[0, 1, 0],
        probabilities=[[0.9, 0.1], [0.8, 0.2], [0.0, 1.0]],
        class_names=NAMES,
    )
    drawn = [(im.get_array().max(), im.get_extent()) for im in ax.images]
    assert [number for number, _ in drawn] == [0, 1, 2]
    texts = {text.get_text(): text.get_position() for text in texts_of(ax)}
    assert list(texts) == ["cat 90 %", "cat 80 %\n✗ dog", "dog 100 %\n✗ cat"]
    for (left, right, bottom, _), (x, y) in zip(
        [box for _, box in drawn], texts.values(), strict=True
    ):
        assert left < x < right
        assert bottom < y < bottom + 4  # the vertical axis points down
    assert "(2 of 3 here)" in note_of(ax)


def test_wrong_photos_are_framed_and_no_others():
    ax = plots.photo_grid(photos(3), [1, 1, 0], [[0.1, 0.9]] * 3, NAMES)
    (frame,) = ax.patches
    left, right, bottom, top = ax.images[2].get_extent()
    box = frame.get_bbox()
    assert (box.x0, box.x1, box.y0, box.y1) == (left, right, top, bottom)


def test_less_than_certain_is_never_a_hundred_per_cent():
    probabilities = np.array([[0.999, 0.001], [0.9, 0.1], [1, 0]], np.float32)
    ax = plots.photo_grid(photos(3), [0, 0, 0], probabilities, NAMES)
    written = [text.get_text() for text in texts_of(ax)]
    assert written == ["cat 99 %", "cat 90 %", "cat 100 %"]


@pytest.mark.parametrize("number", [1, 2, 7, 24, 32])
@pytest.mark.parametrize("size", [(8, 8), (8, 24), (24, 8)])
def test_photos_do_not_overlap_and_lie_within_the_axes(number, size):
    ax = plots.photo_grid(
        photos(number, *size), [0] * number, [[0.2, 0.8]] * number, NAMES
    )
    ax.figure.canvas.draw()
    covered = np.zeros((1500, 1500), int)
    for image in ax.images:
        left, right, bottom, top = map(round, image.get_extent())
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1
    low, high = ax.get_xlim()
    assert low <= min(image.get_extent()[0] for image in ax.images)
    assert max(image.get_extent()[1] for image in ax.images) <= high
    # Nothing written under a photo reaches the next.
    renderer = ax.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in texts_of(ax)]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_long_class_names_are_shortened():
    ax = plots.photo_grid(photos(1), [0], [[0.9, 0.1]], ["golden retriever", "cat"])
    assert texts_of(ax)[0].get_text() == "golden ret… 90 %"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("images", np.zeros((2, 8, 8))),
        ("images", np.full((2, 8, 8, 3), 256.0)),
        ("images", np.full((2, 8, 8, 3), np.nan)),
        ("images", photos(33)),
        ("images", photos(0)),
        ("labels", [0]),
        ("labels", [0, 2]),
        ("labels", [0.0, 1.0]),
        ("probabilities", [0.2, 0.8]),
        ("probabilities", [[0.2, 0.8, 0.0]] * 2),
        ("probabilities", [[2.0, -1.0]] * 2),
        ("class_names", ["cat"]),
    ],
)
def test_bad_arguments_are_named(argument, value):
    good = {
        "images": photos(2),
        "labels": [0, 1],
        "probabilities": [[0.5, 0.5]] * 2,
        "class_names": NAMES,
    }
    # Names are counted against the probabilities.
    named = "probabilities" if argument == "class_names" else argument
    with pytest.raises(ValueError, match=rf"`{named}` must .* Received: "):
        plots.photo_grid(**good | {argument: value})
    assert plt.get_fignums() == []


def test_feature_maps_are_scaled_each_by_itself():
    maps = np.arange(12.0).reshape(3, 2, 2) ** 2 * np.array([1, -5, 0])[:, None, None]
    ax = plots.feature_maps(maps)
    canvas = ax.images[0].get_array()
    tiles = [canvas[:, 3 * place : 3 * place + 2] for place in range(3)]
    np.testing.assert_allclose(tiles[0], [[0, 1 / 9], [4 / 9, 1]])
    # 16, 25, 36, 49 turned over.
    np.testing.assert_allclose(tiles[1], [[1, 24 / 33], [13 / 33, 0]])
    assert (tiles[2] == 0).all()
    assert np.ma.getmaskarray(canvas)[:, [2, 5]].all()
    assert ax.images[0].get_clim() == (0, 1)
    assert "each scaled by itself" in note_of(ax)
    assert "(1 of 3)" in note_of(ax)


@pytest.mark.parametrize("shape", [(1, 5, 5), (7, 3, 9), (64, 4, 4)])
def test_every_map_has_its_tile(shape):
    ax = plots.feature_maps(np.random.default_rng(0).normal(size=shape))
    canvas = ax.images[0].get_array()
    assert canvas.count() == np.prod(shape)
    assert (canvas == 1).sum() == (canvas == 0).sum() == shape[0]
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    "maps", [np.zeros((2, 2)), np.zeros((0, 2, 2)), np.full((1, 2, 2), np.inf)]
)
def test_what_is_no_map_is_refused(maps):
    with pytest.raises(ValueError, match=r"`maps` must .* Received: shape \("):
        plots.feature_maps(maps)


@pytest.mark.parametrize("draw", ["photos", "maps"])
def test_axes_that_are_given_are_used_and_returned(draw):
    figure, (_, ax) = plt.subplots(1, 2)
    if draw == "photos":
        assert plots.photo_grid(photos(1), [0], [[1, 0]], NAMES, ax=ax) is ax
    else:
        assert plots.feature_maps(np.zeros((1, 2, 2)), ax=ax) is ax
    assert plt.get_fignums() == [figure.number]
