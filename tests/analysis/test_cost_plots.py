"""What an approach needs: the drawn data against hand-computed values."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import (
    APPROACHES,
    T1,
    bars_of,
    dots_of,
    lines_of,
    note_of,
    texts_of,
    transfer,
)

from keras_residual.analysis import plots

pytestmark = pytest.mark.once


def test_trainable_parameters_are_written_out():
    # Numbers that went through a table with gaps are floats.
    frame = transfer().astype({"trainable_parameters": float})
    ax = plots.trainable_parameters(
        frame.sample(frac=1, random_state=0), styles=APPROACHES
    )
    drawn = np.concatenate(dots_of(ax))
    np.testing.assert_array_equal(drawn, [[0, 160_000], [1, 262_402], [2, 9_200_000]])
    assert [text.get_text() for text in texts_of(ax)] == [
        "160,000",
        "262,402",
        "9,200,000",
    ]
    assert ax.get_yscale() == "log"
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["scratch", "frozen", "fine-tuned"]


def test_trainable_parameters_must_agree():
    frame = transfer()
    frame.loc[0, "trainable_parameters"] = 1
    with pytest.raises(ValueError, match=r"one number .*\('scratch', 1\)"):
        plots.trainable_parameters(frame)
    with pytest.raises(ValueError, match="positive numbers in its column trainable"):
        plots.trainable_parameters(transfer().assign(trainable_parameters=0))


def test_accuracy_by_images_draws_means_intervals_and_seeds():
    ax = plots.accuracy_by_images(
        transfer((0, 2)).sample(frac=1, random_state=0), styles=APPROACHES
    )
    assert ax.get_xscale() == "log"
    means = [container.lines[0] for container in ax.containers]
    np.testing.assert_allclose(
        [line.get_ydata() for line in means], [[0.62, 0.71], [0.82, 0.91], [0.87, 0.96]]
    )
    # Side by side around the number of images, by equal ratios.
    places = np.array([line.get_xdata() for line in means])
    np.testing.assert_allclose(places[1], [60, 600])
    np.testing.assert_allclose(places[0] * places[2], [60**2, 600**2])
    (_, low), (_, high) = bars_of(ax)[0]
    assert (low, high) == pytest.approx((0.62 - T1 * 0.01, 0.62 + T1 * 0.01))
    seeds = [line.get_ydata() for line in lines_of(ax, "#D55E00")[:2]]
    np.testing.assert_allclose(seeds, [[0.61, 0.70], [0.63, 0.72]])
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["60", "600"]


def test_the_reference_is_an_approach_with_all_images():
    def heights(**arguments):
        ax = plots.accuracy_by_images(frame, **arguments)
        lines = [line for line in ax.lines if line.get_linestyle() == "--"]
        return [line.get_ydata()[0] for line in lines], note_of(ax)

    frame = transfer((0, 1))
    frame.loc[0, "accuracy"] = np.nan
    assert heights()[0] == []
    drawn, note = heights(reference="scratch")
    assert drawn == pytest.approx([0.705])
    assert "dashed: scratch with all 600 images" in note
    assert heights(reference="frozen")[0] == pytest.approx([0.905])
    frame = frame[frame["approach"] != "scratch"]
    drawn, note = heights(reference="scratch")
    assert drawn == []
    assert "dashed" not in note


def test_accuracy_by_time_draws_means_by_share_and_seeds():
    ax = plots.accuracy_by_time(
        transfer((0, 2)).sample(frac=1, random_state=0), styles=APPROACHES
    )
    assert ax.get_xscale() == "log"
    np.testing.assert_allclose(
        dots_of(ax)[0], [[10, 0.61], [1000, 0.63], [100, 0.70], [10_000, 0.72]]
    )
    # The seeds are a factor of 100 apart: geometric mean at a factor of 10.
    lines = [line for line in ax.lines if line.get_marker() != "None"]
    np.testing.assert_allclose(lines[0].get_xdata(), [100, 1000])
    np.testing.assert_allclose(lines[0].get_ydata(), [0.62, 0.71])
    np.testing.assert_allclose(lines[1].get_xdata(), [20, 200])
    assert [text.get_text() for text in texts_of(ax)] == ["10 %", "100 %"] * 3


def test_accuracy_by_time_says_what_it_leaves_out():
    frame = transfer()
    frame.loc[0, "seconds"] = np.nan
    frame.loc[1, "accuracy"] = np.inf
    ax = plots.accuracy_by_time(frame, styles=APPROACHES)
    assert "2 of 12 rows have no value" in note_of(ax)
    assert len(dots_of(ax)[0]) == 2
    ax.figure.canvas.draw()
    ax = plots.accuracy_by_time(frame.assign(accuracy=np.nan))
    assert "12 of 12 rows have no value" in note_of(ax)
    ax.figure.canvas.draw()


@pytest.mark.parametrize(
    ("draw", "column"),
    [
        (plots.accuracy_by_images, "images"),
        (plots.accuracy_by_time, "seconds"),
        (plots.accuracy_by_time, "share"),
    ],
)
def test_a_logarithmic_axis_needs_positive_numbers(draw, column):
    frame = transfer()
    frame.loc[0, column] = 0
    with pytest.raises(ValueError, match=rf"positive .* {column}\. Received: \[0"):
        draw(frame)
    assert plt.get_fignums() == []
