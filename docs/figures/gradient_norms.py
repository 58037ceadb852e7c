"""Draws the figures of the guide to gradient norms, and prints their numbers.

    python docs/figures/gradient_norms.py

Trains networks of 20 layers on generated images for a few steps each: about a minute on
two CPU cores. Needs the extra `analysis`. With the names of figures, such as `ratios`,
it draws those alone.
"""

import pathlib
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np

from keras_residual import GradientNormCallback, PlainNet, ResNet, gradient_norms
from keras_residual.analysis import plots
from keras_residual.datasets import sinusoid_images

ASSETS = pathlib.Path(__file__).parents[1] / "assets"
SEED = 0
BATCH = 32
VERMILLION, BLUE, GREEN = (colour for colour, _ in plots.STYLES[:3])
NETS = {
    "plain, batch normalization": (PlainNet, True, VERMILLION, "-"),
    "plain, without": (PlainNet, False, VERMILLION, ":"),
    "residual, batch normalization": (ResNet, True, BLUE, "-"),
    "residual, without": (ResNet, False, BLUE, ":"),
}
LEARNING_RATES = {1e-5: GREEN, 1e-3: BLUE, 1e-1: VERMILLION}
# As in the figures of the library, at the size of a page.
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def train(network, batch_norm, learning_rate, steps):
    keras.utils.set_random_seed(SEED)
    model = network(20, num_classes=10, variant="cifar", use_batch_norm=batch_norm)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(learning_rate), loss)
    images, labels = sinusoid_images(BATCH * steps, seed=SEED)
    norms = GradientNormCallback(ratios=True)
    losses = []
    each = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(logs["loss"])
    )
    model.fit(images, labels, batch_size=BATCH, verbose=0, callbacks=[norms, each])
    # Keras reports the mean over the epoch so far.
    losses = np.diff(np.array(losses) * np.arange(1, steps + 1), prepend=0)
    return norms, losses


def columns(norms, *endings):
    """The norms of the convolutions' variables with one of the names, by depth."""
    chosen = [
        i
        for i, name in enumerate(norms.names)
        if name.endswith(endings) and not name.startswith("classifier")
    ]
    return norms.norms[:, chosen], norms.update_ratios[:, chosen]


def draw_depth():
    figure, axes = plt.subplots(1, 2, figsize=(7, 4), sharex=True, sharey=True)
    for label, (network, batch_norm, colour, line) in NETS.items():
        norms, _ = train(network, batch_norm, 1e-3, steps=10)
        shift = "/beta" if batch_norm else "/bias"
        for ax, ending in zip(axes, ("/kernel", shift), strict=True):
            values, _ = columns(norms, ending)
            mean = np.exp(np.log(values).mean(axis=0))
            depth = np.arange(1, len(mean) + 1)
            ax.semilogy(depth, mean, line, color=colour, marker=".", label=label)
            print(
                f"{label}, {ending}: first {mean[0]:.2g}, last {mean[-1]:.2g}, "
                f"first / last {mean[0] / mean[-1]:.2g}"
            )
    axes[0].set(title="kernels", ylabel="gradient norm (L2)")
    axes[1].set(title="biases, or betas of BN")
    for ax in axes:
        ax.set_xlabel("depth (1 = convolution nearest the input)")
        ax.xaxis.set_major_locator(plt.MultipleLocator(3))
        ax.grid(alpha=0.3)
    save(figure, "depth", axes[0], columns=2)


def draw_initial():
    """New networks of 27 blocks, before the first step."""
    images, labels = sinusoid_images(BATCH, seed=SEED)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    figure, ax = plt.subplots(figsize=(7, 4.2))
    for label, (network, batch_norm, colour, line) in NETS.items():
        runs = []
        for seed in range(3):
            keras.utils.set_random_seed(seed)
            model = network(56, 10, variant="cifar", use_batch_norm=batch_norm)
            norms = gradient_norms(model, images, labels, by="block", loss=loss)
            runs.append([v for name, v in norms.items() if name.startswith("stage")])
        mean = np.exp(np.log(runs).mean(axis=0))
        ax.semilogy(range(1, 28), mean, line, color=colour, marker=".", label=label)
        print(
            f"{label}: first block {mean[0]:.2g}, first / last {mean[0] / mean[-1]:.2g}"
        )
    ax.set(xlabel="block (1 = nearest the input)", ylabel="gradient norm (L2)")
    ax.set_title(
        "New networks: with batch normalization the gradient of the plain one explodes"
    )
    ax.grid(alpha=0.3)
    save(figure, "initial", ax, columns=2)


def draw_ratios():
    figure, axes = plt.subplots(1, 3, figsize=(7, 3.2))
    for rate, colour in LEARNING_RATES.items():
        norms, losses = train(ResNet, True, rate, steps=60)
        values, ratios = columns(norms, "/kernel")
        label = f"learning rate {rate:g}"
        steps = norms.steps
        for ax, rows in zip(axes, (values, ratios), strict=False):
            ax.semilogy(steps, np.median(rows, axis=1), color=colour, label=label)
            low, high = np.quantile(rows, [0.0, 1.0], axis=1)
            ax.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        smooth = np.convolve(losses, np.ones(10) / 10, "valid")
        axes[2].plot(steps[9:], smooth, color=colour, label=label)
        late = slice(30, None)
        print(
            f"{label}: norm {np.median(values[late]):.2g}, "
            f"ratio {np.median(ratios[late]):.2g}, loss {losses[-10:].mean():.2f}"
        )
    axes[0].set(title="gradient norm", xlabel="step")
    axes[1].set(title="update / weight norm", xlabel="step")
    axes[2].set(title="loss, 10 steps' mean", xlabel="step", yscale="log")
    for ax in axes:
        ax.grid(alpha=0.3)
    save(figure, "ratios", axes[0], columns=3)


def save(figure, name, ax, columns):
    """With the legend of the axes below, where it hides nothing."""
    lines = ax.get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=columns)
    figure.savefig(ASSETS / f"gradient_norms_{name}.png", dpi=200)


FIGURES = {"depth": draw_depth, "initial": draw_initial, "ratios": draw_ratios}

if __name__ == "__main__":
    plt.rcParams.update(STYLE)
    for chosen in sys.argv[1:] or FIGURES:
        FIGURES[chosen]()
