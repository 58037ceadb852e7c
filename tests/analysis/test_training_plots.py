"""Curves and epochs to a threshold, against hand-computed values."""

import numpy as np
import pytest
from figures import COLOURS, T1, bars_of, dots_of, history, lines_of, note_of, results

from keras_residual.analysis import plots

pytestmark = pytest.mark.once


def test_training_curves_draw_mean_band_and_seeds():
    ax = plots.training_curves(history())
    for net, base in (("plain", 0.2), ("residual", 0.4)):
        *seeds, mean = lines_of(ax, COLOURS[net])
        expected = base + 0.1 * np.array([1, 2, 3])
        np.testing.assert_array_equal(mean.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(mean.get_ydata(), expected + 0.01)
        assert len(seeds) == 2
        np.testing.assert_allclose(seeds[0].get_ydata(), expected)
        np.testing.assert_allclose(seeds[1].get_ydata(), expected + 0.02)
        assert seeds[0].get_alpha() < 0.5 < mean.get_linewidth()
    band = ax.collections[0].get_paths()[0].vertices
    # Mean 0.31 at epoch 1; half width of two values is t times half their distance.
    at_first = band[band[:, 0] == 1][:, 1]
    assert at_first.min() == pytest.approx(0.31 - T1 * 0.01)
    assert at_first.max() == pytest.approx(0.31 + T1 * 0.01)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["plain (n = 2 seeds)", "residual (n = 2 seeds)"]
    assert "band: its 95 % t interval" in note_of(ax)
    assert ax.get_ylabel() == "validation accuracy (% of images)"


def test_training_curves_of_another_metric():
    ax = plots.training_curves(history(), "loss")
    mean = lines_of(ax, COLOURS["plain"])[-1]
    np.testing.assert_allclose(mean.get_ydata(), [1.9, 1.8, 1.7])
    assert ax.get_ylabel() == "training loss (mean per image)"


def test_training_curves_of_approaches():
    frame = history().rename(columns={"net": "approach"})
    frame["approach"] = frame["approach"].map({"plain": "scratch", "residual": "mine"})
    ax = plots.training_curves(frame, by="approach")
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["mine (n = 2 seeds)", "scratch (n = 2 seeds)"]
    np.testing.assert_allclose(ax.lines[2].get_ydata(), [0.51, 0.61, 0.71])
    np.testing.assert_allclose(ax.lines[5].get_ydata(), [0.31, 0.41, 0.51])


def test_a_diverged_seed_leaves_a_gap_in_the_mean():
    frame = history()
    bad = (frame["net"] == "plain") & (frame["seed"] == 1) & (frame["epoch"] == 2)
    frame.loc[bad, "val_accuracy"] = np.nan
    mean = lines_of(plots.training_curves(frame), COLOURS["plain"])[-1]
    np.testing.assert_array_equal(np.isnan(mean.get_ydata()), [False, True, False])


def test_epochs_to_threshold_draws_seeds_and_median():
    frame = results((0, 1, 2, 3))
    ax = plots.epochs_to_threshold(frame, threshold=0.75)
    plain, residual = dots_of(ax)
    np.testing.assert_allclose(plain[:, 1], [8, 9, 10, 11])
    np.testing.assert_allclose(residual[:, 1], [4, 5, 6, 7])
    assert len(np.unique(plain[:, 0])) == 4
    assert [segment[0][1] for segment in bars_of(ax)] == [9.5, 5.5]
    assert ax.get_title(loc="left") == "Epochs to 75\xa0%: plain 9.5; residual 5.5"
    assert "never" not in [label.get_text() for label in ax.get_yticklabels()]


@pytest.mark.parametrize(("missing", "median"), [(1, 9.5), (2, "never")])
def test_seeds_that_never_reached_it_count_as_latest(missing, median):
    frame = results((0, 1, 2, 3))
    frame.loc[4 - missing : 3, "epochs_to_threshold"] = np.nan
    ax = plots.epochs_to_threshold(frame, threshold=0.75)
    plain = dots_of(ax)[0]
    rows = dict(
        zip(
            [label.get_text() for label in ax.get_yticklabels()],
            ax.get_yticks(),
            strict=True,
        )
    )
    never = rows["never"]
    assert never > frame["epochs_to_threshold"].max()
    assert (plain[-missing:, 1] == never).all()
    drawn = bars_of(ax)[0][0][1]
    assert drawn == (never if median == "never" else median)
    assert f"plain\n{4 - missing} of 4 seeds reached it" in [
        label.get_text() for label in ax.get_xticklabels()
    ]


def test_no_seed_reached_it():
    frame = results().assign(epochs_to_threshold=np.nan)
    ax = plots.epochs_to_threshold(frame, threshold=0.99)
    assert len({y for dots in dots_of(ax) for y in dots[:, 1]}) == 1
    ax.figure.canvas.draw()
