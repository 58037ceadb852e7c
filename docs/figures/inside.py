"""Draws the figures of the guide to a look inside a network.

    python docs/figures/inside.py

Trains a plain and a residual network of 20 layers on generated images, and computes
their loss landscapes: minutes on two CPU cores, and a second run goes on where the
first one ended. Needs the extra `experiments`. `gradients` or `landscape` as an
argument draws one of the two.
"""

import io
import pathlib
import sys
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from keras_residual import PlainNet, ResNet
from keras_residual.analysis import input_gradients, loss_landscape, plots
from keras_residual.datasets import sinusoid_images
from keras_residual.experiments.figures import panel

ASSETS = pathlib.Path(__file__).resolve().parents[1] / "assets"
KEPT = pathlib.Path(tempfile.gettempdir()) / "keras_residual_inside"
NETS = {"plain": PlainNet, "residual": ResNet}
SEED = 0


def trained(name):
    """A network of 20 layers, trained for six epochs, or read from a file."""
    keras.utils.set_random_seed(SEED)
    model = NETS[name](20, num_classes=10, variant="cifar")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, metrics=["accuracy"])
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{name}.weights.h5"
    if path.exists():
        model.load_weights(path)
        return model
    images, labels = sinusoid_images(1000, seed=SEED)
    model.fit(images, labels, batch_size=50, epochs=6, verbose=2)
    model.save_weights(path)
    return model


def landscapes(models):
    """Loss contours of both networks, with the same colours."""
    images, labels = sinusoid_images(200, seed=SEED)
    found = {
        name: loss_landscape(
            model,
            images,
            labels,
            15,
            batch_norm="batch",  # moving statistics lag behind so short a training
            batch_size=200,
            filepath=KEPT / f"{name}.npz",
        )
        for name, model in models.items()
    }
    for name, landscape in found.items():
        print(
            f"{name}: centre {landscape.centre:.3g}, median "
            f"{np.median(landscape.losses):.3g}, largest {landscape.losses.max():.3g}"
        )
    limits = (
        min(np.nanmin(each.losses) for each in found.values()),
        max(np.nanpercentile(each.losses, 90) for each in found.values()),
    )
    figure = plt.figure(figsize=(8, 6.8), layout="constrained")
    for column, (name, landscape) in enumerate(found.items()):
        flat = figure.add_subplot(2, 2, 1 + column)
        solid = figure.add_subplot(2, 2, 3 + column, projection="3d")
        plots.loss_landscape(landscape, flat, limits=limits)
        title = f"{name}: {landscape.centre:.2g} in the middle"
        flat.set_title(title, loc="left", pad=36)
        plots.loss_surface(landscape, solid, limits=limits)
        solid.set_title("")
    return figure


def shattered():
    """Correlation of input gradients of new networks of several depths."""
    images, _ = sinusoid_images(5, seed=SEED)
    figure, axes = plt.subplots(
        1, 2, figsize=(7, 3.6), sharey=True, layout="constrained"
    )
    for ax, depth in zip(axes, (8, 56), strict=True):
        measured = {}
        for name, network in NETS.items():
            found = []
            for seed in range(5):  # one seed alone may be twice as high as another
                keras.utils.set_random_seed(seed)
                model = network(depth, 10, variant="cifar", use_batch_norm=False)
                found.append(input_gradients(model, images, 128))
            each = np.array([gradients.correlations for gradients in found])
            measured[name] = found[0]._replace(correlations=each.mean(0))
            fifth = each[:, np.searchsorted(found[0].distances, 0.2)]
            print(depth, name, "a fifth of the way:", np.sort(fifth).round(2))
        panel(plots.input_gradients, measured, finding=f"{depth} layers")(ax=ax)
    return figure


def save(figure, name):
    # As wide as a page, in few colours, which keeps the surfaces small.
    memory = io.BytesIO()
    figure.savefig(memory, dpi=200)
    dots = 200 * figure.get_figwidth() / 7
    image = Image.open(memory).convert("RGB").quantize(128)
    image.save(ASSETS / f"inside_{name}.png", dpi=(dots, dots), optimize=True)


FIGURES = {
    "gradients": shattered,
    "landscape": lambda: landscapes({name: trained(name) for name in NETS}),
}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or FIGURES:
        save(FIGURES[chosen](), chosen)
