"""Figures of gradient norms, against hand-computed values."""

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figures import (
    COLOURS,
    T1,
    lines_of,
    norms,
    note_of,
    only,
)
from matplotlib.collections import QuadMesh

from keras_residual.analysis import plots

pytestmark = pytest.mark.once


def test_gradient_norm_by_depth_draws_geometric_means_of_thirds():
    frame = norms()
    # A tenth of a decade apart: at a whole one the interval is wider than all values.
    frame["norm"] *= 10.0 ** (-0.9 * frame["seed"])
    ax = plots.gradient_norm_by_depth(frame)
    assert ax.get_yscale() == "log"
    for net, shift in (("plain", 0), ("residual", 1)):
        lines = lines_of(ax, COLOURS[net])
        assert [line.get_linestyle() for line in lines] == [":", "--", "-"]
        for third, line in enumerate(lines):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            exponents = np.array([1, 2, 3]) + third + 0.05 - shift
            np.testing.assert_allclose(line.get_ydata(), 10.0**exponents)
    band = ax.collections[0].get_paths()[0].vertices
    at_first = np.log10(band[band[:, 0] == 1][:, 1])
    assert at_first.max() == pytest.approx(1.05 + T1 * 0.05)
    legend = {
        text.get_text(): line.get_linestyle()
        for text, line in zip(
            ax.get_legend().get_texts(), ax.get_legend().get_lines(), strict=True
        )
    }
    assert legend["early: steps 0 to 1"] == ":"
    assert legend["late: steps 4 to 5"] == "-"
    # The lines set the scale, not the band of two seeds.
    assert np.log10(ax.get_ylim()) == pytest.approx([0.05 - 0.3, 5.05 + 0.3])


def test_gradient_norm_by_depth_of_one_step_draws_one_line():
    ax = plots.gradient_norm_by_depth(norms(seeds=[0], steps=[0]))
    assert len(ax.lines) == 2
    assert "early" not in str(ax.get_legend().get_texts())


def test_gradient_norm_by_depth_of_three_steps_names_each():
    ax = plots.gradient_norm_by_depth(norms(steps=[0, 2, 5]))
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[2:] == ["early: step 0", "middle: step 2", "late: step 5"]


@pytest.mark.parametrize("nothing", [0.0, np.nan, np.inf])
def test_norms_without_a_logarithm_are_left_out_and_counted(nothing):
    frame = norms(seeds=[0])
    frame.loc[(frame["depth"] == 2) & (frame["net"] == "plain"), "norm"] = nothing
    frame.loc[(frame["depth"] == 1) & (frame["step"] == 0), "norm"] = nothing
    ax = plots.gradient_norm_by_depth(frame)
    early = lines_of(ax, COLOURS["plain"])[0].get_ydata()
    np.testing.assert_allclose(early, [10, np.nan, 1000])
    assert "8 of 36 norms left out: zero or not finite" in note_of(ax)
    assert all(map(math.isfinite, ax.get_ylim()))
    ax.figure.canvas.draw()


@pytest.mark.parametrize("nothing", [0.0, np.nan])
@pytest.mark.parametrize(
    "draw", [plots.gradient_norm_by_depth, plots.gradient_norm_heatmap]
)
def test_no_usable_norm_at_all_is_drawn_as_nothing(draw, nothing):
    ax = draw(only(norms(), "plain").assign(norm=nothing))
    assert "36 of 36 norms left out" in note_of(ax)
    ax.figure.canvas.draw()


def test_seeds_that_differ_by_a_hundred_decades_can_be_drawn():
    frame = norms()
    frame.loc[frame["seed"] == 1, "norm"] = 1e-100
    ax = plots.gradient_norm_by_depth(frame)
    ax.figure.canvas.draw()
    assert all(map(math.isfinite, ax.get_ylim()))


def test_heatmap_cells_are_geometric_means_over_seeds():
    frame = only(norms(steps=[0, 2, 10]), "residual").sample(frac=1, random_state=0)
    ax = plots.gradient_norm_heatmap(frame)
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    third = np.array([0, 1, 5])
    depth = np.array([[1], [2], [3]])
    np.testing.assert_allclose(mesh.get_array(), 10.0 ** (depth + third + 0.5 - 1))
    # Borders half-way between the recorded steps, also where they are uneven.
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [-1, 1, 6, 14])
    np.testing.assert_allclose(corners[:, 0, 1], [0.5, 1.5, 2.5, 3.5])
    assert mesh.get_clim() == pytest.approx((10**0.5, 10**7.5))
    assert isinstance(mesh.norm, mpl.colors.LogNorm)
    assert "geometric mean over 2 seeds" in note_of(ax)
    title = "The gradient toward the input: residual shrinks 10-fold"
    assert " ".join(ax.get_title(loc="left").split()) == title


def test_heatmap_limits_make_two_nets_comparable():
    ax = plots.gradient_norm_heatmap(only(norms(), "plain"), limits=(1e-3, 1e9))
    assert ax.collections[0].get_clim() == (1e-3, 1e9)


def test_heatmap_masks_cells_without_a_norm():
    frame = only(norms(seeds=[0]), "plain")
    frame.loc[(frame["depth"] == 1) & (frame["step"] == 3), "norm"] = 0.0
    cells = plots.gradient_norm_heatmap(frame).collections[0].get_array()
    assert np.argwhere(np.ma.getmaskarray(cells)).tolist() == [[0, 3]]


def test_heatmap_of_a_single_cell():
    ax = plots.gradient_norm_heatmap(only(norms([0], [0], [1]), "plain"))
    low, high = ax.collections[0].get_clim()
    assert low < 10 < high
    ax.figure.canvas.draw()


def test_kinds_of_variables_are_not_mixed():
    both = pd.concat([norms(), norms().assign(kind="bias")])
    with pytest.raises(ValueError, match="select one value of kind"):
        plots.gradient_norm_by_depth(both)


def test_heatmap_refuses_two_nets_and_bad_limits():
    with pytest.raises(ValueError, match=r"one net.* net \['plain', 'residual'\]"):
        plots.gradient_norm_heatmap(norms())
    for limits in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="`limits` must"):
            plots.gradient_norm_heatmap(only(norms(), "plain"), limits=limits)


def test_the_title_says_how_the_gradient_goes_to_the_input():
    """By hand: 8 / 2 = 4; 0.1 / 0.2 is half; of three depths the first is left out."""
    norms = {
        "plain": [1.0, 8.0, 5.0, 2.0],
        "residual": [1.0, 0.1, 5.0, 0.2],
        "dead": [np.nan, 0.0, 5.0, 1.0],
        "even": [1.0, 2.01, 5.0, 2.0],
        "steep": [1.0, 3e7, 5.0, 1.0],
    }
    rows = [
        (net, 0, 0, depth, norm)
        for net, values in norms.items()
        for depth, norm in enumerate(values, start=1)
    ]
    frame = pd.DataFrame(rows, columns=["net", "seed", "step", "depth", "norm"])
    ax = plots.gradient_norm_by_depth(frame, styles=dict.fromkeys(norms, ("C0", "o")))
    assert " ".join(ax.get_title(loc="left").split()) == (
        "The gradient toward the input: plain grows 4-fold; residual shrinks 2-fold; "
        "dead has no value; even stays level; steep grows 10^7-fold"
    )
    two = frame[(frame["net"] == "plain") & (frame["depth"] < 3)]
    ax = plots.gradient_norm_heatmap(two)
    assert "plain shrinks 8-fold" in " ".join(ax.get_title(loc="left").split())
