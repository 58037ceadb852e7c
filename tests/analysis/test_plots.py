"""Figures: the drawn data against hand-computed values, and that all can be read."""

import io
import math
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.text import Text

from keras_residual.analysis import plots

# t(0.975) with one degree of freedom, for intervals of two seeds (tables).
T1 = 12.706205


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def history(seeds=(0, 1), epochs=(1, 2, 3)):
    return pd.DataFrame(
        [
            (net, seed, epoch, base + 0.1 * epoch + 0.02 * seed, 2 - 0.1 * epoch)
            for net, base in (("plain", 0.2), ("residual", 0.4))
            for seed in seeds
            for epoch in epochs
        ],
        columns=["net", "seed", "epoch", "val_accuracy", "loss"],
    ).assign(blocks=10, batch_norm="on")


def results(seeds=(0, 1, 2)):
    return pd.DataFrame(
        [
            (net, seed, base + 0.01 * seed**power, first + seed)
            for net, base, power, first in (
                ("plain", 0.7, 1, 8),
                ("residual", 0.8, 2, 4),
            )
            for seed in seeds
        ],
        columns=["net", "seed", "accuracy", "epochs_to_threshold"],
    ).assign(blocks=10, batch_norm="on")


def norms(seeds=(0, 1), steps=range(6), depths=(1, 2, 3)):
    """Norm = 10 ** (depth + third of training + seed), a tenth for the residual net."""
    return pd.DataFrame(
        [
            (net, seed, step, depth, 10.0 ** (depth + step // 2 + seed - shift))
            for net, shift in (("plain", 0), ("residual", 1))
            for seed in seeds
            for step in steps
            for depth in depths
        ],
        columns=["net", "seed", "step", "depth", "norm"],
    ).assign(blocks=10, batch_norm="on", kind="kernel")


def only(frame, net):
    return frame[frame["net"] == net]


def lines_of(ax, colour):
    return [line for line in ax.lines if to_hex(line.get_color()) == colour.lower()]


def dots_of(ax):
    return [c.get_offsets().data for c in ax.collections if type(c) is PathCollection]


def bars_of(ax):
    """The interval of each error bar, as (start, end) of its line."""
    return [
        segment
        for c in ax.collections
        if isinstance(c, LineCollection)
        for segment in c.get_segments()
    ]


def note_of(ax):
    """The line above the figure that says what is drawn, without its line breaks."""
    return re.sub(r"\s+", " ", ax.texts[0].get_text())


DRAW = {
    "training_curves": (plots.training_curves, history),
    "accuracy_by_seed": (plots.accuracy_by_seed, results),
    "paired_difference": (plots.paired_difference, results),
    "gradient_norm_by_depth": (plots.gradient_norm_by_depth, norms),
    "gradient_norm_heatmap": (
        plots.gradient_norm_heatmap,
        lambda *a: only(norms(*a), "plain"),
    ),
    "epochs_to_threshold": (
        lambda frame, ax=None: plots.epochs_to_threshold(frame, 0.7, ax=ax),
        results,
    ),
    "degradation": (plots.degradation, results),
}
each_figure = pytest.mark.parametrize(("draw", "data"), DRAW.values(), ids=DRAW)


def test_training_curves_draw_mean_band_and_seeds():
    ax = plots.training_curves(history())
    for net, base in (("plain", 0.2), ("residual", 0.4)):
        *seeds, mean = lines_of(ax, plots.COLOURS[net])
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
    assert ax.get_ylabel() == "validation accuracy (share of images)"


def test_training_curves_of_another_metric():
    ax = plots.training_curves(history(), "loss")
    mean = lines_of(ax, plots.COLOURS["plain"])[-1]
    np.testing.assert_allclose(mean.get_ydata(), [1.9, 1.8, 1.7])
    assert ax.get_ylabel() == "training loss (mean per image)"


def test_a_diverged_seed_leaves_a_gap_in_the_mean():
    frame = history()
    bad = (frame["net"] == "plain") & (frame["seed"] == 1) & (frame["epoch"] == 2)
    frame.loc[bad, "val_accuracy"] = np.nan
    mean = lines_of(plots.training_curves(frame), plots.COLOURS["plain"])[-1]
    np.testing.assert_array_equal(np.isnan(mean.get_ydata()), [False, True, False])


def test_accuracy_by_seed_draws_dots_lines_and_intervals():
    ax = plots.accuracy_by_seed(results((0, 2)).sample(frac=1, random_state=0))
    plain, residual = dots_of(ax)
    np.testing.assert_allclose(plain, [[0, 0.70], [0, 0.72]])
    np.testing.assert_allclose(residual, [[1, 0.80], [1, 0.84]])
    joined = [line.get_ydata() for line in ax.lines[:2]]
    np.testing.assert_allclose(joined, [[0.70, 0.80], [0.72, 0.84]])
    (_, low), (_, high) = bars_of(ax)[0]
    assert (low, high) == pytest.approx((0.71 - T1 * 0.01, 0.71 + T1 * 0.01))
    ticks = [label.get_text() for label in ax.get_xticklabels()]
    assert ticks == ["plain\nn = 2 seeds", "residual\nn = 2 seeds"]
    assert "mean and its 95 % t interval" in note_of(ax)


def test_paired_difference_is_by_seed():
    ax = plots.paired_difference(results().sample(frac=1, random_state=1))
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
    assert "mean +0.107" in note_of(ax)
    assert "sign-flip p = 0.25" in note_of(ax)
    assert ax.get_xlabel() == "final accuracy (share of images): residual minus plain"


def test_paired_difference_the_other_way_round():
    ax = plots.paired_difference(results(), treatment="plain", control="residual")
    np.testing.assert_allclose(dots_of(ax)[0][:, 0], [-0.10, -0.10, -0.12])


def test_paired_difference_says_what_it_leaves_out():
    frame = results()
    frame.loc[0, "epochs_to_threshold"] = np.nan  # seed 0 of the plain net
    ax = plots.paired_difference(frame, "epochs_to_threshold")
    np.testing.assert_allclose(dots_of(ax)[0], [[-4, 1], [-4, 2]])
    assert "1 of 3 seeds have no value" in note_of(ax)
    frame["epochs_to_threshold"] = np.nan
    ax = plots.paired_difference(frame, "epochs_to_threshold")
    assert dots_of(ax) == []
    assert "3 of 3 seeds have no value" in note_of(ax)


def test_gradient_norm_by_depth_draws_geometric_means_of_thirds():
    ax = plots.gradient_norm_by_depth(norms())
    assert ax.get_yscale() == "log"
    for net, shift in (("plain", 0), ("residual", 1)):
        lines = lines_of(ax, plots.COLOURS[net])
        assert [line.get_linestyle() for line in lines] == [":", "--", "-"]
        for third, line in enumerate(lines):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            # The seeds are a factor of 10 apart: geometric mean at half a decade.
            exponents = np.array([1, 2, 3]) + third + 0.5 - shift
            np.testing.assert_allclose(line.get_ydata(), 10.0**exponents)
    band = ax.collections[0].get_paths()[0].vertices
    at_first = np.log10(band[band[:, 0] == 1][:, 1])
    assert at_first.max() == pytest.approx(1.5 + T1 * 0.5)
    assert "early (dotted): steps 0 to 1" in note_of(ax)
    assert "late (solid): steps 4 to 5" in note_of(ax)
    # The lines set the scale, not the band of two seeds.
    assert np.log10(ax.get_ylim()) == pytest.approx([0.5 - 0.3, 5.5 + 0.3])


def test_gradient_norm_by_depth_of_one_step_draws_one_line():
    ax = plots.gradient_norm_by_depth(norms(steps=[0]))
    assert len(ax.lines) == 2
    assert "early" not in note_of(ax)


@pytest.mark.parametrize("nothing", [0.0, np.nan, np.inf])
def test_norms_without_a_logarithm_are_left_out_and_counted(nothing):
    frame = norms(seeds=[0])
    frame.loc[(frame["depth"] == 2) & (frame["net"] == "plain"), "norm"] = nothing
    frame.loc[(frame["depth"] == 1) & (frame["step"] == 0), "norm"] = nothing
    ax = plots.gradient_norm_by_depth(frame)
    early = lines_of(ax, plots.COLOURS["plain"])[0].get_ydata()
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
    plots.gradient_norm_by_depth(frame).figure.canvas.draw()


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
    assert ax.get_title(loc="left") == "Gradient norm of the residual net"


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


def test_epochs_to_threshold_draws_seeds_and_median():
    frame = results((0, 1, 2, 3))
    ax = plots.epochs_to_threshold(frame, threshold=0.75)
    plain, residual = dots_of(ax)
    np.testing.assert_allclose(plain[:, 1], [8, 9, 10, 11])
    np.testing.assert_allclose(residual[:, 1], [4, 5, 6, 7])
    assert len(np.unique(plain[:, 0])) == 4
    assert [segment[0][1] for segment in bars_of(ax)] == [9.5, 5.5]
    assert ax.get_ylabel() == "epochs to accuracy 0.75"
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


@each_figure
def test_axes_that_are_given_are_used_and_returned(draw, data):
    figure, axes = plt.subplots(1, 2)
    assert draw(data(), ax=axes[1]) is axes[1]
    assert not axes[0].has_data()
    assert plt.get_fignums() == [figure.number]


@each_figure
def test_nothing_global_changes(draw, data, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("plt.show was called"))
    frame = data()
    before = frame.copy(), dict(mpl.rcParams), mpl.get_backend()
    draw(frame)
    pd.testing.assert_frame_equal(frame, before[0])
    assert dict(mpl.rcParams) == before[1]
    assert mpl.get_backend() == before[2]


@each_figure
@pytest.mark.parametrize("seeds", [(0,), (0, 1), tuple(range(12))])
def test_everything_can_be_read_at_1200_pixels(draw, data, seeds):
    figure = draw(data(seeds)).figure
    figure.canvas.draw()
    assert figure.canvas.get_width_height() == (1200, 750)
    renderer, canvas = figure.canvas.get_renderer(), figure.bbox
    for text in figure.findobj(lambda artist: isinstance(artist, Text)):
        if text.get_visible() and text.get_text().strip() and is_drawn(text):
            box = text.get_window_extent(renderer)
            assert text.get_fontsize() >= 9
            assert canvas.x0 <= box.x0
            assert box.x1 <= canvas.x1, text.get_text()
            assert canvas.y0 <= box.y0
            assert box.y1 <= canvas.y1


def is_drawn(text):
    """Tick labels outside the limits exist, but are not drawn."""
    return not any(
        text in (tick.label1, tick.label2)
        for ax in text.figure.axes
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(limits) <= tick.get_loc() <= max(limits)
    )


@each_figure
def test_the_note_stays_over_its_own_axes(draw, data):
    _, axes = plt.subplots(1, 2, figsize=(16, 5), layout="constrained")
    for ax in axes:
        draw(data(), ax=ax)
    axes[0].figure.canvas.draw()
    renderer = axes[0].figure.canvas.get_renderer()
    note, neighbour = axes[0].texts[0], axes[1].texts[0]
    right = note.get_window_extent(renderer).x1
    assert right < neighbour.get_window_extent(renderer).x0


@each_figure
def test_same_data_give_the_same_picture(draw, data):
    pictures = []
    for order in (0, 1):
        frame = data().sample(frac=1, random_state=order)
        target = io.BytesIO()
        draw(frame).figure.savefig(target, format="png")
        pictures.append(target.getvalue())
    assert pictures[0] == pictures[1]


@each_figure
def test_one_seed_is_drawn_without_an_interval(draw, data):
    figure = draw(data((4,))).figure
    figure.canvas.draw()
    for segment in bars_of(figure.axes[0]):
        # An error bar has no points at all; a median bar is level.
        assert len(segment) == 0 or segment[0][1] == segment[1][1]


def test_colours_differ_for_the_colour_blind():
    # Two colours of Okabe and Ito (2008): vermillion and blue.
    assert plots.COLOURS == {"plain": "#D55E00", "residual": "#0072B2"}


NEEDED = {
    "training_curves": ["net", "seed", "epoch", "val_accuracy"],
    "accuracy_by_seed": ["net", "seed", "accuracy"],
    "paired_difference": ["net", "seed", "accuracy"],
    "gradient_norm_by_depth": ["net", "seed", "step", "depth", "norm"],
    "gradient_norm_heatmap": ["net", "seed", "step", "depth", "norm"],
    "epochs_to_threshold": ["net", "seed", "epochs_to_threshold"],
    "degradation": ["net", "blocks", "seed", "accuracy"],
}


@pytest.mark.parametrize(
    ("name", "column"),
    [(name, column) for name, columns in NEEDED.items() for column in columns],
)
def test_a_missing_column_is_named(name, column):
    draw, data = DRAW[name]
    with pytest.raises(ValueError, match=rf"must have .* missing: \['{column}'\]"):
        draw(data().drop(columns=column))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", NEEDED)
def test_no_other_column_is_needed(name):
    draw, data = DRAW[name]
    draw(data()[NEEDED[name]])


@each_figure
def test_mixed_conditions_are_refused(draw, data):
    both = pd.concat([data(), data().assign(batch_norm="off")])
    with pytest.raises(ValueError, match=r"one condition: select one .* batch_norm"):
        draw(both)


@each_figure
def test_repeated_rows_are_refused(draw, data):
    frame = data()
    with pytest.raises(ValueError, match=r"must have one row for each .* 1 repeated"):
        draw(pd.concat([frame, frame.iloc[:1]]))


@each_figure
def test_unknown_nets_are_refused(draw, data):
    with pytest.raises(ValueError, match=r"Received: \['other'\]"):
        draw(data().assign(net="other"))


@each_figure
def test_empty_frames_are_refused(draw, data):
    with pytest.raises(ValueError, match="must have rows"):
        draw(data().iloc[:0])


def test_kinds_of_variables_are_not_mixed():
    both = pd.concat([norms(), norms().assign(kind="bias")])
    with pytest.raises(ValueError, match="select one value of kind"):
        plots.gradient_norm_by_depth(both)


def test_heatmap_refuses_two_nets_and_bad_limits():
    with pytest.raises(ValueError, match=r"one net.*\['plain', 'residual'\]"):
        plots.gradient_norm_heatmap(norms())
    for limits in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="`limits` must"):
            plots.gradient_norm_heatmap(only(norms(), "plain"), limits=limits)


def test_paired_difference_refuses_a_net_without_results():
    with pytest.raises(ValueError, match=r"`control` must .* control='plain'"):
        plots.paired_difference(only(results(), "residual"))
