"""What all reports say in the same words."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from keras_residual.analysis import InputGradients, plots
from keras_residual.experiments import RefusedError
from keras_residual.experiments.figures import panel
from keras_residual.experiments.reporting import in_percent
from keras_residual.experiments.tasks import refusing

pytestmark = pytest.mark.once


def test_no_line_of_a_title_ends_before_percent():
    draw = panel(
        plots.confusion_matrix, np.eye(2, dtype=int), "ab", finding="97 % " * 40
    )
    lines = draw(ax=plt.figure().gca()).get_title(loc="left").split("\n")
    assert len(lines) > 2
    assert all(line.endswith("97\xa0%") for line in lines)


def test_a_legend_is_below_a_label_of_two_lines():
    gradients = {"plain": InputGradients(np.ones(2), np.arange(2))}
    ax = panel(plots.input_gradients, gradients)(ax=plt.figure(figsize=(3, 4)).gca())
    ax.figure.canvas.draw()
    assert "\n" in ax.get_xlabel()
    label, legend = ax.xaxis.label.get_window_extent(), ax.get_legend()
    assert legend.get_window_extent().y1 <= label.y0


def test_shares_in_words():
    assert in_percent(pd.Series([0.5, np.nan])) == "50.0"
    assert in_percent(pd.Series([np.nan])) == "n/a"
    # By hand: 0.6 +- 12.706 * 0.1414 / sqrt(2).
    assert in_percent(pd.Series([0.5, 0.7])) == "60.0 (-67.1 to 187.1)"


def test_errors_of_readers_are_refusals_of_one_line():
    with pytest.raises(RefusedError, match=r"^no such set$"), refusing():
        raise ValueError("no such set\nand a second line")
    with pytest.raises(KeyError), refusing():
        raise KeyError("a mistake of ours")
