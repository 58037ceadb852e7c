"""The report of the ImageNet comparison, from artificial trainings."""

import base64
import math
import re

import imagenet_units as units
import numpy as np
import pandas as pd
import pytest
from programs import table

from keras_residual import GradientNormCallback
from keras_residual.analysis import plots
from keras_residual.experiments import RunFolder, Task

pytestmark = pytest.mark.once


@pytest.fixture
def write(load, tmp_path):
    """A function that writes trainings, lets them be changed, and reports on them."""

    def write(networks=units.NETWORKS, seeds=(0, 1), change=None, images=None, at=None):
        settings = units.SETTINGS | {"networks": list(networks)}
        folder = RunFolder(tmp_path / "run", settings)
        with folder.locked():
            pass
        units.write_units(folder.path, networks, seeds)
        if images is not None:
            unit = folder.units / units.name(networks[-1], seeds[0])
            np.save(unit / "pictures.npy", images)
            np.save(unit / "picture_indices.npy", at or np.arange(len(images)))
        if change:
            change(folder.units)
        # In the order in which a run would compute them: seed by seed.
        tasks = [
            Task(units.name(network, seed), {"seed": seed})
            for seed in seeds
            for network in reversed(networks)
        ]
        path = load("_imagenet_report").write_imagenet_report(folder, tasks, settings)
        return folder.path, path.read_text("utf-8")

    return write


def test_report_of_a_whole_run(write):
    pictures = np.zeros((20, 16, 16, 3), np.uint8)

    folder, text = write(images=pictures)

    assert text.startswith(
        "# PlainNet-18, ResNet-18 and ResNet-18 with Cutout on six classes of "
        "artificial fish and birds\n"
    )
    for name in ("H3a", "H3b", "H3c", "H3d", "H3e"):
        assert re.search(rf"- {name}\. .*: not enough seeds\. n = 2 seeds", text)
    assert "A verdict needs 8 seeds" in text
    # At epoch 10 of 12 the artificial networks have learnt ten twelfths.
    row = "46.28 | none known | 58.5 (56.4 to 60.6) | 70.2 (67.7 to 72.7) |"
    assert f"| ResNet-18 with Cutout | {row}" in text
    assert "PlainNet-18: top-1 11 % at epoch 10" in text
    assert "| 48.7 (" in text or "% at epoch 10 | not comparable" in text
    assert "6 classes in place of 1,000; image size 64 in place of 224" in text
    assert "guessing would be right in 16.7 %" in text
    # Two seeds, 0.004 apart: half width 12.706 * 0.002 = 2.5 points.
    assert "| resnet | 2 | 0 | 65.2 (62.7 to 67.7) |" in text
    # Every setting is a fact, also one that this report knows nothing about.
    assert "| label smoothing | 0.0 |" in text
    assert '| images | {"train": 600, "val": 200} |' in text
    assert "| input | 64 pixels; Cutout erases squares of 16 |" in text
    assert "| per class |" not in text
    page = (folder / "report.html").read_text("utf-8")
    figures = re.findall(r"\]\((figures/.*?)\)", text)
    assert {figure.split("/")[1] for figure in figures} == {
        *("curves.png", "accuracy.png", "gap.png", "occlusion.png"),
        *("reliability.png", "gradient_norms.png", "pictures-plain.png"),
        *("pictures-resnet.png", "pictures-resnet-cutout.png"),
    }
    for figure in figures:
        assert base64.b64encode((folder / figure).read_bytes()).decode() in page
    results = table(folder / "results.csv")
    assert [(row["network"], row["seed"]) for row in results] == [
        (network, seed) for network in units.NETWORKS for seed in "01"
    ]
    assert len(table(folder / "history.csv")) == 6 * units.SETTINGS["epochs"]
    assert len(table(folder / "occlusion.csv")) == 6 * len(units.SIZES)
    assert len(table(folder / "hypotheses.csv")) == 5


@pytest.mark.slow
def test_trainings_that_diverged_are_counted_and_have_no_outcome(write):
    def diverge(folder):
        # Stopped at NaN: no predictions. JSON holds NaN, or says so, or gives nothing.
        plain, cutout = (
            folder / units.name(name, 0) for name in ("plain", "resnet-cutout")
        )
        units.write_result(plain, top1=math.nan, train_top1=None)
        units.write_result(cutout, diverged=True, top1=0.1, best_epoch=None)
        for unit in (plain, cutout):
            (unit / "predictions.csv").unlink()
        (plain / "occlusion.csv").unlink()
        history = pd.read_csv(plain / "history.csv").iloc[:3]
        history.assign(val_top1=np.nan).to_csv(plain / "history.csv", index=False)

    folder, text = write(change=diverge, images=np.zeros((9, 8, 8, 3), np.uint8))

    rows = {row["network"]: row for row in table(folder / "results.csv")[::2]}
    assert rows["plain"]["top1"] == rows["resnet-cutout"]["top1"] == ""
    # Its history reaches epoch 10, but it is not among the means.
    assert "| 46.28 | none known | 58.7 | 70.4 |" in text
    assert "| plain | 1 | 1 | 60.4 |" in text
    assert "| resnet-cutout | 1 | 1 | 70.4 |" in text
    assert re.search(r"H3a\. .* n = 1 seed, 65\.4 against 60\.4 %", text)
    assert "**65.4 % against 60.4 %; one seed: no verdict**" in text
    seeds = [(row["network"], row["seed"]) for row in table(folder / "occlusion.csv")]
    assert ("resnet-cutout", "0") not in seeds
    assert "taken for: plain, seed 1" in text


def test_report_without_what_is_optional(write):
    def reduce(folder):
        unit = folder / units.name("plain", 3)
        for name in ("gradient_norms", "predictions", "occlusion"):
            (unit / f"{name}.csv").unlink()
        units.write_result(unit, train_top1=None, ece=None, top5=None)

    folder, text = write(["plain"], [3], reduce, images=np.zeros((4, 8, 8, 3)))

    assert text.startswith("# PlainNet-18 on six classes")
    assert "H3" not in text
    figures = {path.stem for path in folder.glob("figures/*.png")}
    assert figures == {"curves", "accuracy"}
    assert "| plain | 1 | 0 | 61.2 | n/a |" in text


def test_every_training_may_diverge(write):
    def diverge(folder):
        for unit in folder.iterdir():
            units.write_result(unit, diverged=True)

    _, text = write(["plain", "resnet"], [0], diverge)

    assert "H3a. The residual network has a higher top-1 accuracy" in text
    assert "cannot be tested, no seed has finite numbers" in text
    assert "| resnet | 0 | 1 | n/a |" in text


def test_pictures_are_those_of_the_indices(write, monkeypatch):
    grids = []

    def draw(images, labels, probabilities, class_names, ax):
        grids.append((images[:, 0, 0, 0], labels, probabilities))
        return ax

    monkeypatch.setattr(plots, "photo_grid", draw)
    # Each picture holds its own index; 500 is not among the predictions.
    indices = [150, 7, 500, 33]
    pictures = np.ones((4, 2, 2, 3), np.uint8) * np.array(
        [150, 7, 255, 33], np.uint8
    ).reshape(4, 1, 1, 1)

    folder, _ = write(["resnet"], [0], images=pictures, at=indices)

    ((shown, labels, probabilities),) = grids
    rows = table(folder / "units/resnet-seed000/predictions.csv")
    assert shown.tolist() == [150, 7, 33]
    assert labels.tolist() == [int(rows[index]["label"]) for index in shown]
    for index, row in zip(shown, probabilities, strict=True):
        assert row.argmax() == int(rows[index]["predicted_1"])
        assert row.max() == float(rows[index]["confidence"])


def compared(load, **columns):
    """Outcomes of eight seeds; a number is what the network has with every seed."""
    return pd.DataFrame(
        [
            {"network": network, "seed": seed}
            | {
                name: values[place] + 0.01 * seed * (name == "top1")
                for name, values in columns.items()
            }
            for place, network in enumerate(units.NETWORKS)
            for seed in range(8)
        ]
    )


def test_verdicts_follow_the_data(load):
    tested = (
        load("_imagenet_hypotheses")
        .test_hypotheses(
            compared(
                load,
                top1=[0.5, 0.6, 0.6],
                gap=[0.1, 0.3, 0.2],
                occluded_top1=[0.4, 0.5, 0.4],
                ece=[0.1, 0.2, 0.1],
            )
        )
        .set_index("hypothesis")
    )

    assert tested["verdict"].to_dict() == {
        "H3a": "supported",
        "H3b": "undecided",
        "H3c": "supported",
        "H3d": "contradicted",
        "H3e": "supported",
    }
    assert tested["mean_difference"].tolist() == pytest.approx([0.1, 0, 0.1, -0.1, 0.1])
    # Eight seeds that agree: 2 / 2^8, times Holm's 5 for the four smallest.
    assert tested["p"].tolist() == pytest.approx([2 / 256, 1, *[2 / 256] * 3])
    assert tested["p_holm"].tolist() == pytest.approx([10 / 256, 1, *[10 / 256] * 3])


def test_only_hypotheses_about_trained_networks_are_tested(load):
    frame = compared(load, top1=[0.5, 0.6, 0.6], gap=[0] * 3, ece=[0] * 3)
    frame = frame[frame["network"] != "resnet-cutout"]

    tested = load("_imagenet_hypotheses").test_hypotheses(frame)

    assert tested["hypothesis"].tolist() == ["H3a"]
    assert tested["p_holm"].tolist() == pytest.approx([2 / 256])


def test_outcomes_by_hand(load):
    results = pd.DataFrame(
        {
            "network": ["plain", "resnet"],
            "seed": 0,
            "top1": [0.5, 0.6],
            "train_top1": [0.75, math.nan],
            "ece": [0.1, 0.2],
        }
    )
    occlusion = pd.DataFrame(
        {
            "network": ["plain"] * 3 + ["resnet"] * 3,
            "seed": 0,
            "size": [0.0, 0.25, 0.5] * 2,
            "top1": [0.5, 0.4, 0.2, 0.6, 0.5, math.nan],
        }
    )

    found = load("_imagenet_hypotheses").outcomes(results, occlusion)

    assert found["gap"].iloc[0] == pytest.approx(0.25)
    # Without the images that are whole; a size that is missing spoils the mean.
    assert found["occluded_top1"].iloc[0] == pytest.approx(0.3)
    assert np.isnan(found[["gap", "occluded_top1"]].iloc[1]).all()


def test_the_difference_is_held_against_both_claims(load):
    against = load("_imagenet_hypotheses").against_claims
    frame = compared(load, top1=[0.5, 0.5, 0.5])
    rows = frame["network"] == "resnet"
    frame.loc[rows, "top1"] += np.array([0.01, -0.01] * 4)

    words = against(frame)

    # Mean 0; standard error sqrt(8 / 7) / sqrt(8) points, t(0.975; 7) = 2.3646.
    assert "+0.0 points of top-1 (95 % interval -0.9 to +0.9)" in words
    assert "He et al. 2015 (table 2, trained to the end) +0.06, inside it" in words
    assert "the source (epoch 10) +28, outside it" in words
    assert "inside" not in against(frame, other_task=True)
    assert "outside" not in against(frame, other_task=True)
    assert "from one seed" in against(frame[frame["seed"] == 0])
    assert against(frame[frame["network"] != "plain"]) == ""


def test_figures_can_be_compared_with_the_same_settings_alone(load):
    words = load("_imagenet_tables").comparability
    source = units.SETTINGS | {
        "classes": [str(number) for number in range(1000)],
        "data": "ImageNet",
        "image_size": 224,
    }

    assert "settings: where these are ImageNet's images, its figures" in words(source)
    assert "can be compared with the source's" in words(source)
    for change in (
        {"classes": ["cat", "dog"]},
        {"depth": 34},
        {"variant": "cifar"},
        {"image_size": 64},
        {"per_class": 100},
    ):
        assert "must not be compared" in words(source | change)
    # The published networks were trained otherwise as well.
    for change in (
        *({"label_smoothing": 0.1}, {"batch_size": 256}, {"learning_rate": 0.1}),
        *({"precision": "mixed_bfloat16"}, {"epochs": 9}),
    ):
        found = words(source | change)
        assert "compared with the published ones, but not with the source's" in found
        assert "must not" not in found


def test_occlusion_table_by_hand(load):
    frame = pd.DataFrame(
        [
            ("resnet", 0, 0.0, 0.0, 0.6),
            ("resnet", 0, 0.5, 0.20, 0.5),
            ("resnet", 1, 0.0, 0.0, 0.7),
            ("resnet", 1, 0.5, 0.24, 0.4),
        ],
        columns=["network", "seed", "size", "erased_share", "top1"],
    )
    under_occlusion = load("_imagenet_tables").under_occlusion

    found = under_occlusion(frame)

    assert found["erased share"].tolist() == pytest.approx([0, 0.22])
    assert found["resnet (%)"].tolist() == pytest.approx([65, 45])
    assert found["resnet, lost"].tolist() == pytest.approx([math.nan, 20], nan_ok=True)
    # Without the whole images nobody knows what was lost.
    assert "resnet, lost" not in under_occlusion(frame[frame["size"] > 0])


def test_epoch_10_is_that_of_the_history(load):
    results = pd.DataFrame({"network": "resnet", "top1": [0.7, 0.8]})
    history = pd.DataFrame(
        {"network": "resnet", "epoch": [9, 10, 11] * 2, "val_top1": [0.1, 0.2, 0.3] * 2}
    )
    settings = {"depth": 18, "epochs": 11}

    found = load("_imagenet_tables").beside_published(results, history, settings)

    assert found["this run, epoch 10"].tolist() == ["20.0 (20.0 to 20.0)"]
    # t(0.975; 1) = 12.706 times the standard error of 5 points.
    assert found["this run, epoch 11"].tolist() == ["75.0 (11.5 to 138.5)"]


@pytest.mark.parametrize(
    ("variant", "depth"),
    [
        ("cifar", 8),
        pytest.param("torchvision", 18, marks=pytest.mark.slow),
    ],
)
def test_gradient_norms_are_those_of_the_shared_convolutions(
    load, tmp_path, variant, depth
):
    """The file that the callback of a training writes, with the names that it has."""
    settings = {
        **{"image_size": 32, "depth": depth, "variant": variant},
        **{"classes": "abc", "cutout_size": 8},
    }
    frames = []
    for network in ("plain", "resnet"):
        model = load("_imagenet_networks").build_network(network, settings, seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        norms = GradientNormCallback(by="layer", filepath=tmp_path / "norms.csv")
        images = np.zeros((2, 32, 32, 3), "uint8")
        model.fit(images, np.zeros(2), verbose=0, callbacks=[norms])
        frames.append(pd.read_csv(tmp_path / "norms.csv"))
        frames[-1].insert(0, "network", network)
        frames[-1].insert(1, "seed", 0)

    found = load("_imagenet_figures")._kernels(pd.concat(frames))

    # The stem, and two convolutions in each of the blocks.
    convolutions = depth - 1
    depths = list(range(1, convolutions + 1))
    for network in ("plain", "resnet"):
        assert found.loc[found["network"] == network, "depth"].tolist() == depths
    (figure,) = load("_imagenet_figures").gradient_figures(tmp_path, pd.concat(frames))
    assert (tmp_path / figure[0]).is_file()
