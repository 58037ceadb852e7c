"""Gap, occlusion and calibration: the drawn data against hand-computed values."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from figures import (
    COLOURS,
    T1,
    bars_of,
    dots_of,
    lines_of,
    note_of,
    predictions,
    robustness,
    texts_of,
)

from keras_residual.analysis import plots

pytestmark = pytest.mark.once


def whole(seeds=(0, 1)):
    return robustness(seeds, shares=[0.0])


def ticks_of(ax):
    return [label.get_text() for label in ax.get_xticklabels()]


def test_gap_joins_training_and_validation():
    ax = plots.generalization_gap(whole().sample(frac=1, random_state=0))
    drawn = [dots[:, 1].tolist() for dots in dots_of(ax)]
    # Of each net the training images, then the validation images, seed by seed.
    for found, expected in zip(
        drawn, [[0.8, 0.8], [0.6, 0.61], [0.8, 0.8], [0.7, 0.71]], strict=True
    ):
        assert found == pytest.approx(expected)
    ends = sorted(tuple(line.get_ydata()) for line in ax.lines)
    np.testing.assert_allclose(ends, [(0.6, 0.8), (0.61, 0.8), (0.7, 0.8), (0.71, 0.8)])
    # Gaps 0.2 and 0.19: mean 0.195, half width 12.706 * 0.005 = 0.0635.
    assert ticks_of(ax)[0] == "plain\ngap +19.5 points\n(+13.1 to +25.9)\nn = 2 seeds"


def test_gap_says_what_it_leaves_out():
    frame = whole()
    frame.loc[0, "train_accuracy"] = np.nan
    frame.loc[frame["net"] == "residual", "accuracy"] = np.inf
    ax = plots.generalization_gap(frame)
    assert "3 of 4 trainings have no value" in note_of(ax)
    assert ticks_of(ax) == ["plain\ngap +19.0 points\nn = 1 seed", "residual\nno value"]
    ax.figure.canvas.draw()


def test_occlusion_draws_means_seeds_and_intervals():
    frame = robustness(shares=[0.25, 0.0, 0.1]).sample(frac=1, random_state=0)
    ax = plots.accuracy_by_occlusion(frame)
    seeds = [line.get_ydata() for line in lines_of(ax, COLOURS["plain"])[:2]]
    np.testing.assert_allclose(seeds, [[0.6, 0.52, 0.4], [0.61, 0.53, 0.41]])
    plain, residual = (container.lines[0] for container in ax.containers)
    np.testing.assert_allclose(plain.get_ydata(), [0.605, 0.525, 0.405])
    np.testing.assert_allclose(residual.get_ydata(), [0.705, 0.665, 0.605])
    (_, low), (_, high) = bars_of(ax)[0]
    assert (low, high) == pytest.approx((0.605 - T1 * 0.005, 0.605 + T1 * 0.005))
    # Side by side around the share.
    places = [line.get_xdata() for line in (plain, residual)]
    np.testing.assert_allclose(np.mean(places, axis=0), [0, 0.1, 0.25], atol=1e-12)
    ax.figure.canvas.draw()
    assert {"0 %", "5 %", "10 %"} < set(ticks_of(ax))


def test_occlusion_leaves_a_gap_where_a_seed_has_no_value():
    frame = robustness()
    frame.loc[1, "accuracy"] = np.nan  # plain, seed 0, a quarter erased
    ax = plots.accuracy_by_occlusion(frame)
    mean = ax.containers[0].lines[0].get_ydata()
    assert np.isfinite(mean).tolist() == [True, False]


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_a_share_lies_between_0_and_1(share):
    frame = robustness()
    frame.loc[0, "erased_share"] = share
    with pytest.raises(ValueError, match=r"from 0 to 1 .* erased_share\. Received: \["):
        plots.accuracy_by_occlusion(frame)
    assert plt.get_fignums() == []


def test_reliability_draws_bins_of_all_seeds():
    ax = plots.reliability_diagram(predictions().sample(frac=1, random_state=0))
    plain, residual = dots_of(ax)
    # Plain: 3 of 5 right, with the second seed 2 of 5, at both confidences.
    np.testing.assert_allclose(plain, [[0.5, 0.5], [0.9, 0.5]])
    np.testing.assert_allclose(residual, [[0.5, 0.7], [0.9, 0.7]])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    # Seed 0: (|0.6 - 0.5| + |0.6 - 0.9|) / 2 = 0.2; seed 1: (0.1 + 0.5) / 2 = 0.3.
    assert labels[0] == "plain: ECE 25.0 % (n = 2 seeds)"
    # Seed 0: (0.3 + 0.1) / 2; seed 1: (0.1 + 0.3) / 2.
    assert labels[1] == "residual: ECE 20.0 % (n = 2 seeds)"
    assert [text.get_text() for text in texts_of(ax)] == ["not sure enough", "too sure"]


def test_dots_of_the_reliability_grow_with_the_images():
    frame = predictions((0,))
    frame = frame[(frame["net"] == "plain") & (frame["image"] != 5)]
    ax = plots.reliability_diagram(frame)
    few, many = ax.collections[0].get_sizes()
    assert few / many == pytest.approx(4 / 5)


def test_reliability_with_one_bin_compares_means():
    ax = plots.reliability_diagram(predictions((0,)), bins=1)
    np.testing.assert_allclose(dots_of(ax)[0], [[0.7, 0.6]])
    assert note_of(ax).startswith("1 bin;")


def test_reliability_says_what_it_leaves_out():
    frame = predictions()
    frame.loc[frame["seed"] == 1, "confidence"] = np.nan
    ax = plots.reliability_diagram(frame)
    assert "20 of 40 predictions have no value" in note_of(ax)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0] == "plain: ECE 20.0 % (n = 1 seed)"
    frame["confidence"] = np.nan
    plots.reliability_diagram(frame).figure.canvas.draw()


@pytest.mark.parametrize(
    ("column", "value"), [("confidence", 1.2), ("correct", 2), ("bins", 0)]
)
def test_reliability_refuses_values_out_of_range(column, value):
    frame = predictions().astype({"correct": int})
    arguments = {}
    if column == "bins":
        arguments = {"bins": value}
    else:
        frame.loc[0, column] = value
    with pytest.raises(ValueError, match=rf"`{column}` must"):
        plots.reliability_diagram(frame, **arguments)
    assert plt.get_fignums() == []
