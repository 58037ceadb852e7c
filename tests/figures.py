"""Tables for figures, and what a figure drew: shared by the tests of the plots."""

import re

import pandas as pd
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex

# t(0.975) with one degree of freedom, for intervals of two seeds (tables).
T1 = 12.706205
# Colours of Okabe and Ito (2008): vermillion and blue.
COLOURS = {"plain": "#D55E00", "residual": "#0072B2"}
APPROACHES = {
    "scratch": ("#D55E00", "o"),
    "frozen": ("#009E73", "D"),
    "fine-tuned": ("#0072B2", "^"),
}


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


def transfer(seeds=(0, 1), shares=(0.1, 1.0)):
    """Accuracy = base + 0.1 share + 0.01 seed; seconds = pace * share * 10 ** seed."""
    return pd.DataFrame(
        [
            (
                approach,
                share,
                round(600 * share),
                seed,
                base + 0.1 * share + 0.01 * seed,
                pace * share * 10.0**seed,
                parameters,
            )
            for approach, base, pace, parameters in (
                ("scratch", 0.6, 100, 160_000),
                ("frozen", 0.8, 20, 262_402),
                ("fine-tuned", 0.85, 60, 9_200_000),
            )
            for share in shares
            for seed in seeds
        ],
        columns=[
            "approach",
            "share",
            "images",
            "seed",
            "accuracy",
            "seconds",
            "trainable_parameters",
        ],
    )


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
    return re.sub(r"\s+", " ", note_text(ax).get_text())


def note_text(ax):
    (note,) = [text for text in ax.texts if text.get_gid() == "note"]
    return note


def texts_of(ax):
    """What is written among the data."""
    return [text for text in ax.texts if text is not note_text(ax)]


def robustness(seeds=(0, 1), shares=(0.0, 0.25)):
    """Accuracy = base - loss * share + 0.01 seed; the gap is 0.2, or 0.1."""
    return pd.DataFrame(
        [
            (net, seed, share, base - loss * share + 0.01 * seed, base + gap)
            for net, base, loss, gap in (
                ("plain", 0.6, 0.8, 0.2),
                ("residual", 0.7, 0.4, 0.1),
            )
            for seed in seeds
            for share in shares
        ],
        columns=["net", "seed", "erased_share", "accuracy", "train_accuracy"],
    )


def predictions(seeds=(0, 1)):
    """Ten images of each seed: five at 0.9 and five at 0.5, some of them right."""
    return pd.DataFrame(
        [
            (net, seed, image, 0.9 if image < 5 else 0.5, image % 5 < right - seed)
            for net, right in (("plain", 3), ("residual", 4))
            for seed in seeds
            for image in range(10)
        ],
        columns=["net", "seed", "image", "confidence", "correct"],
    )
