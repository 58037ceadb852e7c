"""The ImageNet comparison as a user runs it, on a tree of a few small pictures."""

import json
import os
import re
import shutil
import signal

import keras
import numpy as np
import pytest
from PIL import Image
from programs import numbers, read_until, table

from keras_residual import ResNet
from keras_residual.analysis.statistics import expected_calibration_error
from keras_residual.experiments import RefusedError
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.images import fingerprint, open_data
from keras_residual.experiments.measuring import accuracies, classify, load_network

EXAMPLE = "imagenet_cutout.py"
TINY = (
    *("--image-size", "32", "--depth", "8", "--variant", "cifar", "--seeds", "1"),
    *("--epochs", "2", "--batch-size", "8", "--occlusion", "0.5"),
)
CLASSES, TRAIN, VAL = ("black", "grey", "white"), 12, 5
NETWORKS = ["plain", "resnet-cutout", "resnet"]
if keras.config.backend() != "torch":
    NETWORKS = ["resnet-cutout"]  # the comparison is made once


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """torchvision's tree of noise in three brightnesses, one file of it cut off."""
    root = tmp_path_factory.mktemp("imagenet") / "pictures"
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", VAL)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 80, (40, 48, 3)) + 80 * label
                Image.fromarray(pixels.astype("uint8")).save(folder / f"{number}.jpg")
    cut = root / "train" / "grey" / "3.jpg"
    cut.write_bytes(cut.read_bytes()[:-200])
    return root


@pytest.fixture(scope="session")
def finished(run, tree, tmp_path_factory):
    """Folder of a tiny run of the networks."""
    folder = tmp_path_factory.mktemp("imagenet") / "run"
    arguments = ("--data-dir", tree, "--out", folder, *TINY, "--jobs", "2")
    arguments += ("--networks", *NETWORKS)
    status, out, err = run(EXAMPLE, *arguments, "--record-every", "2")
    assert status == 0, err
    assert err == ""
    lines = out.splitlines()
    assert "1 truncated" in out
    assert str(tree / "train" / "grey" / "3.jpg") in out
    assert sum(" epoch 2 of 2, loss " in line for line in lines) == len(NETWORKS)
    assert lines[-1] == f"Report: {folder / 'report.html'}"
    return folder


@pytest.mark.slow
def test_writes_what_it_says(finished):
    units = sorted(unit.name for unit in (finished / "units").iterdir())
    assert units == [f"{name}-seed000" for name in NETWORKS]
    expected = ResNet(8, 3, variant="cifar").count_params()
    for name in units:
        files = {file.name for file in (finished / "units" / name).iterdir()}
        assert files >= {
            *("result.json", "history.csv", "predictions.csv", "occlusion.csv"),
            *("gradient_norms.csv", "model.keras"),
        }
        result = json.loads((finished / "units" / name / "result.json").read_text())
        assert result["parameters"] == expected
    assert not (finished / ".states").exists()
    assert len(list(finished.glob("report.md"))) == 1


@pytest.mark.slow
def test_measures_are_those_of_the_predictions(finished):
    for unit in (finished / "units").iterdir():
        result = json.loads((unit / "result.json").read_text())
        rows = table(unit / "predictions.csv")
        labels = sorted(int(row["label"]) for row in rows)
        assert labels == [0] * VAL + [1] * VAL + [2] * VAL
        right = [row["predicted_1"] == row["label"] for row in rows]
        assert result["top1"] == pytest.approx(np.mean(right))
        assert result["top5"] == 1  # of three classes
        loss = np.mean([-np.log(float(row["label_probability"])) for row in rows])
        assert result["loss"] == pytest.approx(loss, rel=1e-3)
        confidence = [float(row["confidence"]) for row in rows]
        assert result["ece"] == pytest.approx(
            expected_calibration_error(confidence, right)
        )
        # Two ways of measuring: `fit`, and `predict` afterwards.
        history = table(unit / "history.csv")
        assert result["top1"] == pytest.approx(float(history[-1]["val_top1"]))
        assert float(history[-1]["val_loss"]) == pytest.approx(loss, rel=1e-3)
        occlusion = table(unit / "occlusion.csv")
        assert [float(row["erased_share"]) for row in occlusion] == [0, 0.25]
        # A batch of 8 out of 35 images: 4 steps in an epoch, of which each second.
        norms = table(unit / "gradient_norms.csv")
        assert [row["step"] for row in norms] == ["0", "2", "4", "6"]


@pytest.mark.slow
def test_a_saved_network_is_evaluated(finished, run_here, tree):
    unit = finished / "units" / "resnet-cutout-seed000"
    status, out, err = run_here(
        EXAMPLE, "--data-dir", tree, *TINY, "--evaluate", unit / "model.keras"
    )
    assert (status, err) == (0, "")
    top1 = json.loads((unit / "result.json").read_text())["top1"]
    assert f"top-1 {top1:.4f}" in out.splitlines()[-1]
    assert "15 images" in out.splitlines()[-1]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_a_killed_run_ends_with_the_same_numbers(start, run_here, tree, tmp_path):
    """Under the recipe with most state: schedule, momentum, average, Cutout."""
    recipe = ("--recipe", "modern", "--warmup-epochs", "1", "--epochs", "3")
    arguments = ("--data-dir", tree, *TINY, *recipe, "--networks", "resnet-cutout")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, _, err = run_here(EXAMPLE, *arguments, "--out", whole)
    assert status == 0, err

    process = start(EXAMPLE, *arguments, "--out", killed)
    read_until(process, "epoch 1 of 3, loss")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (killed / "units" / "resnet-cutout-seed000").exists()
    status, out, err = run_here(EXAMPLE, *arguments, "--out", killed)
    assert status == 0, err
    assert re.search("resnet-cutout-seed000: continues after epoch [12]", out)

    found = numbers(killed)
    assert len(found) == 4 + 5
    assert found == numbers(whole)


@pytest.mark.once
@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_a_result(run_here, tree, tmp_path):
    """The other network is trained all the same, and the report counts both."""
    arguments = (
        *("--data-dir", tree, "--out", tmp_path / "run", *TINY, "--jobs", "2"),
        *("--learning-rate", "1e38", "--record-every", "1"),
        *("--networks", "plain", "resnet"),
    )
    status, out, err = run_here(EXAMPLE, *arguments)
    assert (status, err) == (0, "")
    assert sum("seed000: diverged, " in line for line in out.splitlines()) == 2
    result = json.loads((tmp_path / "run/units/plain-seed000/result.json").read_text())
    assert result["diverged"] is True
    assert result["top1"] is None
    assert re.search(r"in epoch 1, step [234] .*in the layer \S+", result["reason"])
    assert "Try a lower --learning-rate" in result["reason"]
    text = (tmp_path / "run/report.md").read_text("utf-8")
    assert "2 trainings of 2 diverged (plain-seed000, resnet-seed000)" in text
    assert "cannot be tested, no seed has finite numbers" in text


@pytest.mark.slow
def test_what_is_kept_is_the_average_that_was_validated(
    load, tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    recipe = ("--recipe", "modern", "--warmup-epochs", "1", "--epochs", "3")
    program = load("imagenet_cutout")
    options = program.parse_options(
        [*("--data-dir", str(tree)), *TINY, *recipe, *("--label-smoothing", "0")]
    )
    source, data = program.open_source(options, tmp_path)
    settings = {
        **options.identity(),
        **program.image_identity(options, source, data),
        "steps_per_epoch": 4,
    }
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = program.build_network("resnet-cutout", settings, seed=0)
    program.compile_by_recipe(network, settings)
    history, diverged = program.fit(
        network, data, settings, 0, tmp_path / "state", Connection()
    )
    assert diverged == ""
    keras.config.set_dtype_policy("float32")
    best = load_network(tmp_path / "state" / "best.keras")
    last = load_network(tmp_path / "state" / "epoch-00003.keras")
    of_best = max(history, key=lambda row: row["val_top1"])
    kept = ((network, history[-1]), (last, history[-1]), (best, of_best))
    for model, row in kept:
        predictions, _ = classify(model, program.batches(data, settings))
        found = accuracies(predictions)
        assert found["top1"] == pytest.approx(row["val_top1"])
        assert found["loss"] == pytest.approx(row["val_loss"], rel=1e-2)


REFUSED = {
    "--data-dir {tmp}/nowhere": "must be an existing folder",
    "--data-dir {tree}/train/black": "found|class",
    "--data-dir {tree}/train": "no split val",
    "--dataset cifar10": "must be tfds:<name>",
    "--classes 2": "are for --data-dir or --dataset",
    "--data-dir {tree} --classes black nothing": "nothing",
    "--data-dir {tree} --per-class 100": "per_class",
    "--data-dir {tree} --batch-size 64": "more than the 35 training images",
    "--data-dir {tree} --depth 9 --batch-size 8": "depth",
    "--data-dir {tree} --evaluate {tmp}/no.keras": "does not exist",
    "--data-dir {tree} --out {tree}": "not empty and holds no run",
    "--recipe modern --epochs 3": "must be above the 5 of the warm-up",
    "--warmup-epochs 3": "schedule cosine",
    "--recipe he2015 --momentum 1": "below 1",
    "--center-fraction 0": "above 0",
    "--record-every -1": "0 or above",
    "--data-dir {tree} --jobs 2 --hosts a:1234 other": "one training at a time",
    "--host-index 1": "no hosts",
    "--hosts localhost:1234 other": "for --data-dir or --dataset",
}


@pytest.mark.once
@pytest.mark.parametrize("arguments", REFUSED)
def test_what_cannot_work_is_refused_in_one_line(run_here, tree, tmp_path, arguments):
    words = arguments.format(tmp=tmp_path, tree=tree).split()
    status, _, err = run_here(EXAMPLE, *words)
    assert status == 2
    assert len(err.splitlines()) == 1
    assert re.search(REFUSED[arguments], err), err
    assert not (tmp_path / "runs").exists()


@pytest.mark.once
@pytest.mark.parametrize(("per_class", "expected"), [(8, 15), (3, 8), (None, 15)])
def test_images_to_compare_are_training_images(load, tree, per_class, expected):
    """As many as there are to validate, or as there are of the smallest class."""
    program = load("imagenet_cutout")
    whole = program.open_data(str(tree), CLASSES, per_class)
    few = program.open_data(str(tree), CLASSES, program.images_to_compare(whole))
    assert set(few.files("train")) <= set(whole.files("train"))
    # One of the three was cut off, and may have been drawn.
    assert expected - 2 <= few.num_images("train") <= expected + 1


def test_a_class_without_images_is_refused_beforehand(load, tree):
    program = load("imagenet_cutout")
    data = program.open_data(str(tree), CLASSES, None)
    settings = {"steps_per_epoch": 1, "batch_size": 8}
    program.check_images(settings, data)
    labels = data.labels("train")
    data.labels = lambda split: labels[labels != 2]
    with pytest.raises(RefusedError, match="white"):
        program.check_images(settings, data)


@pytest.mark.once
def test_images_that_were_encoded_anew_are_other_images(tree, tmp_path):
    shutil.copytree(tree, tmp_path / "copy")
    shutil.copytree(tree, tmp_path / "anew")
    file = tmp_path / "anew/val/white/0.jpg"
    Image.open(file).save(file, quality=30)

    digests = [
        fingerprint(str(root), open_data(str(root), CLASSES, None))
        for root in (tree, tmp_path / "copy", tmp_path / "anew")
    ]

    assert digests[0] == digests[1] != digests[2]


@pytest.mark.once
def test_the_tiny_tree_has_the_size_that_is_asked_for(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = load("imagenet_cutout")
    settings = program.Settings
    size = {"num_classes": 2, "train_per_class": 2, "val_per_class": 1}
    monkeypatch.setattr(settings, "tiny", size)
    first, small = program.open_source(settings(), tmp_path)
    assert program.open_source(settings(), tmp_path)[0] == first
    monkeypatch.setattr(settings, "tiny", {**size, "train_per_class": 3})
    _, data = program.open_source(settings(), tmp_path)
    assert data.num_images("train") > small.num_images("train")


def test_the_erased_colour_is_what_cutout_puts_there(load):
    """What is erased from an image is zero once the means are taken out."""
    settings = {"image_size": 32, "depth": 8, "variant": "cifar", "classes": "ab"}
    model = load("imagenet_cutout").build_network("resnet", settings, seed=0)
    pixels = np.full((1, 32, 32, 3), load("_imagenet_training").FILL, "uint8")
    found = keras.ops.convert_to_numpy(model.get_layer("preprocessing")(pixels))
    # To half a grey level.
    assert np.abs(found).max() < 0.5 / 255 / 0.224 + 1e-6


@pytest.mark.slow
def test_a_network_that_diverged_has_no_measures(load, tree):
    program = load("imagenet_cutout")
    settings = {
        **{"image_size": 32, "depth": 8, "variant": "cifar", "classes": CLASSES},
        **{"batch_size": 8, "center_fraction": 1.0, "occlusion": []},
    }
    model = program.build_network("plain", settings, seed=0)
    # Of the classifier: XLA's maximum of NaN and 0 is 0 on the CPU.
    model.trainable_variables[-1].assign(np.full(3, np.nan))
    data = program.open_data(str(tree), CLASSES, None)
    result, files = program.measure(model, data, data, settings)
    for name in ("top1", "top5", "loss", "train_top1", "ece"):
        assert np.isnan(result[name]), name
    assert len(files["predictions.csv"]) == 15
