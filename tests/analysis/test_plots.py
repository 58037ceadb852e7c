"""What all figures of tables have in common, and that all can be read."""

import functools
import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from figures import (
    bars_of,
    history,
    norms,
    note_of,
    note_text,
    only,
    predictions,
    results,
    robustness,
    transfer,
)
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex, to_rgb
from matplotlib.text import Text

from keras_residual.analysis import plots

pytestmark = pytest.mark.once

DRAW = {
    "training_curves": (plots.training_curves, history),
    "accuracy_by_seed": (plots.accuracy_by_seed, results),
    "paired_difference": (
        functools.partial(
            plots.paired_difference, treatment="residual", control="plain"
        ),
        results,
    ),
    "gradient_norm_by_depth": (plots.gradient_norm_by_depth, norms),
    "gradient_norm_heatmap": (
        plots.gradient_norm_heatmap,
        lambda *a: only(norms(*a), "plain"),
    ),
    "epochs_to_threshold": (
        functools.partial(plots.epochs_to_threshold, threshold=0.7),
        results,
    ),
    "degradation": (plots.degradation, results),
    "generalization_gap": (
        plots.generalization_gap,
        lambda *a: robustness(*a, shares=[0.0]),
    ),
    "accuracy_by_occlusion": (plots.accuracy_by_occlusion, robustness),
    "reliability_diagram": (plots.reliability_diagram, predictions),
}
TRANSFER = {
    "training_curves by approach": (
        functools.partial(plots.training_curves, by="approach"),
        lambda *a: history(*a).rename(columns={"net": "approach"}),
    ),
    "accuracy_by_seed by approach": (
        functools.partial(plots.accuracy_by_seed, by="approach"),
        lambda *a: transfer(*a, shares=[1.0]),
    ),
    "paired_difference by approach": (
        functools.partial(
            plots.paired_difference,
            treatment="frozen",
            control="scratch",
            by="approach",
        ),
        lambda *a: transfer(*a, shares=[1.0]),
    ),
    "accuracy_by_images": (plots.accuracy_by_images, transfer),
    "accuracy_by_time": (plots.accuracy_by_time, transfer),
}
# It takes repeated rows, and of any condition.
PARAMETERS = {"trainable_parameters": (plots.trainable_parameters, transfer)}
ALL = DRAW | TRANSFER | PARAMETERS
each_table = pytest.mark.parametrize(
    ("draw", "data"), (DRAW | TRANSFER).values(), ids=DRAW | TRANSFER
)
each_figure = pytest.mark.parametrize(("draw", "data"), ALL.values(), ids=ALL)


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
@pytest.mark.parametrize(
    "seeds",
    [
        *[pytest.param(seeds, marks=pytest.mark.slow) for seeds in ((0,), (0, 1))],
        tuple(range(12)),
    ],
)
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


def colours_of(ax):
    """Colours of the groups, in the order in which they were drawn."""
    found = [
        *(line.get_color() for line in ax.lines),
        *(c.get_facecolor()[0] for c in ax.collections if len(c.get_facecolor())),
    ]
    hexadecimal = [to_hex(colour) for colour in found if not grey(to_rgb(colour))]
    return list(dict.fromkeys(hexadecimal))


def grey(rgb):
    return max(rgb) == min(rgb) and rgb[0] > 0.1


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
    note, neighbour = map(note_text, axes)
    right = note.get_window_extent(renderer).x1
    assert right < neighbour.get_window_extent(renderer).x0


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        # Means and seeds; with three parts of the training each.
        *(("training_curves", 6), ("gradient_norm_by_depth", 18)),
        *(("accuracy_by_seed", None), ("paired_difference", None)),
        *(("degradation", 6), ("accuracy_by_images", 9)),
    ],
)
def test_single_seeds_replace_an_interval_that_is_wider_than_all_values(name, lines):
    draw, data = ALL[name]
    ax = draw(data((0, 9)))
    assert bars_of(ax) == []
    assert not any(isinstance(band, PolyCollection) for band in ax.collections)
    note = note_of(ax)
    if name == "paired_difference":  # which is a dot for each seed anyway
        assert note.startswith("square: mean")
    else:
        assert "with so few seeds they are wider than all values" in note
    if lines:
        assert len([line for line in ax.lines if len(line.get_xdata())]) == lines


GROUPED = {
    name: (draw, data)
    for name, (draw, data) in ALL.items()
    if name.split(" ")[0] not in ("paired_difference", "gradient_norm_heatmap")
}


@pytest.mark.parametrize(("draw", "data"), GROUPED.values(), ids=GROUPED)
def test_groups_of_any_name_take_colours_by_name(draw, data):
    frame = data()
    column = "net" if "net" in frame else "approach"
    frame[column] = frame[column].map(
        dict(zip(frame[column].unique(), "cab", strict=False))
    )
    expected = sorted(frame[column].unique())
    # Okabe and Ito (2008): vermillion, blue, green.
    assert colours_of(draw(frame)) == ["#d55e00", "#0072b2", "#009e73"][: len(expected)]
    styles = {"b": ("#111111", "x"), "d": ("#222222", "+"), "a": ("#0072B2", "^")}
    order = [name for name in "bac" if name in expected]
    colours = {"b": "#111111", "a": "#0072b2", "c": "#d55e00"}
    drawn = colours_of(draw(frame, styles=styles))
    assert drawn == [colours[name] for name in order]


def test_paired_difference_takes_any_names():
    frame = results().replace({"net": {"plain": "vgg", "residual": "mine"}})
    ax = plots.paired_difference(
        frame, treatment="mine", control="vgg", label="accuracy in 2020"
    )
    assert ax.get_xlabel() == "accuracy in 2020: mine minus vgg"
    heat = norms().replace({"net": {"plain": "vgg"}}).rename(columns={"net": "model"})
    ax = plots.gradient_norm_heatmap(heat[heat["model"] == "vgg"], by="model")
    title = " ".join(ax.get_title(loc="left").split())
    assert title == "The gradient toward the input: vgg shrinks 10-fold"


NEEDED = {
    "training_curves": ["net", "seed", "epoch", "val_accuracy"],
    "accuracy_by_seed": ["net", "seed", "accuracy"],
    "paired_difference": ["net", "seed", "accuracy"],
    "gradient_norm_by_depth": ["net", "seed", "step", "depth", "norm"],
    "gradient_norm_heatmap": ["net", "seed", "step", "depth", "norm"],
    "epochs_to_threshold": ["net", "seed", "epochs_to_threshold"],
    "degradation": ["net", "blocks", "seed", "accuracy"],
    "generalization_gap": ["net", "seed", "train_accuracy", "accuracy"],
    "accuracy_by_occlusion": ["net", "seed", "erased_share", "accuracy"],
    "reliability_diagram": ["net", "seed", "image", "confidence", "correct"],
    "accuracy_by_images": ["approach", "images", "seed", "accuracy"],
    "accuracy_by_time": ["approach", "share", "seed", "accuracy", "seconds"],
    "trainable_parameters": ["approach", "trainable_parameters"],
}


@pytest.mark.parametrize(
    ("name", "column"),
    [(name, column) for name, columns in NEEDED.items() for column in columns],
)
def test_a_missing_column_is_named(name, column):
    draw, data = ALL[name]
    with pytest.raises(ValueError, match=rf"must have .* missing: \['{column}'\]"):
        draw(data().drop(columns=column))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", NEEDED)
def test_no_other_column_is_needed(name):
    draw, data = ALL[name]
    assert draw(data()[NEEDED[name]]).has_data()


@each_table
def test_mixed_conditions_are_refused(draw, data):
    both = pd.concat([data().assign(batch_norm=mode) for mode in ("on", "off")])
    with pytest.raises(ValueError, match=r"one row .*; select one value of batch_norm"):
        draw(both)


@each_table
def test_repeated_rows_are_refused(draw, data):
    frame = data()
    with pytest.raises(
        ValueError, match=r"must have one row for each .* Received: 2 rows"
    ):
        draw(pd.concat([frame, frame.iloc[:1]]))


@each_figure
def test_empty_frames_are_refused(draw, data):
    with pytest.raises(ValueError, match="must have rows"):
        draw(data().iloc[:0])
