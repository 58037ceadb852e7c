"""Artificial trainings of the ImageNet comparison, as its run folder holds them."""

import json

import numpy as np
import pandas as pd

NETWORKS = ("plain", "resnet", "resnet-cutout")
CLASSES = ["tench", "goldfish", "great white shark", "hen", "brambling", "jay"]
SETTINGS = {
    "recipe": "source",
    "epochs": 12,
    "image_size": 64,
    "batch_size": 32,
    "learning_rate": 0.001,
    "seeds": 2,
    "classes": CLASSES,
    "networks": list(NETWORKS),
    "depth": 18,
    "variant": "torchvision",
    "cutout_size": 16,
    "data": "six classes of artificial fish and birds",
    "gradient_norms": True,
    # What the recipe of the source leaves at nothing.
    **{"optimizer": "adam", "schedule": "constant", "warmup_epochs": 0},
    **{"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decay_all": False},
    **{"label_smoothing": 0.0, "ema_epochs": 0.0, "crop_area": 0.0},
    "precision": "float32",
    "per_class": None,
    "images": {"train": 600, "val": 200},
}
# Accuracy on training and on validation images, and what a patch of a quarter of the
# pixels takes.
LEVELS = {
    "plain": (0.80, 0.60, 0.30),
    "resnet": (0.95, 0.65, 0.35),
    "resnet-cutout": (0.85, 0.70, 0.10),
}
SIZES = (0.0, 0.25, 0.5)
# As `GradientNormCallback(by="layer")` names them; the real ones are tested as well.
PATHS = (
    *("stem_conv", "stem_bn", "stage1_block1/conv1", "stage1_block1/bn1"),
    *("stage1_block1/conv2", "stage1_block1/projection", "classifier"),
)


def name(network, seed):
    return f"{network}-seed{seed:03d}"


def write_units(folder, networks=NETWORKS, seeds=(0, 1), images=200):
    """Finished trainings; accuracies are the levels plus 0.004 per seed."""
    for network in networks:
        for seed in seeds:
            unit = folder / "units" / name(network, seed)
            unit.mkdir(parents=True)
            write_unit(unit, network, seed, images)


def write_unit(unit, network, seed, images):
    train, top1, lost = (level + 0.004 * seed for level in LEVELS[network])
    epochs = np.arange(1, SETTINGS["epochs"] + 1)
    history = pd.DataFrame(
        {
            "epoch": epochs,
            "loss": 1.8 / epochs + 0.02 * seed,
            "top1": train * epochs / 12,
            "top5": 0.9 + 0.01 * epochs,
            "val_loss": 1.9 / epochs + 0.3,
            "val_top1": top1 * epochs / 12,
            "val_top5": 0.85 + 0.01 * epochs + 0.004 * seed,
            "learning_rate": 0.001,
            "seconds": 2.5,
            "images_per_second": 80.0,
        }
    )
    history.to_csv(unit / "history.csv", index=False)
    predictions = predicted(top1, images)
    predictions.to_csv(unit / "predictions.csv", index=False)
    share = np.square(SIZES) * 0.8
    pd.DataFrame(
        {"erased_share": share, "size": SIZES, "top1": top1 - 4 * lost * share}
    ).to_csv(unit / "occlusion.csv", index=False)
    steps = np.arange(6)
    norms = {path: 0.1 * (1 + steps + place) for place, path in enumerate(PATHS)}
    pd.DataFrame({"step": steps, **norms}).to_csv(
        unit / "gradient_norms.csv", index=False
    )
    write_result(
        unit,
        network=network,
        seed=seed,
        top1=top1,
        top5=0.95 + 0.004 * seed,
        loss=0.49,
        best_top1=top1 + 0.02,
        best_epoch=9,
        train_top1=train,
        ece=0.1 + 0.2 * (train - top1),
        parameters=11_200_000,
        seconds=25.0,
        images_per_second=80.0,
    )


def predicted(accuracy, images):
    """Right answers first within each confidence, so that the shares are exact."""
    labels = np.arange(images) % len(CLASSES)
    right = np.arange(images) < round(accuracy * images)
    order = np.random.default_rng(0).permutation(images)
    right = right[order]
    best = np.where(right, labels, (labels + 1) % len(CLASSES))
    ranks = {
        f"predicted_{rank}": (best + rank - 1) % len(CLASSES) for rank in range(1, 6)
    }
    confidence = 0.5 + 0.5 * np.random.default_rng(1).beta(1 + right, 1.5)
    return pd.DataFrame(
        {
            "image": np.arange(images),
            "label": labels,
            "confidence": confidence,
            "label_probability": np.where(right, confidence, (1 - confidence) / 5),
            **ranks,
        }
    )


def write_result(unit, **values):
    """Adds values to the result of a training, or replaces them."""
    path = unit / "result.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **values}))
