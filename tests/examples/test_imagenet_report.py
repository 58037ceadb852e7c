"""The report of the ImageNet comparison, from artificial trainings."""

import base64
import math
import re

import imagenet_units as units
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from programs import table

from keras_residual import GradientNormCallback
from keras_residual.analysis import plots
from keras_residual.experiments import RunFolder, Task
from keras_residual.experiments.gradients import kernels_by_depth
from keras_residual.experiments.hypotheses import about_groups, compare_claims
from keras_residual.experiments.measuring import with_outcomes
from keras_residual.experiments.tables import under_occlusion

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
            places = np.arange(len(images)) if at is None else np.array(at)
            np.savez(unit / "pictures.npz", images=images, places=places)
        if change:
            change(folder.units)
        # In the order in which a run would compute them: seed by seed.
        tasks = [
            Task(units.name(network, seed), {"network": network})
            for seed in seeds
            for network in reversed(networks)
        ]
        claims = load("imagenet_cutout").CLAIMS
        path = load("_imagenet_report").write_imagenet_report(folder, tasks, claims)
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
    row = "| 58.5 (56.4 to 60.6) % at epoch 10 | not comparable: see above |"
    assert re.search(rf"Cutout: top-1 46.28 %, at epoch 10 \|.*{re.escape(row)}", text)
    assert "PlainNet-18: top-1 72.06 %, trained to the end | He et al." in text
    assert "6 classes in place of 1,000; image size 64 in place of 224" in text
    assert "guessing would be right in 16.7 %" in text
    # Two seeds, 0.004 apart: half width 12.706 * 0.002 = 2.5 points.
    assert "| resnet | 2 | 0 | 65.2 (62.7 to 67.7) |" in text
    # Every setting is a fact, also one that this report knows nothing about.
    assert "| label smoothing | 0 |" in text
    assert "| images | {'train': 600, 'val': 200} |" in text
    assert "| cutout size | 16 |" in text
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
    assert re.search(r"top-1 46.28 %, at epoch 10 \|.*\| 58.7 % at epoch 10 \|", text)
    assert "| plain | 1 | 1 | 60.4 |" in text
    assert "| resnet-cutout | 1 | 1 | 70.4 |" in text
    assert re.search(r"H3a\. .* n = 1 seed, 65\.4 against 60\.4 %", text)
    assert "**resnet 65.4 %, plain 60.4 %; one seed: no verdict**" in text
    seeds = [(row["network"], row["seed"]) for row in table(folder / "occlusion.csv")]
    assert ("resnet-cutout", "0") not in seeds
    assert "Images as plain sees them." in text  # by the other seed


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


def compared(**columns):
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


@pytest.fixture
def tested(load):
    claims = load("imagenet_cutout").CLAIMS

    def tested(frame):
        there = about_groups(claims, frame["network"])
        return compare_claims(there, frame, "network")

    return tested


def test_verdicts_follow_the_data(tested):
    frame = compared(
        top1=[0.5, 0.6, 0.6],
        gap=[0.1, 0.3, 0.2],
        occluded_top1=[0.4, 0.5, 0.4],
        ece=[0.1, 0.2, 0.1],
    )

    found = tested(frame).set_index("hypothesis")

    assert found["verdict"].to_dict() == {
        "H3a": "supported",
        "H3b": "undecided",
        "H3c": "supported",
        "H3d": "contradicted",
        "H3e": "supported",
    }
    assert found["mean_difference"].tolist() == pytest.approx([0.1, 0, 0.1, -0.1, 0.1])
    # Eight seeds that agree: 2 / 2^8, times Holm's 5 for the four smallest.
    assert found["p"].tolist() == pytest.approx([2 / 256, 1, *[2 / 256] * 3])
    assert found["p_holm"].tolist() == pytest.approx([10 / 256, 1, *[10 / 256] * 3])


def test_only_hypotheses_about_trained_networks_are_tested(tested):
    frame = compared(top1=[0.5, 0.6, 0.6], gap=[0] * 3, ece=[0] * 3)
    frame = frame[frame["network"] != "resnet-cutout"]

    found = tested(frame)

    assert found["hypothesis"].tolist() == ["H3a"]
    assert found["p_holm"].tolist() == pytest.approx([2 / 256])


def test_outcomes_by_hand():
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

    found = with_outcomes(results, occlusion, ["network", "seed"])

    assert found["gap"].iloc[0] == pytest.approx(0.25)
    # Without the images that are whole; a size that is missing spoils the mean.
    assert found["occluded_top1"].iloc[0] == pytest.approx(0.3)
    assert np.isnan(found[["gap", "occluded_top1"]].iloc[1]).all()


ON_IMAGENET = units.SETTINGS | {
    "classes": [str(number) for number in range(1000)],
    "data": "ImageNet",
    "image_size": 224,
}


def test_claims_of_others_are_held_against_the_interval(load):
    against = load("_imagenet_report").against_others
    frame = compared(top1=[0.5, 0.5, 0.5])
    frame.loc[frame["network"] == "resnet", "top1"] += np.array([0.01, -0.01] * 4)
    history = pd.concat(
        frame.rename(columns={"top1": "val_top1"}).assign(
            epoch=epoch, val_top1=lambda rows, less=less: rows["val_top1"] - less
        )
        for epoch, less in ((9, 0.2), (10, 0.4), (12, 0.0))
    )

    rows = {row[0]: row[1:] for row in against(history, frame, ON_IMAGENET)}

    # Mean 0; standard error sqrt(8 / 7) / sqrt(8) points, t(0.975; 7) = 2.3646.
    difference = "0.0 (-0.9 to 0.9) points at epoch"
    claim = "ResNet-18 minus PlainNet-18: +0.06 points of top-1, trained to the end"
    assert rows[claim][1:] == (f"{difference} 12", "inside the 95 % interval")
    claim = "ResNet-18 minus PlainNet-18: +28 points of top-1, at epoch 10"
    assert rows[claim][1:] == (f"{difference} 10", "outside the 95 % interval")
    # Seeds 0.01 apart: 0.1 + 0.035, and 2.3646 times sqrt(6) / sqrt(8) points.
    claim = "PlainNet-18: top-1 11 %, at epoch 10"
    assert rows[claim][1:] == (
        *("13.5 (11.5 to 15.5) % at epoch 10", "outside the 95 % interval"),
    )
    of_he = [
        row[2] for row in rows.values() if row[0].startswith("He") and "%" in row[1]
    ]
    assert of_he.count("not comparable: see above") == 2  # ten crops
    # With other settings no figure is inside or outside, with one seed neither.
    for change in ({"classes": ["cat", "dog"]}, {"depth": 34}):
        changed = against(history, frame, ON_IMAGENET | change)
        assert {row[3] for row in changed} == {"not comparable: see above"}
    one = against(history[history["seed"] == 0], frame[frame["seed"] == 0], ON_IMAGENET)
    assert "one seed: no verdict" in {row[3] for row in one}
    assert not any("interval" in row[3] for row in one)
    plain = frame[frame["network"] == "plain"]
    assert len(against(history, plain, ON_IMAGENET)) == 2
    recipe = against(history, frame, ON_IMAGENET | {"learning_rate": 0.1})
    assert sum("interval" in row[3] for row in recipe) == 2  # trained to the end


def test_figures_can_be_compared_with_the_same_settings_alone(load):
    words, source = load("_imagenet_report").comparability, ON_IMAGENET

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


def test_occlusion_table_by_hand():
    frame = pd.DataFrame(
        [
            ("resnet", 0, 0.0, 0.0, 0.6),
            ("resnet", 0, 0.5, 0.22, 0.5),
            ("resnet", 1, 0.0, 0.0, 0.7),
            ("resnet", 1, 0.5, 0.22, 0.4),
        ],
        columns=["network", "seed", "size", "erased_share", "top1"],
    )

    found = under_occlusion(frame, "network")

    assert found["erased share"].tolist() == pytest.approx([0, 0.22])
    assert found["resnet (%)"].tolist() == pytest.approx([65, 45])
    assert found["resnet, lost"].tolist() == pytest.approx([math.nan, 20], nan_ok=True)
    # Without the whole images nobody knows what was lost.
    assert "resnet, lost" not in under_occlusion(frame[frame["size"] > 0], "network")


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
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), "uint8")
    frames = []
    for network in ("plain", "resnet"):
        model = load("imagenet_cutout").build_network(network, settings, seed=0)
        model.compile("sgd", "sparse_categorical_crossentropy")
        norms = GradientNormCallback(by="layer", filepath=tmp_path / "norms.csv")
        model.fit(images, np.arange(8) % 3, verbose=0, callbacks=[norms])
        frames.append(pd.read_csv(tmp_path / "norms.csv"))
        frames[-1].insert(0, "network", network)
        frames[-1].insert(1, "seed", 0)

    norms = pd.concat(frames)
    found = kernels_by_depth(norms, "network")

    # The stem, and two convolutions in each of the blocks.
    convolutions = depth - 1
    depths = list(range(1, convolutions + 1))
    for network in ("plain", "resnet"):
        assert found.loc[found["network"] == network, "depth"].tolist() == depths
    ax = plots.gradient_norm_by_depth(found, by="network")
    title = " ".join(ax.get_title(loc="left").split())
    assert title.startswith("The gradient toward the input: plain grows ")
    assert "; resnet " in title
    plt.close()
