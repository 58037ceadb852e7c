import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_residual.analysis import plots
from keras_residual.models.transfer._learning_rate_range import LearningRateRange

pytestmark = pytest.mark.once


def measured(suggestion=1e-3):
    rates = np.geomspace(1e-5, 1.0, 20)
    losses = np.linspace(2.0, 1.0, 20)
    losses[-1] = 1e6  # training diverged
    return LearningRateRange(rates, losses, losses * 0.5, suggestion)


def test_lines_are_the_losses():
    found = measured()
    _, ax = plt.subplots()
    assert plots.learning_rate_range(found, ax=ax) is ax
    assert ax.get_xscale() == "log"
    batch, smoothed, suggestion = ax.get_lines()
    np.testing.assert_array_equal(batch.get_xdata(), found.rates)
    np.testing.assert_array_equal(batch.get_ydata(), found.losses)
    np.testing.assert_array_equal(smoothed.get_ydata(), found.smoothed_losses)
    assert set(suggestion.get_xdata()) == {1e-3}
    assert ax.get_xlabel() == "learning rate"
    assert 2.0 < ax.get_ylim()[1] < 4.0  # what diverged does not flatten the rest


def test_no_suggestion_and_no_loss():
    assert len(plots.learning_rate_range(measured(None)).get_lines()) == 2
    nothing = LearningRateRange(*[np.zeros(0)] * 3, None)
    with pytest.raises(ValueError, match="`found` must hold losses"):
        plots.learning_rate_range(nothing)
