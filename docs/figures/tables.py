"""Writes the two tables of README.md and docs/index.md from the recorded results.

    python docs/figures/tables.py

Claims come from `docs/results`, times from `benchmarks/results`. A table stands between
`<!-- NAME -->` and `<!-- end -->`. The tests fail where a page and its data differ.
"""

import csv
from operator import truediv
from pathlib import Path
from statistics import median

from _pages import fill_part

ROOT = Path(__file__).resolve().parents[2]
PAGES = {ROOT / "README.md": "docs/", ROOT / "docs/index.md": ""}

HE = "[He et al. 2015](https://arxiv.org/abs/1512.03385)"
IDENTITY = "[He et al. 2016](https://arxiv.org/abs/1603.05027)"
DE = "[De and Smith 2020](https://arxiv.org/abs/2002.10444)"
DEVRIES = "[DeVries and Taylor 2017](https://arxiv.org/abs/1708.04552)"
KERAS = "[Keras guide](https://keras.io/guides/transfer_learning/)"

# Claim, source, run, hypothesis, what was measured, the scale of the difference.
CLAIMS = [
    (
        "Shortcuts make the gradient near the input larger",
        f'{IDENTITY}, section 2: it "does not vanish"; doubted in {HE}, section 4.1',
        "sim4/cifar10",
        "H1a",
        "powers of ten, residual minus plain",
        1,
    ),
    (
        "Shortcuts keep the gradient even over depth",
        DE,
        "sim4/cifar10",
        "H1b",
        "powers of ten less change",
        1,
    ),
    (
        "Shortcuts raise the accuracy of a deep network",
        f"{HE}, table 2",
        "sim4/cifar10",
        "H2",
        "points, 21 convolutions",
        100,
    ),
    (
        "Cutout raises the accuracy",
        f"{DEVRIES}, table 1",
        "imagenet",
        "H3b",
        "points, ten classes of CIFAR-10",
        100,
    ),
    (
        "Cutout narrows the gap between training and validation accuracy",
        DEVRIES,
        "imagenet",
        "H3c",
        "points",
        100,
    ),
    (
        "Pretrained features of few photos beat training from scratch",
        KERAS,
        "sim5/photos",
        "H2c",
        "points, 60 photos against 600",
        100,
    ),
    (
        "Fine-tuning beats frozen features",
        KERAS,
        "sim5/photos",
        "H2b",
        "points, 600 photos",
        100,
    ),
]

# Question, file, what a row must hold, this library and its peer, seconds to the unit.
# Where the unit is a contestant's name, a cell is the ratio to it, round by round.
BENCHMARKS = [
    (
        "training step with gradient norms / with a second gradient pass, each "
        "relative to a plain step ([guide](DOCS/guides/gradient_norms.md#cost))",
        "gradient_norm",
        {"cpu": ["Intel(R) Xeon(R) Processor, 2 cores"]},
        ("GradientNormCallback", "second tape"),
        "without",
    ),
    (
        "training step of `ResNet(50)` / `keras.applications.ResNet50`, ms per image "
        "([guide](DOCS/guides/fused_layers.md#how-much-it-saves))",
        "step_time",
        {"network": ["resnet50"], "clock": ["wall"], "batch": ["16"]},
        ("keras_residual", "keras.applications"),
        1000 / 16,
    ),
    (
        "`Cutout` / Keras `RandomErasing`, ms for 128 images in `tf.function`, "
        "`jax.jit` and eager PyTorch ([guide](DOCS/guides/cutout.md#cost))",
        "cutout",
        {"dtype": ["float32"], "mode": ["tf.function", "jax.jit", "eager"]},
        ("Cutout", "RandomErasing"),
        1000,
    ),
    (
        "inference of `ResNet(50)` / of the same network of Keras's layers, ms per "
        "image in batches of 32 "
        "([guide](DOCS/guides/deployment.md#folding-batch-normalization))",
        "inference",
        {"batch": ["32"]},
        ("ResNet(50)", "layers of Keras"),
        1000 / 32,
    ),
    (
        "head trained on cached features / on images, 600 images, 10 epochs, seconds "
        "([guide](DOCS/guides/transfer.md#cached-features))",
        "transfer",
        {},
        ("cache_features", "fit on images"),
        1,
    ),
]


def read(path):
    with (ROOT / path).open(newline="") as file:
        return list(csv.DictReader(file))


def claims():
    lines = ["| claim | source | measured here | verdict |", "|---|---|---|---|"]
    for claim, source, run, hypothesis, what, scale in CLAIMS:
        rows = read(f"docs/results/{run}/hypotheses.csv")
        (row,) = [row for row in rows if row["hypothesis"] == hypothesis]
        digits = 1 if scale == 100 else 2
        middle, low, high = (
            f"{scale * float(row[name]):.{digits}f}"
            for name in ("mean_difference", "low", "high")
        )
        page = run.split("/")[0]
        lines.append(
            f"| {claim} | {source} | {middle} ({low} to {high}) {what}; "
            f"{row['n']} seeds ([results](DOCS/results/{page}.md)) "
            f"| **{row['verdict']}** |"
        )
    return lines


def benchmarks():
    lines = [
        "| this library / its peer | TensorFlow | JAX | PyTorch |",
        "|---|---:|---:|---:|",
    ]
    for question, file, wanted, contestants, unit in BENCHMARKS:
        rows = [
            row
            for row in read(f"benchmarks/results/{file}.csv")
            if all(row[key] in values for key, values in wanted.items())
        ]
        cells = [
            cell([row for row in rows if row["backend"] == backend], contestants, unit)
            for backend in ("tensorflow", "jax", "torch")
        ]
        lines.append(f"| {question} | {' | '.join(cells)} |")
    return lines


def cell(rows, contestants, unit):
    if not rows:
        return "not run"
    seconds = {}
    for row in rows:
        seconds.setdefault(row["contestant"], []).append(float(row["seconds"]))
    if isinstance(unit, str):
        base = seconds[unit]
        return " / ".join(
            f"{median(map(truediv, seconds[name], base)):.2f}" for name in contestants
        )
    return " / ".join(f"{unit * median(seconds[name]):.0f}" for name in contestants)


def fill(text, docs):
    """The text with the tables of today's data; `docs` leads to the folder docs."""
    for name, table in (("claims", claims), ("benchmarks", benchmarks)):
        lines = "\n".join(table()).replace("DOCS/", docs)
        text = fill_part(text, name, lines)
    return text


if __name__ == "__main__":
    for page, docs in PAGES.items():
        page.write_text(fill(page.read_text(), docs))
