"""Runs simulation 4 over depths, and draws and tabulates accuracy against depth.

    python docs/figures/depth.py measure synthetic
    python docs/figures/depth.py measure cifar10 --data-dir FOLDER
    python docs/figures/depth.py draw

`measure` runs the preset `full` of `examples/sim4_residual.py` with fewer channels and
epochs, and a third network without batch normalization: a residual one whose branches
start at zero. It takes about an hour for each data set on two CPU cores, and goes on
where it was stopped. `draw` writes the figures and the tables of the page; the tests
fail where page and data differ. Needs the extra `examples`.
"""

import sys
from functools import partial
from pathlib import Path

import pandas as pd
from _pages import fill_part, run_script

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples"))
RESULTS = ROOT / "docs/results/depth"
PAGES = (RESULTS.with_suffix(".md"), ROOT / "docs/introduction.md")
SOURCES = ("cifar10", "synthetic")
SEEDS = 10
BRANCH = "residual, zero_init"
# Heading of the page, batch normalization, network.
COLUMNS = {
    "plain": ("on", "plain"),
    "residual": ("on", "residual"),
    "plain, no BN": ("off", "plain"),
    "residual, no BN": ("off", "residual"),
    "residual, no BN, `zero_init`": ("off", BRANCH),
}
# With the scale of a difference that is shown, and its digits.
HYPOTHESES = {"H1a": (1, 2), "H1b": (1, 2), "H2": (100, 1), "H4": None, "H5": None}


def train(arguments, shared):
    """Trains a network of simulation 4 or the third one, in a worker."""
    import sim4_residual as simulation

    from keras_residual import ResidualBlock

    simulation.BLOCKS[BRANCH] = partial(ResidualBlock, zero_init=True)
    return simulation.train(arguments, shared)


def measure(source, data_dir):
    """Runs what is missing, and writes the tables of the page."""
    import sim4_residual as simulation

    from keras_residual.experiments import RunFolder, Task, parse_settings, run_tasks
    from keras_residual.experiments.trainings import Trainings

    run = Path("runs", f"depth-{source}")
    options = ["--preset", "full", "--width", "16", "--epochs", "10"]
    options += ["--dataset", source]
    options += ["--data-dir", data_dir] if data_dir else []
    options += ["--threshold", "0.4"] if source == "cifar10" else []
    simulation.main([*options, "--out", str(run / "pairs")])

    options += ["--out", str(run / "third")]
    settings = parse_settings(simulation.PRESETS, "depth.py", str(__doc__), options)
    images, labels, names = simulation.load_data(settings)
    tasks = [
        Task(
            f"blocks{blocks:03d}-seed{seed:03d}",
            {"net": BRANCH, "blocks": blocks, "batch_norm": "off", "seed": seed},
            weight=blocks + 1,
        )
        for seed in range(settings.seeds)
        for blocks in settings.blocks
    ]
    folder = RunFolder(settings.out, settings.identity())
    shared = (images, labels, len(names), settings)
    with folder.locked(settings.jobs):
        run_tasks(folder, tasks, train, shared, settings.jobs)

    more = Trainings(folder, tasks, simulation.KEY, outcomes=["accuracy"])
    tables = {"results": more.results, "history": more.read("history.csv")}
    results, history = (
        pd.concat([pd.read_csv(run / f"pairs/{name}.csv"), table], ignore_index=True)
        for name, table in tables.items()
    )
    last = history.groupby(simulation.KEY, as_index=False)["accuracy"].last()
    norms = pd.read_csv(run / "pairs/gradient_scales.csv")
    RESULTS.mkdir(exist_ok=True)
    (
        results[[*simulation.KEY, "accuracy", "diverged", "seconds"]]
        .merge(last.rename(columns={"accuracy": "train_accuracy"}), on=simulation.KEY)
        .merge(norms[[*simulation.KEY, "first_kernel", "last_kernel"]], "left")
        .to_csv(RESULTS / f"{source}.csv", index=False, float_format="%.6g")
    )
    tested = pd.read_csv(run / "pairs/hypotheses.csv").drop(columns="words")
    tested.to_csv(
        RESULTS / f"{source}_hypotheses.csv", index=False, float_format="%.6g"
    )


def read(source):
    """The trainings and the tested hypotheses of one data set."""
    return [
        pd.read_csv(RESULTS / f"{source}{table}.csv") for table in ("", "_hypotheses")
    ]


def accuracy(results, batch_norm, net, blocks, measure="accuracy"):
    """The accuracies of one network in percent, one for each seed."""
    rows = results.set_index(["batch_norm", "net", "blocks"])[measure]
    return 100 * rows.loc[batch_norm, net, blocks].dropna()


def accuracies(results, measure):
    """Mean accuracy in percent with its interval, by depth and network."""
    from keras_residual.analysis.statistics import mean_interval

    lines = [
        f"| blocks | {' | '.join(COLUMNS)} |",
        f"|---:|{'---:|' * len(COLUMNS)}",
    ]
    for blocks in results["blocks"].unique():
        cells = []
        for batch_norm, net in COLUMNS.values():
            values = accuracy(results, batch_norm, net, blocks, measure)
            middle, low, high = mean_interval(values)
            lost = SEEDS - len(values)
            words = f", {lost} diverged" if lost else ""
            cells.append(f"{middle:.1f} ({low:.1f} to {high:.1f}){words}")
        lines.append(f"| {blocks} | {' | '.join(cells)} |")
    return lines


def degradation(results):
    """The finding in words."""
    blocks = results["blocks"].min(), results["blocks"].max()
    means = [
        f"{accuracy(results, *network, number).mean():.1f} %"
        for network in COLUMNS.values()
        for number in blocks
    ]
    plain, residual = (f"from {a} to {b}" for a, b in (means[:2], means[2:4]))
    return (
        f"*CIFAR-10, {SEEDS} seeds, from {blocks[0]} to {blocks[1]} blocks. With batch "
        f"normalization the plain network falls {plain}, the residual network "
        f"{residual}. Without normalization they reach {means[5]} and {means[7]} with "
        f"{blocks[1]} blocks, and {means[9]} with branches that start at zero.*"
    )


def verdicts(tested):
    """Difference with its interval and verdict, by condition and hypothesis."""
    lines = [
        f"| blocks | BN | {' | '.join(HYPOTHESES)} |",
        f"|---:|---|{'---|' * len(HYPOTHESES)}",
    ]
    for (batch_norm, blocks), rows in tested.groupby(["batch_norm", "blocks"]):
        rows = rows.set_index("hypothesis")
        cells = []
        for name, shown in HYPOTHESES.items():
            words = rows.loc[name, "verdict"]
            if shown:
                scale, digits = shown
                middle, low, high = (
                    f"{scale * rows.loc[name, column]:.{digits}f}"
                    for column in ("mean_difference", "low", "high")
                )
                words += f": {middle} ({low} to {high})"
            cells.append(words)
        lines.append(f"| {blocks} | {batch_norm} | {' | '.join(cells)} |")
    return lines[:2] + sorted(lines[2:], key=lambda line: " on " not in line)


def fill(text):
    """The text of a page with what the data say."""
    for source in SOURCES:
        results, tested = read(source)
        if source == "cifar10":
            text = fill_part(text, "degradation", degradation(results))
        for measure in ("accuracy", "train_accuracy"):
            table = "\n".join(accuracies(results, measure))
            text = fill_part(text, f"{source} {measure}", table)
        text = fill_part(text, f"{source} verdicts", "\n".join(verdicts(tested)))
    return text


def draw(source):
    """Accuracy against depth, with and without batch normalization."""
    import matplotlib.pyplot as plt

    from keras_residual.analysis import plots

    results, _ = read(source)
    styles = dict(zip(("plain", "residual", BRANCH), plots.STYLES, strict=False))
    figure, axes = plt.subplots(
        1, 2, figsize=(7, 3.8), sharey=True, layout="constrained"
    )
    titles = {"on": "Batch normalization", "off": "No normalization"}
    for ax, (batch_norm, title) in zip(axes, titles.items(), strict=True):
        rows = results[results["batch_norm"] == batch_norm].dropna(subset="accuracy")
        drawn = {net: styles[net] for net in styles if net in set(rows["net"])}
        plots.degradation(rows, ax, styles=drawn)
        ax.set_title(title, loc="left", fontsize=11, weight="bold", pad=30)
        ax.axhline(0.1, color="0.5", linewidth=1, linestyle=":")
        handles, _ = ax.get_legend_handles_labels()
        ax.get_legend().remove()
    axes[1].set_ylabel("")
    axes[0].set_ylim(0, results["accuracy"].max() + 0.02)
    axes[0].text(2, 0.11, "chance", color="0.4", fontsize=9)
    place = {"loc": "outside lower center", "ncols": 3, "frameon": False}
    figure.legend(handles, list(styles), **place)
    figure.savefig(RESULTS / f"{source}.png", dpi=200, pil_kwargs={"dpi": (200, 200)})


def draw_all():
    for source in SOURCES:
        draw(source)
    for page in PAGES:
        page.write_text(fill(page.read_text()))


if __name__ == "__main__":
    run_script(__doc__, measure, draw_all, SOURCES)
