"""Draws the figures of the guide to Cutout: python docs/figures/cutout.py."""

from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from keras_residual import Cutout
from keras_residual.datasets import sinusoid_images

ASSETS = Path(__file__).resolve().parents[1] / "assets"


def erase(cutout, images):
    return keras.ops.convert_to_numpy(cutout(images, training=True))


def borders():
    """The same images under both border rules."""
    images, _ = sinusoid_images(8, strength=1.0, seed=2)
    images = (images - images.min()) / (images.max() - images.min())
    rows = {
        "images": images,
        '"clip"': erase(Cutout(16, seed=4), images),
        '"inside"': erase(Cutout(16, border="inside", seed=4), images),
    }
    figure, axes = plt.subplots(3, 8, figsize=(7, 3), layout="constrained")
    for row, (name, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
            axis.set(xticks=[], yticks=[])
    return figure


def coverage():
    """How likely each pixel is to be erased."""
    layers = {
        'size 8, "clip"': Cutout(8),
        'size 16, "clip"': Cutout(16),
        'size 20, "clip"': Cutout(20),
        'size 16, "inside"': Cutout(16, border="inside"),
    }
    figure, axes = plt.subplots(1, 4, figsize=(7, 2.4), layout="constrained")
    for axis, (name, layer) in zip(axes, layers.items(), strict=True):
        picture = axis.imshow(layer.coverage(32, 32), vmin=0, vmax=1, cmap="viridis")
        axis.set_title(f"{name}\nmean {layer.expected_area(32, 32):.2%}", fontsize=9)
        axis.set(xticks=[0, 31], yticks=[0, 31])
    figure.colorbar(picture, ax=axes, label="probability to be erased", shrink=0.85)
    return figure


def order():
    """What a patch of zeros is before and after the normalization."""
    images, _ = sinusoid_images(1, strength=1.0, seed=5)
    images = np.interp(images, (images.min(), images.max()), (0, 1)).astype("float32")
    mean = images.mean((0, 1, 2))
    deviation = images.std((0, 1, 2))
    cutout = Cutout(16, border="inside", seed=1)
    before = (erase(cutout, images) - mean) / deviation
    after = erase(Cutout(16, border="inside", seed=1), (images - mean) / deviation)
    figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    for axis, picture, title in zip(
        axes,
        (before, after),
        ("Cutout first: the patch is black", "Cutout last: the mean colour"),
        strict=True,
    ):
        for channel, name in enumerate(("red", "green", "blue")):
            axis.plot(picture[0, 16, :, channel], color=f"tab:{name}", label=name)
        axis.axhline(0, color="black", linewidth=0.8, linestyle="--")
        axis.set(title=title, xlabel="column of the middle row", ylim=(-3, 3))
    axes[0].set_ylabel("what the network sees\n(standard deviations)")
    axes[1].legend(loc="lower center", ncols=3, fontsize=8, title="channel")
    return figure


def annotations():
    """A mask and a box before and after."""
    row, column = np.mgrid[:64, :64]
    mask = (row - 34) ** 2 + (column - 30) ** 2 < 18**2
    background = 0.55 + 0.1 * np.sin(row / 3)
    image = np.where(mask[..., None], (0.9, 0.5, 0.2), background[..., None])
    element = {
        "images": image.astype("float32"),
        "segmentation_masks": mask[..., None],
        "bounding_boxes": {"boxes": np.array([[12, 16, 48, 52]]), "labels": [1]},
    }
    erased = Cutout(24, border="inside", seed=11)(element, training=True)
    figure, axes = plt.subplots(2, 2, figsize=(5, 5), layout="constrained")
    for pair, data, name in zip(
        axes, (element, erased), ("before", "after"), strict=True
    ):
        pair[0].imshow(keras.ops.convert_to_numpy(data["images"]))
        left, top, right, bottom = data["bounding_boxes"]["boxes"][0]
        box = Rectangle((left, top), right - left, bottom - top, fill=False, lw=2)
        pair[0].add_patch(box)
        pair[1].imshow(data["segmentation_masks"][..., 0], cmap="gray")
        pair[0].set(ylabel=name, xticks=[], yticks=[])
        pair[1].set(xticks=[], yticks=[])
    axes[0, 0].set_title("image and box")
    axes[0, 1].set_title("mask")
    return figure


def main():
    ASSETS.mkdir(exist_ok=True)
    for draw in (borders, coverage, order, annotations):
        path = ASSETS / f"cutout_{draw.__name__}.png"
        draw().savefig(path, dpi=200)
        print(path)


if __name__ == "__main__":
    main()
