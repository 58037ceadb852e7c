"""The report of simulation 5: reads the finished trainings and draws conclusions."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _course_project import SOURCE, SOURCE_NOTE

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.figures import Draw, panel, save_figure
from keras_residual.experiments.reporting import (
    Story,
    corrected,
    count,
    findings,
    finished_units,
    read_result,
    read_results,
    read_with_keys,
    verdicts,
    write_story,
)

APPROACHES = {
    "scratch": plots.STYLES[0],
    "frozen": plots.STYLES[2],
    "fine-tuned": plots.STYLES[1],
}
PHOTOS = 12
# The panels that make up the picture on top.
LEADING = ("accuracy", "images", "H2a", "parameters")
METHOD = (
    "scratch: three convolutions of 32, 64 and 128 channels, each with max pooling, "
    "then average pooling and a dense layer of 512. frozen: the backbone, of which "
    "nothing trains, and a dense layer of 128; the features are computed once. "
    "fine-tuned: the same with the last 20 layers of the backbone trained, at a lower "
    "learning rate; batch normalization stays in inference mode. Adam, no "
    "augmentation. In each epoch all three see the same number of images: a last batch "
    "that is not full is left out.\n\n"
    "Each seed draws another split (60 % training, 20 % validation, 20 % test, all "
    "classes alike), order and initial weights; what is smaller is a part of what is "
    "larger, and the test images stay the same."
)

LIMITS = """\
- What holds here holds for these images, this size, this backbone and these weights.
The outcome is the accuracy after the last epoch on test images that chose nothing;
the interval over seeds covers split, order and initial weights, not other data.

- The images of a small share are few steps: with fewer images the batches are smaller
in proportion, but at least 8, so that a small share also means fewer steps.
Training longer may help the small shares, the one from scratch most of all.

- The baseline is a small network. A larger one, augmentation or a longer training would
do better from scratch, and augmentation might help the other two.

- Weights of ImageNet have seen cats, dogs and many other things, though not these
photographs: that transfer works there says nothing about images unlike ImageNet's.

- Seconds are wall time of one thread, from building the network to the end of training
without the validations; loading the backbone's weights counts, learning them does
not."""


def write_sim5_report(
    folder: RunFolder,
    tasks: Sequence[Task],
    images: np.ndarray,
    test: Callable[[pd.DataFrame], pd.DataFrame],
    quick: bool = False,
) -> Path:
    """Writes tables, figures and report into the run folder; trains nothing.

    Args:
        folder: The run folder.
        tasks: All tasks of the run, finished or not.
        images: The images of the run.
        test: From the results to the tested claims.
        quick: Whether the run is a demonstration.
    """
    settings = folder.settings
    # All but the source.
    approaches = [task for task in tasks if "seed" in task.arguments]
    units, incomplete = finished_units(folder, approaches)
    results = read_results(units, ["accuracy", "epochs_to_best"])
    keys = results[["approach", "share", "seed"]].to_dict("records")
    history = read_with_keys(
        units, keys, lambda unit: pd.read_csv(unit / "history.csv")
    )
    hypotheses = test(results)
    for name, frame in (
        ("results.csv", results),
        ("history.csv", history),
        ("hypotheses.csv", hypotheses),
    ):
        folder.write_text(name, frame.to_csv(index=False, lineterminator="\n"))

    most = results["share"].max()
    largest = {
        (row.approach, row.seed): unit
        for row, unit in zip(results.itertuples(), units, strict=True)
        if row.share == most and math.isfinite(row.accuracy)
    }
    whole = results[results["share"] == most]
    fewest = fewest_images(results)
    panels = _panels(whole, results, settings, hypotheses, fewest)
    sections = [
        _all_images(folder.path, whole, history[history["share"] == most], panels),
        _amounts(folder.path, results, panels),
        _pictures(folder.path, largest, settings, images),
    ]
    story = Story(
        title=title(settings),
        question="What is transfer learning worth, and with how few images? A small "
        "network from scratch, frozen features of a pretrained network and its "
        f"fine-tuning, with each of {count(settings['seeds'], 'seed')}.",
        tested=hypotheses,
        panels=[panels[name] for name in LEADING if name in panels],
        others=_others(whole, hypotheses, fewest),
        others_note=SOURCE_NOTE,
        limits=LIMITS,
        method=METHOD,
        facts=_facts(folder, settings),
    )
    return write_story(folder, story, sections, incomplete=incomplete, quick=quick)


def title(settings: dict[str, Any]) -> str:
    """Title that names the source of the weights and the data."""
    source = {
        "ImageNet": "ImageNet",
        "file": "a weights file",
        "generated": "generated images",
    }[settings["source"]]
    data = {
        "synthetic": "synthetic tinted images",
        "photos": f"photos ({', '.join(settings['classes'])})",
    }.get(settings["dataset"], settings["dataset"])
    return f"Simulation 5: {settings['backbone']}, from {source} to {data}"


def fewest_images(results: pd.DataFrame) -> list[dict[str, Any]]:
    """From how few images on an approach reaches scratch with all images, on average.

    "On" means at that amount and all larger ones. None if it never does.
    """
    means = results.groupby(["approach", "images"])["accuracy"].mean()
    all_images = int(results["images"].max())
    reference = means.get(("scratch", all_images), math.nan)
    rows: list[dict[str, Any]] = []
    for approach in ("frozen", "fine-tuned"):
        if approach not in means or math.isnan(reference):
            continue  # the run is not finished, or diverged
        reached = means[approach].sort_index(ascending=False) >= reference
        enough = reached[reached.cummin()].index
        rows.append(
            {
                "approach": approach,
                "reference": reference,
                "images": int(enough.min()) if len(enough) else None,
                "of": all_images,
            }
        )
    return rows


def _facts(folder: RunFolder, settings: dict[str, Any]) -> dict[str, str]:
    facts = {
        "dataset": f"{settings['dataset']}: {settings['per_class']} images of each of "
        f"{', '.join(settings['classes'])}, {settings['image_size']} pixels",
        "backbone": settings["backbone"],
        "weights": _weights(folder, settings),
        "epochs": "scratch {}, frozen {}, fine-tuned {}".format(*settings["epochs"]),
        "training": f"batch size {settings['batch_size']}, learning rate "
        f"{settings['learning_rate']:g}, fine-tuning {settings['fine_tuning_rate']:g}",
        "seeds": str(settings["seeds"]),
    }
    if settings["strength"] is not None:
        facts["strength"] = f"{settings['strength']:g}"
    return facts


def _weights(folder: RunFolder, settings: dict[str, Any]) -> str:
    if settings["source"] == "ImageNet":
        return "ImageNet, as keras.applications or the library gives them"
    if settings["source"] == "file":
        return f"a file, SHA-256 {settings['weights_sha256'][:16]}..."
    source = read_result(folder.units / "source")
    return (
        f"trained on {settings['source_images']} generated images of "
        f"{settings['source_image_size']} pixels, {settings['source_classes']} classes "
        f"of shapes and textures, {count(settings['source_epochs'], 'epoch')}, "
        f"{source['seconds']:.0f} s: accuracy {100 * source['accuracy']:.1f} % on the "
        "tenth that was held out"
    )


def _panels(
    whole: pd.DataFrame,
    results: pd.DataFrame,
    settings: dict[str, Any],
    hypotheses: pd.DataFrame,
    fewest: list[dict[str, Any]],
) -> dict[str, Draw]:
    """The figures of accuracy by name, with what they show as their titles."""
    chance = 1 / len(settings["classes"])
    there = [name for name in APPROACHES if name in set(whole["approach"])]
    means = 100 * whole.groupby("approach")["accuracy"].mean()
    trained = whole.groupby("approach")["trainable_parameters"].first()
    seconds = whole.groupby("approach")["seconds"].mean()
    found, p_values = findings(hypotheses), corrected(hypotheses)
    all_words = "; ".join(f"{name}: {means[name]:.1f} %" for name in there)
    looks: dict[str, Any] = {"by": "approach", "styles": APPROACHES}
    panels = {
        "accuracy": panel(
            all_words, plots.accuracy_by_seed, whole, chance=chance, **looks
        ),
        "parameters": panel(
            "; ".join(f"{name} trains {trained[name]:,}" for name in there),
            *(plots.trainable_parameters, whole),
            styles=APPROACHES,
        ),
        "time": panel(
            "One training: "
            + "; ".join(f"{name} {seconds[name]:.2g} s" for name in there),
            *(plots.accuracy_by_time, results),
            chance=chance,
            styles=APPROACHES,
        ),
    }
    if results["images"].nunique() > 1:
        panels["images"] = panel(
            "; ".join(_fewest_in_words(row) for row in fewest),
            *(plots.accuracy_by_images, results),
            chance=chance,
            styles=APPROACHES,
            reference="scratch",
        )
    for claim, treatment, control in (
        ("H2a", "frozen", "scratch"),
        ("H2b", "fine-tuned", "frozen"),
    ):
        if {treatment, control} <= set(there):
            panels[claim] = panel(
                found.get(claim, ""),
                *(plots.paired_difference, whole),
                treatment=treatment,
                control=control,
                by="approach",
                p_value=p_values.get(claim),
            )
    return panels


def _fewest_in_words(row: dict[str, Any]) -> str:
    """From how few images on an approach is as good as scratch with all of them."""
    if row["images"] is None:
        return f"{row['approach']} never reaches scratch"
    return (
        f"{row['approach']} reaches scratch with {row['images']} of {row['of']} images"
    )


def _others(
    whole: pd.DataFrame, hypotheses: pd.DataFrame, fewest: list[dict[str, Any]]
) -> list[tuple[str, str, str, str]]:
    """What is said elsewhere, and what was measured here."""
    if set(APPROACHES) != set(whole["approach"]):
        return []
    means = whole.groupby("approach").mean(numeric_only=True)

    def judged(*names: str) -> str:
        return (
            verdicts(hypotheses, *names) or "not tested: needs all images, and a tenth"
        )

    accuracy = [f"{100 * means['accuracy'][name]:.1f}" for name in APPROACHES]
    trained = means["trainable_parameters"]
    fewer = 100 * (1 - trained["frozen"] / trained["scratch"])
    words = f"{fewer:.0f} % fewer" if fewer >= 0 else f"{-fewer:.0f} % more"
    parameters = f"{words} than the baseline"
    if "parameters" in means:
        own = 100 * (1 - trained["frozen"] / means["parameters"]["frozen"])
        parameters += f", {own:.1f} % fewer than the network has"
    best = means["epochs_to_best"]
    halved = best["frozen"] <= best["scratch"] / 2
    (frozen,) = (row for row in fewest if row["approach"] == "frozen")
    enough = frozen["images"] is not None and 10 * frozen["images"] <= frozen["of"]
    rows = (
        (
            "Accuracy 65.7 % from scratch, 84.3 % with frozen features, 89.1 % "
            "fine-tuned",
            f"{accuracy[0]} %, {accuracy[1]} % and {accuracy[2]} %",
            judged("H2a", "H2b"),
        ),
        (
            "97 % fewer trainable parameters",
            parameters,
            "depends on what it is compared with",
        ),
        (
            "Half of the epochs",
            f"best validation accuracy after {best['frozen']:.1f} epochs (frozen) and "
            f"{best['scratch']:.1f} (scratch)",
            f"{'so' if halved else 'not so'} on average; untested",
        ),
        (
            "Ten times fewer images are enough",
            f"{_fewest_in_words(frozen)}, by the means",
            f"{'so' if enough else 'not so'}; {judged('H2c')}",
        ),
    )
    return [(claim, SOURCE, measured, verdict) for claim, measured, verdict in rows]


def _all_images(
    folder: Path,
    whole: pd.DataFrame,
    history: pd.DataFrame,
    panels: dict[str, Draw],
) -> Section:
    looks: dict[str, Any] = {"by": "approach", "styles": APPROACHES}
    both = [panels[name] for name in ("H2a", "H2b") if name in panels]
    curves = [
        panel("", plots.training_curves, history, metric, **looks)
        for metric in ("val_accuracy", "loss")
    ]
    drawn = [
        ("accuracy", [panels["accuracy"]], "Test accuracy by seed."),
        ("differences", both, "Differences by seed."),
        ("parameters", [panels["parameters"]], "What trains."),
        ("curves", curves, "Validation accuracy and training loss over the epochs."),
    ]
    return Section(
        f"With {whole['images'].max()} training images",
        figures=[
            (save_figure(folder, f"{name}.png", *draw), caption)
            for name, draw, caption in drawn
            if draw
        ],
        tables=[
            (
                _means(whole),
                "Means over the seeds that did not diverge, and their 95 % t interval.",
            )
        ],
    )


def _means(results: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (approach, number), group in results.groupby(
        ["approach", "images"], sort=False
    ):
        finite = group["accuracy"].dropna()
        mean, low, high = mean_interval(finite) if len(finite) else [math.nan] * 3
        rows.append(
            {
                "approach": approach,
                "training images": number,
                "seeds": len(finite),
                "test accuracy (%)": 100 * mean,
                "from": 100 * low,
                "to": 100 * high,
                "trainable parameters": group["trainable_parameters"].iloc[0],
                "epochs to best": group["epochs_to_best"].mean(),
                "seconds": group["seconds"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _amounts(folder: Path, results: pd.DataFrame, panels: dict[str, Draw]) -> Section:
    captions = {
        "images": "Test accuracy against the number of training images.",
        "time": "Test accuracy against the seconds of one training.",
    }
    figures = [
        (save_figure(folder, f"{name}.png", panels[name]), caption)
        for name, caption in captions.items()
        if name in panels
    ]
    means = _means(results.sort_values("images", kind="stable"))
    return Section(
        "Accuracy against the amount of data",
        figures=figures,
        tables=[(means.drop(columns="epochs to best"), "Means over the seeds.")],
    )


def _pictures(
    folder: Path,
    largest: dict[tuple[str, int], Path],
    settings: dict[str, Any],
    images: np.ndarray,
) -> Section:
    classes = settings["classes"]
    probabilities = [f"probability_{place}" for place in range(len(classes))]
    figures = []
    diverged = [name for name in APPROACHES if (name, 0) not in largest]
    for approach in APPROACHES:
        if approach in diverged:
            continue
        rows = pd.read_csv(largest[approach, 0] / "predictions.csv")
        # The classes follow each other in the file: take some of each.
        chosen = np.linspace(0, len(rows) - 1, min(PHOTOS, len(rows)))
        rows = rows.iloc[chosen.round().astype(int)]
        right = (rows[probabilities].to_numpy().argmax(1) == rows["label"]).sum()
        draw = panel(
            f"{approach}: {right} of these {len(rows)} right",
            plots.photo_grid,
            images[rows["image"]],
            rows["label"].to_numpy(),
            rows[probabilities].to_numpy(),
            classes,
        )
        name = save_figure(folder, f"photos-{approach}.png", draw)
        caption = f"Test images and what they were taken for: {approach}, seed 0."
        figures.append((name, caption))
    for approach in ("scratch", "frozen"):
        if approach in diverged:
            continue
        maps = [
            panel("", plots.feature_maps, np.load(file, allow_pickle=False))
            for file in sorted(largest[approach, 0].glob("*.npy"))
        ]
        name = save_figure(folder, f"maps-{approach}.png", *maps)
        caption = (
            f"What the first layers make of the first test image: {approach}; left "
            "behind the first convolution, right behind the last layer at a quarter "
            "of the image's size. The eight channels that vary most."
        )
        figures.append((name, caption))
    text = f"None of {', '.join(diverged)}: seed 0 diverged." if diverged else ""
    return Section("Pictures", text, figures=figures)
