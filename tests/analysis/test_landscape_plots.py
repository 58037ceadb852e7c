"""Figures of loss landscapes: what they draw, and what they refuse."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from keras_residual.analysis import LossLandscape, plots

pytestmark = pytest.mark.once

AT = np.linspace(-1, 1, 5)
# Twice as steep along the first direction, so that the axes can be told apart.
BOWL = LossLandscape(1 + 4 * AT[:, None] ** 2 + AT**2, AT)


def test_line():
    ax = plots.loss_landscape(LossLandscape(1 + AT**2, AT))
    line, cross = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), AT)
    np.testing.assert_array_equal(line.get_ydata(), 1 + AT**2)
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (0, 1)
    assert ax.get_yscale() == "linear"
    assert "(1 in the middle)" in ax.get_title(loc="left")


def test_line_over_decades_has_a_logarithmic_axis():
    ax = plots.loss_landscape(LossLandscape(10.0 ** (3 * AT), AT))
    assert ax.get_yscale() == "log"


def contour_reach(ax):
    """How far the outermost filled contour comes, along x and y."""
    filled = ax.collections[0]
    lowest = filled.get_paths()[0].vertices
    return np.abs(lowest).max(axis=0)


def test_first_direction_is_horizontal():
    across, down = contour_reach(plots.loss_landscape(BOWL))
    assert across < down


def test_limits_are_those_of_the_colours():
    ax = plots.loss_landscape(BOWL, limits=(0.5, 2.0))
    norm = ax.collections[0].norm
    assert (norm.vmin, norm.vmax) == (0.5, 2.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_losses_that_are_not_finite_are_left_out(bad):
    losses = BOWL.losses.copy()
    losses[0, 0] = bad
    ax = plots.loss_landscape(LossLandscape(losses, AT))
    assert ax.collections[0].norm.vmax == 6.0
    ax.figure.canvas.draw()


def test_surface_has_the_heights_of_the_losses():
    ax = plots.loss_surface(BOWL)
    np.testing.assert_allclose(ax.zz_dataLim.intervalx, [1.0, 6.0])
    assert ax.get_zlabel() == "loss"
    steep = plots.loss_surface(LossLandscape(10 ** (2 * BOWL.losses), AT))
    assert steep.get_zlabel() == "loss (powers of ten)"
    ax.figure.canvas.draw()


def test_given_axes_are_used():
    figure = plt.figure()
    flat, solid = figure.add_subplot(), figure.add_subplot(projection="3d")
    assert plots.loss_landscape(BOWL, flat) is flat
    assert plots.loss_surface(BOWL, solid) is solid
    with pytest.raises(ValueError, match='`ax` must be axes with projection="3d"'):
        plots.loss_surface(BOWL, flat)


def test_a_flat_landscape_can_be_drawn():
    flat = LossLandscape(np.ones((3, 3)), np.array([-1.0, 0, 1]))
    for draw in (plots.loss_landscape, plots.loss_surface):
        ax = draw(flat)
        ax.figure.canvas.draw()
        assert ax.has_data()


@pytest.mark.parametrize("draw", [plots.loss_landscape, plots.loss_surface])
def test_bad_data(draw):
    nothing = LossLandscape(np.full((3, 3), np.nan), np.array([-1.0, 0, 1]))
    with pytest.raises(ValueError, match="`landscape` must have a finite loss"):
        draw(nothing)
    with pytest.raises(ValueError, match="`limits` must be two losses, the lower one"):
        draw(BOWL, limits=(2.0, 1.0))


def test_a_line_is_no_surface():
    with pytest.raises(ValueError, match="`landscape` must have two dimensions"):
        plots.loss_surface(LossLandscape(AT**2, AT))
