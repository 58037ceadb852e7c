"""Figures that compare final results, against hand-computed values."""

import numpy as np
import pandas as pd
import pytest
from figures import APPROACHES, T1, bars_of, dots_of, note_of, only, results, transfer

from keras_residual.analysis import plots

pytestmark = pytest.mark.once


def difference(frame, *arguments, **names):
    names = {"treatment": "residual", "control": "plain", **names}
    return plots.paired_difference(frame, *arguments, **names)


def test_accuracy_by_seed_draws_dots_lines_and_intervals():
    ax = plots.accuracy_by_seed(results().sample(frac=1, random_state=0))
    plain, residual = dots_of(ax)
    np.testing.assert_allclose(plain, [[0, 0.70], [0, 0.71], [0, 0.72]])
    np.testing.assert_allclose(residual, [[1, 0.80], [1, 0.81], [1, 0.84]])
    joined = [line.get_ydata() for line in ax.lines[:3]]
    np.testing.assert_allclose(joined, [[0.70, 0.80], [0.71, 0.81], [0.72, 0.84]])
    (_, low), (_, high) = bars_of(ax)[0]
    # t(0.975; 2 degrees) = 4.302653, and the standard error is 0.01 / sqrt(3).
    half = 4.302653 * 0.01 / np.sqrt(3)
    assert (low, high) == pytest.approx((0.71 - half, 0.71 + half))
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["plain\nn = 3 seeds", "residual\nn = 3 seeds"]
    assert "mean and its 95 % t interval" in note_of(ax)


def test_paired_difference_is_by_seed():
    ax = difference(results().sample(frac=1, random_state=1))
    (dots,) = dots_of(ax)
    # 0.1 + 0.01 (s^2 - s) for the seeds 0, 1, 2.
    np.testing.assert_allclose(dots, [[0.10, 1], [0.10, 2], [0.12, 3]])
    (low, _), (high, _) = bars_of(ax)[0]
    # t(0.975; 2 degrees) = 4.302653, s = 0.02 / sqrt(3), so standard error 0.02 / 3.
    half = 4.302653 * 0.02 / 3
    assert (low, high) == pytest.approx((0.32 / 3 - half, 0.32 / 3 + half))
    assert [t.get_text() for t in ax.get_yticklabels()] == [
        "mean",
        "seed 0",
        "seed 1",
        "seed 2",
    ]
    assert "mean +10.7 points" in note_of(ax)
    assert "sign-flip p = 0.25" in note_of(ax)
    assert ax.get_xlabel() == "final accuracy (% of images): residual minus plain"


def test_paired_difference_shows_the_corrected_p_alone():
    ax = difference(results(), p_value=0.75)
    assert "corrected p = 0.75" in note_of(ax)
    assert "sign-flip" not in note_of(ax)


def test_paired_difference_the_other_way_round():
    ax = difference(results(), treatment="plain", control="residual")
    np.testing.assert_allclose(dots_of(ax)[0][:, 0], [-0.10, -0.10, -0.12])


def test_paired_difference_says_what_it_leaves_out():
    frame = results()
    frame.loc[0, "epochs_to_threshold"] = np.nan  # seed 0 of the plain net
    ax = difference(frame, "epochs_to_threshold")
    np.testing.assert_allclose(dots_of(ax)[0], [[-4, 1], [-4, 2]])
    assert "1 of 3 seeds have no value" in note_of(ax)
    frame["epochs_to_threshold"] = np.nan
    ax = difference(frame, "epochs_to_threshold")
    assert dots_of(ax) == []
    assert "3 of 3 seeds have no value" in note_of(ax)


def test_degradation_draws_accuracy_against_blocks():
    deep = results((0, 1)).assign(blocks=20)
    deep.loc[deep["net"] == "plain", "accuracy"] -= 0.2
    ax = plots.degradation(pd.concat([deep, results((0, 1)).assign(blocks=5)]))
    means = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_allclose(means, [[0.705, 0.505], [0.805, 0.805]])
    (_, low), (_, high) = bars_of(ax)[0]
    assert (low, high) == pytest.approx((0.705 - T1 * 0.005, 0.705 + T1 * 0.005))
    assert ax.get_xticks().tolist() == [5, 20]
    places = [container.lines[0].get_xdata() for container in ax.containers]
    np.testing.assert_allclose(np.mean(places, axis=0), [5, 20])
    assert (places[0] != places[1]).all()
    assert " ".join(ax.get_title(loc="left").split()) == (
        "With 5 blocks: plain 70.5 %; residual 80.5 %. "
        "With 20 blocks: plain 50.5 %; residual 80.5 %"
    )


@pytest.mark.parametrize("draw", [plots.degradation, plots.accuracy_by_images])
def test_a_title_names_every_mean_that_is_drawn(draw):
    """The mean leaves out a seed that diverged, and so does its title."""
    frame = results((0, 1)).assign(blocks=5, images=5)
    frame.loc[(frame["net"] == "plain") & (frame["seed"] == 0), "accuracy"] = np.nan
    ax = draw(frame, by="net")
    means = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_allclose(means, [[0.71], [0.805]])
    assert "plain 71.0 %; residual 80.5 %" in " ".join(ax.get_title("left").split())


def test_paired_difference_refuses_a_net_without_results():
    with pytest.raises(ValueError, match=r"`control` must .* control='plain'"):
        difference(only(results(), "residual"))


def test_accuracy_by_seed_of_approaches():
    frame = transfer((0, 2), shares=[1.0]).sample(frac=1, random_state=0)
    ax = plots.accuracy_by_seed(frame, by="approach", styles=APPROACHES)
    dots = dots_of(ax)
    np.testing.assert_allclose(dots[0], [[0, 0.70], [0, 0.72]])
    np.testing.assert_allclose(dots[1], [[1, 0.90], [1, 0.92]])
    np.testing.assert_allclose(dots[2], [[2, 0.95], [2, 0.97]])
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert [tick.split("\n")[0] for tick in ticks] == list(APPROACHES)
    assert ax.get_xlabel() == "approach"


def test_shares_of_the_images_are_not_mixed():
    with pytest.raises(ValueError, match=r"one row .*; select one value of share"):
        plots.accuracy_by_seed(transfer(), by="approach")


def test_paired_difference_of_approaches():
    frame = transfer((0, 1), shares=[1.0])
    frame.loc[frame["approach"] == "frozen", "accuracy"] = [0.9, 0.8]
    ax = difference(frame, treatment="frozen", control="scratch", by="approach")
    np.testing.assert_allclose(dots_of(ax)[0][:, 0], [0.20, 0.09])
    with pytest.raises(
        ValueError,
        match=r"`control` must be in the column approach .*'plain', approach",
    ):
        difference(frame, treatment="frozen", by="approach")


def test_groups_get_markers_and_colours_of_their_own():
    names = ["b", "a", *map(str, range(5))]
    frame = pd.DataFrame({"way": names, "seed": 0, "accuracy": 0.5})
    ax = plots.accuracy_by_seed(frame, by="way")
    ticks = [label.get_text().split("\n")[0] for label in ax.get_xticklabels()]
    assert ticks == ["0", "1", "2", "3", "4", "a", "b"]
    drawn = [
        c for c in ax.collections if len(c.get_offsets()) and len(c.get_facecolor())
    ]
    assert len({tuple(c.get_facecolor()[0]) for c in drawn}) == 7
    assert len({c.get_paths()[0].vertices.tobytes() for c in drawn}) == 7
