"""Measures gradients of new networks over depth, and draws and tabulates them.

    python docs/figures/initialization.py measure cifar10 --data-dir FOLDER
    python docs/figures/initialization.py draw

`measure` takes one network after the other and adds a row to the CSV file, so that it
goes on where it was stopped: about 20 minutes on two CPU cores. `draw` writes the
figures and the tables of the page; the tests fail where page and data differ. Needs
the extra `experiments`.
"""

import itertools
import platform
from pathlib import Path

import numpy as np
import pandas as pd
from _pages import fill_part, run_script

from keras_residual.analysis.statistics import mean_interval

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "docs/results/initialization/norms.csv"
PAGES = (
    *("docs/results/initialization.md", "docs/introduction.md"),
    *("README.md", "docs/index.md"),
)
NETS = ("plain", "residual")
# Batch normalization makes the scale of the initial kernels irrelevant.
CONDITIONS = {
    "batch_norm": "batch normalization",
    "he_normal": "no normalization, He initialization",
    "glorot_uniform": "no normalization, Glorot initialization",
}
BLOCKS = (2, 5, 10, 20, 27, 50)
SEEDS = range(10)
WIDTH, BATCH, SHOWN = 16, 64, 27
YANG = 1.211  # Yang et al. 2019: per layer of a plain network, toward the input


def build_network(net, condition, blocks):
    """As in simulation 4: a stem of stride 2, blocks of constant width, a classifier.

    Every shortcut is an identity.
    """
    import keras

    from keras_residual import PlainBlock, ResidualBlock

    block = {"plain": PlainBlock, "residual": ResidualBlock}[net]
    normalized = condition == "batch_norm"
    initializer = "he_normal" if normalized else condition
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(
        WIDTH,
        3,
        strides=2,
        padding="same",
        kernel_initializer=initializer,
        name="stem",
    )(inputs)
    if normalized:
        x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    for number in range(blocks):
        x = block(
            WIDTH,
            use_batch_norm=normalized,
            kernel_initializer=initializer,
            name=f"block{number + 1:02d}",
        )(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def measure(source, data_dir):
    import keras

    from keras_residual import gradient_norms
    from keras_residual.datasets import load_images

    images, labels, _ = load_images(source, data_dir=data_dir)
    images = images.astype("float32")
    scale = images.mean((0, 1, 2)), images.std((0, 1, 2))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    keys = ["net", "condition", "blocks", "seed"]
    done = set()
    if DATA.exists():
        done = set(pd.read_csv(DATA)[keys].itertuples(index=False, name=None))
    # Both nets of a seed see the same images and have the same initial weights.
    for blocks, seed, condition, net in itertools.product(
        BLOCKS, SEEDS, CONDITIONS, NETS
    ):
        if (net, condition, blocks, seed) in done:
            continue
        chosen = np.random.default_rng(seed).choice(len(images), BATCH, replace=False)
        batch = (images[chosen] - scale[0]) / scale[1]
        keras.utils.clear_session()
        keras.utils.set_random_seed(seed)
        model = build_network(net, condition, blocks)
        norms = gradient_norms(model, batch, labels[chosen], loss=loss)
        row = {"net": net, "condition": condition, "blocks": blocks, "seed": seed}
        # Each convolution's kernel, and its shift: the bias, or the beta of its
        # normalization, whose gradient is that of the activations.
        for kind, ending in (("kernels", "/kernel"), ("shifts", ("/beta", "/bias"))):
            values = [
                norm
                for name, norm in norms.items()
                if name.startswith("block") and name.endswith(ending)
            ]
            assert len(values) == 2 * blocks
            row[kind] = " ".join(f"{value:.4g}" for value in values)
        row |= {"backend": keras.backend.backend(), "keras": keras.__version__}
        row["machine"] = platform.machine()
        pd.DataFrame([row]).to_csv(
            DATA, mode="a", header=not DATA.exists(), index=False
        )
        print(*row.values(), sep=", ", flush=True)


def read():
    """The rows, with the norms as arrays in forward order."""
    data = pd.read_csv(DATA)
    for kind in ("kernels", "shifts"):
        data[kind] = [np.array(text.split(), float) for text in data[kind]]
    return data


def mean_and_interval(values):
    """Geometric mean over the seeds, and its 95 % t interval."""
    return np.exp(mean_interval(np.log(values)))


def by_block(data):
    """The gradient that arrives at the first convolution of each block.

    It is the norm of the shift, which does not contain the layer's input. A second
    convolution stands before the sum, and receives what the shortcuts carry.
    """
    return np.stack([norms[::2] for norms in data["shifts"]])


def growth(data):
    """First block's norm over the last one's, for each seed."""
    norms = by_block(data)
    return norms[:, 0] / norms[:, -1]


def select(data, net, condition, blocks):
    """The rows of one network, one for each seed."""
    return data[
        (data["net"] == net)
        & (data["condition"] == condition)
        & (data["blocks"] == blocks)
    ]


def number(value):
    """Two digits, with the zeros of a large number."""
    if value >= 1e5 or value < 1e-2:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa} x 10<sup>{int(exponent)}</sup>"
    return f"{float(f'{value:.2g}'):,g}"


def cell(values, digits=None):
    middle, low, high = (
        format(value, digits) if digits else number(value)
        for value in mean_and_interval(values)
    )
    return f"{middle} ({low} to {high})"


def with_normalization(data):
    lines = [
        "| blocks | plain | per block | theory | residual | theory |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for blocks in BLOCKS:
        plain, residual = (
            growth(select(data, net, "batch_norm", blocks)) for net in NETS
        )
        lines.append(
            f"| {blocks} | {cell(plain)} | {cell(plain ** (1 / (blocks - 1)), '.2f')} "
            f"| {number(YANG ** (2 * (blocks - 1)))} "
            f"| {cell(residual)} | {number((blocks + 1) ** 0.5)} |"
        )
    return lines


def without_normalization(data):
    lines = [
        "| blocks | plain, He | residual, He | plain, Glorot | residual, Glorot |",
        "|---:|---:|---:|---:|---:|",
    ]
    for blocks in BLOCKS:
        cells = [
            cell(by_block(rows)[:, 0])
            for condition in list(CONDITIONS)[1:]
            for net in NETS
            for rows in [select(data, net, condition, blocks)]
        ]
        lines.append(f"| {blocks} | {' | '.join(cells)} |")
    return lines


def summary(data):
    """The figure's caption on the start page."""
    plain, residual = (
        cell(growth(select(data, net, "batch_norm", SHOWN))) for net in NETS
    )
    return [
        f"*New networks, {len(SEEDS)} seeds. With batch normalization and {SHOWN} "
        f"blocks, the gradient of the plain network grows {plain} times from the last "
        f"block to the first, that of the residual network {residual} times. It "
        "vanishes in plain networks without normalization.*"
    ]


def fill(text, data):
    """The page's text with what the data say."""
    for name, write in (
        ("summary", summary),
        ("normalized", with_normalization),
        ("unnormalized", without_normalization),
    ):
        text = fill_part(text, name, "\n".join(write(data)))
    return text


def draw(data):
    import matplotlib.pyplot as plt

    colours = {"plain": "#D55E00", "residual": "#0072B2"}
    lines = {"batch_norm": "-", "he_normal": "--", "glorot_uniform": ":"}
    plt.rcParams.update({"font.size": 9, "axes.titlesize": 10})
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
    for condition, net in itertools.product(CONDITIONS, NETS):
        rows = select(data, net, condition, SHOWN)
        norms = by_block(rows)
        middle, low, high = np.transpose([mean_and_interval(n) for n in norms.T])
        depth = np.arange(1, SHOWN + 1)
        left.semilogy(
            depth,
            middle,
            lines[condition],
            color=colours[net],
            label=f"{net}, {CONDITIONS[condition]}",
        )
        left.fill_between(depth, low, high, color=colours[net], alpha=0.2, linewidth=0)
    for net in NETS:
        middle, low, high = np.transpose(
            [
                mean_and_interval(growth(select(data, net, "batch_norm", b)))
                for b in BLOCKS
            ]
        )
        right.errorbar(
            BLOCKS,
            middle,
            [middle - low, high - middle],
            color=colours[net],
            marker="o",
            markersize=3,
            capsize=2,
            label=f"{net}, measured",
        )
    blocks = np.arange(2, 51)
    right.loglog(
        blocks, np.sqrt(blocks + 1), "k:", linewidth=1, label="$\\sqrt{n + 1}$"
    )
    right.loglog(
        blocks,
        YANG ** (2 * (blocks - 1)),
        "k--",
        linewidth=1,
        label="1.211 per layer",
    )
    left.set(
        xlabel="block (1 = nearest the input)",
        ylabel="gradient norm",
        title=f"Only plain nets without normalization\nvanish ({SHOWN} blocks)",
    )
    right.set(
        xlabel="blocks",
        ylabel="first block's gradient / last one's",
        title="Batch normalization: plain explodes,\nresidual grows as a square root",
    )
    right.set_xticks(BLOCKS, BLOCKS)
    right.set_xticks([], minor=True)
    right.legend(fontsize=8, frameon=False)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=8.5,
        frameon=False,
    )
    figure.savefig(DATA.parent / "initialization.png", dpi=200)


def draw_all():
    data = read()
    draw(data)
    for page in PAGES:
        text = (ROOT / page).read_text()
        (ROOT / page).write_text(fill(text, data))


if __name__ == "__main__":
    run_script(__doc__, measure, draw_all)
