"""Draws the figures of docs/results that follow from the tables there.

    python docs/figures/results.py

Training curves, gradient norms and reliability need a run folder and are copied from
it. Needs the extra `analysis` and Pillow.
"""

import io
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from PIL import Image

from keras_residual.analysis import plots

RESULTS = Path(__file__).resolve().parents[1] / "results"
PLAIN, BLUE, GREEN = plots.STYLES[:3]
NETS = {"plain": PLAIN, "residual": BLUE}
APPROACHES = {"scratch": PLAIN, "frozen": GREEN, "fine-tuned": BLUE}
NETWORKS = {"plain": PLAIN, "resnet": BLUE, "resnet-cutout": GREEN}


def read(run):
    """The results of a run, and the corrected p-value of each hypothesis."""
    tested = pd.read_csv(RESULTS / run / "hypotheses.csv")
    corrected = tested.set_index("hypothesis")["p_holm"]
    return pd.read_csv(RESULTS / run / "results.csv"), corrected


def simulation4(run, threshold):
    results, p = read(run)
    yield "accuracy_1", partial(plots.accuracy_by_seed, results, styles=NETS)
    pair = {"treatment": "residual", "control": "plain"}
    yield (
        "accuracy_2",
        partial(plots.paired_difference, results, p_value=p["H2"], **pair),
    )
    yield "epochs", partial(plots.epochs_to_threshold, results, threshold, styles=NETS)


def simulation5(run):
    results, p = read(run)
    looks = {"by": "approach", "styles": APPROACHES}
    whole = results[results["share"] == 1]
    yield "accuracy", partial(plots.accuracy_by_seed, whole, **looks)
    yield (
        "images",
        partial(plots.accuracy_by_images, results, reference="scratch", **looks),
    )
    if run == "sim5/photos":
        for number, name, *pair in (
            (1, "H2a", "frozen", "scratch"),
            (2, "H2b", "fine-tuned", "frozen"),
        ):
            yield f"differences_{number}", difference(whole, "approach", p[name], *pair)
        yield "time", partial(plots.accuracy_by_time, results, **looks)
        yield "parameters", partial(plots.trainable_parameters, whole, **looks)


def imagenet(run):
    results, p = read(run)
    results["gap"] = results["train_top1"] - results["top1"]
    names = {"top1": "accuracy", "train_top1": "train_accuracy"}
    results = results.rename(columns=names)
    looks = {"by": "network", "styles": NETWORKS}
    yield "accuracy_1", partial(plots.accuracy_by_seed, results, **looks)
    yield "gap_1", partial(plots.generalization_gap, results, **looks)
    occlusion = pd.read_csv(RESULTS / run / "occlusion.csv").rename(columns=names)
    yield "occlusion", partial(plots.accuracy_by_occlusion, occlusion, **looks)
    cutout = ("resnet-cutout", "resnet")
    gap = "training minus validation accuracy (% of images)"
    error = "expected calibration error (%)"
    for name, hypothesis, pair, metric, label in (
        ("accuracy_2", "H3a", ("resnet", "plain"), "accuracy", None),
        ("accuracy_3", "H3b", cutout, "accuracy", None),
        ("gap_2", "H3c", cutout, "gap", gap),
        ("reliability_2", "H3e", cutout, "ece", error),
    ):
        how = {"metric": metric, "label": label}
        yield name, difference(results, "network", p[hypothesis], *pair, **how)


def difference(results, by, p_value, treatment, control, **how):
    pair = {"treatment": treatment, "control": control}
    return partial(
        plots.paired_difference, results, by=by, p_value=p_value, **pair, **how
    )


RUNS = {
    "sim4/cifar10": lambda run: simulation4(run, 0.4),
    "sim4/synthetic": lambda run: simulation4(run, 0.5),
    "sim5/photos": simulation5,
    "sim5/generated": simulation5,
    "imagenet": imagenet,
}


def save(draw, path):
    # As wide as a page of the site.
    figure, ax = plt.subplots(figsize=(7, 5), dpi=110, layout="constrained")
    draw(ax=ax)
    memory = io.BytesIO()
    figure.savefig(memory)
    plt.close(figure)
    image = Image.open(memory).convert("RGB").quantize(128)
    image.save(path, dpi=(110, 110), optimize=True)


if __name__ == "__main__":
    for run, draw in RUNS.items():
        for name, figure in draw(run):
            save(figure, RESULTS / run / f"{name}.png")
