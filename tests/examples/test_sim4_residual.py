"""Simulation 4 as a user runs it: as a program, in its smallest form."""

import base64
import os
import re
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from programs import numbers, read_until, table

from keras_residual import datasets

TINY = (
    *("--blocks", "1", "--images", "64", "--epochs", "2", "--seeds", "2"),
    *("--width", "4", "--record-every", "1", "--jobs", "1"),
    *("--initial-blocks", "2"),
)


@pytest.fixture(scope="session")
def finished(run, tmp_path_factory):
    """Folder of a tiny run of simulation 4."""
    folder = tmp_path_factory.mktemp("sim4") / "run"
    status, out, err = run("sim4_residual.py", "--out", folder, *TINY)
    assert status == 0, err
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("6 tasks (1 at a time)")
    assert all(line.endswith(" left") for line in lines[1:7])
    assert lines[7] == f"Report: {folder / 'report.html'}"
    return folder


@pytest.mark.once
def test_writes_what_it_says(finished):
    figures = {path.name.split("-")[0] for path in finished.glob("figures/*.png")}
    assert figures == {
        "curves",
        "accuracy",
        "depth",
        "heatmap",
        "epochs",
        "initialization.png",
    }
    assert (finished / "dashboard.png").is_file()

    results = table(finished / "results.csv")
    assert [(row["net"], row["seed"]) for row in results] == [
        ("plain", "0"),
        ("residual", "0"),
        ("plain", "1"),
        ("residual", "1"),
    ]
    assert len({row["parameters"] for row in results}) == 1
    history = table(finished / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"] * 4
    for row in history[1::2]:
        assert row["val_accuracy"] in {result["accuracy"] for result in results}


@pytest.mark.once
def test_records_every_convolution(finished):
    for unit in (finished / "units").glob("*-bn_*"):
        rows = table(unit / "gradient_norms.csv")
        # 51 training images make one full batch in each of two epochs.
        assert [row["step"] for row in rows] == ["0", "1"]
        kernels = [name for name in rows[0] if re.search(r"conv\d/kernel$", name)]
        assert len(kernels) == 2
        norms = np.array([[float(row[name]) for name in kernels] for row in rows])
        assert np.isfinite(norms).all()
        assert (norms > 0).all()


def test_nets_start_from_equal_weights(load):
    program, weights = load("sim4_residual"), []
    for net in program.NETS:
        keras.utils.set_random_seed(3)
        model = program.build_network(net, 2, 4, True, 10)
        weights.append(model.get_weights())

    assert len(weights[0]) == len(weights[1]) > 0
    for plain, residual in zip(*weights, strict=True):
        np.testing.assert_array_equal(plain, residual)


@pytest.mark.once
def test_report_gives_verdicts_and_figures(finished):
    text = (finished / "report.md").read_text("utf-8")
    page = (finished / "report.html").read_text("utf-8")

    for hypothesis in ("H1a", "H1b", "H2", "H4"):
        assert re.search(rf"{hypothesis}\. .*: not enough seeds\. n = 2 seeds", text)
    for figure in re.findall(r"\]\((figures/.*?)\)", text):
        assert base64.b64encode((finished / figure).read_bytes()).decode() in page
    parts = ["Do shortcuts keep", "- H1a", "at a glance", "What others claim"]
    parts += ["Before the first step", "H1a on equal terms", "The tests in full"]
    parts += ["What this does not show", "How it was done", "Settings, versions"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "A demonstration" not in text
    for claim in ("0.01 at the tenth layer", "59,752 parameters", "40 % less variance"):
        assert f"{claim}" in text
    # One change of the loss from epoch to epoch does not tell how much it fluctuates.
    assert re.search(r"- H5\. .*: \*\*no verdict, since no seed has finite", text)


@pytest.mark.once
def test_new_networks_are_measured_and_not_trained(finished):
    rows = table(finished / "initial_norms.csv")
    # The stem, and two convolutions in each of two blocks.
    places = {(row["net"], row["batch_norm"], row["seed"]) for row in rows}
    assert len(places) == 2 * 2 * 2
    assert len(rows) == len(places) * 5
    assert min(float(row["norm"]) for row in rows) > 0


@pytest.mark.once
def test_gradients_at_the_first_steps_and_at_equal_loss(finished):
    """From the files of the run, net by net: one step in each of two epochs."""
    scales = {(r["net"], r["seed"]): r for r in table(finished / "gradient_scales.csv")}
    for seed in ("0", "1"):
        losses, norms = {}, {}
        for net in ("plain", "residual"):
            unit = finished / f"units/{net}-blocks001-bn_on-seed00{seed}"
            losses[net] = [float(row["loss"]) for row in table(unit / "history.csv")]
            norms[net] = [
                float(row["block01/conv1/kernel"])
                for row in table(unit / "gradient_norms.csv")
            ]
        level = max(min(values) for values in losses.values())
        for net in losses:
            row = scales[net, seed]
            both = np.exp(np.mean(np.log(norms[net])))
            assert float(row["first_start"]) == pytest.approx(both)
            epoch = next(i for i, loss in enumerate(losses[net]) if loss <= level)
            assert float(row["first_equal_loss"]) == pytest.approx(norms[net][epoch])


def outcomes(load, **columns):
    """Eight seeds of both nets; what is not given does not differ."""
    program = load("sim4_residual")
    key = {"blocks": 1, "batch_norm": "on"}
    rows = [
        {"net": net, **key, "seed": seed, "accuracy": 0.5, "epochs_to_threshold": 3.0}
        for seed in range(8)
        for net in program.NETS
    ]
    results = pd.DataFrame(rows)
    for name, values in columns.items():
        results[name] = np.tile(values, 8)
    scales = results[program.KEY].assign(first_kernel=1.0, last_kernel=1.0)
    history = results[program.KEY].merge(pd.DataFrame({"epoch": [1, 2, 3]}), "cross")
    return program, results, scales, history


@pytest.mark.once
def test_a_net_that_never_arrives_is_later_than_all(load):
    program, results, scales, history = outcomes(
        load, epochs_to_threshold=[np.nan, 4.0]
    )
    tested = program.test_claims(results, scales, history.assign(val_loss=1.0))
    row = tested.set_index("hypothesis").loc["H4"]
    # Ranks: 4 epochs are the places 1 to 8, never is 9 to 16.
    assert row["mean_difference"] == pytest.approx(12.5 - 4.5)
    assert row["answer"] == "yes, plain never, residual 4 epochs"
    assert row["p_holm"] <= 5 * 2 / 2**8
    results.loc[results["seed"] == 0, "accuracy"] = np.nan  # diverged
    tested = program.test_claims(results, scales, history.assign(val_loss=1.0))
    assert tested.set_index("hypothesis").loc["H4", "n"] == 7


@pytest.mark.once
def test_fluctuation_is_that_of_the_changes(load):
    """By hand: the changes -1, +1 deviate by sqrt(2), and -1, -1 not at all."""
    program, results, scales, history = outcomes(load)
    losses = {"plain": [2.0, 1.0, 2.0], "residual": [2.0, 1.5, 2.0]}
    history["val_loss"] = [
        losses[net][epoch - 1]
        for net, epoch in zip(history["net"], history["epoch"], strict=True)
    ]
    tested = program.test_claims(results, scales, history).set_index("hypothesis")
    assert tested.loc["H5", "mean_difference"] == pytest.approx(np.log10(2))
    assert tested.loc["H5", "answer"] == "yes, 2 times larger"
    history["val_loss"] = 3.0 - history["epoch"]
    tested = program.test_claims(results, scales, history).set_index("hypothesis")
    assert tested.loc["H5", "n"] == 0


@pytest.mark.once
def test_again_only_rebuilds_the_report(run_here, finished):
    report = finished / "report.md"
    text = report.read_text("utf-8")
    units = {path: path.stat().st_mtime_ns for path in finished.glob("units/*/*")}
    report.unlink()

    status, out, err = run_here("sim4_residual.py", "--out", finished, *TINY)

    assert status == 0, err
    assert "All 6 tasks are there already." in out
    assert report.read_text("utf-8") == text
    assert {path: path.stat().st_mtime_ns for path in units} == units


@pytest.mark.slow
@pytest.mark.once
def test_the_report_of_an_unfinished_run_names_what_is_missing(
    run_here, finished, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    arguments = ("sim4_residual.py", "--out", folder, *TINY, "--report-only")
    shutil.rmtree(folder / "units/residual-blocks001-bn_on-seed001")

    status, out, err = run_here(*arguments)

    assert (status, err) == (0, "")
    assert out == f"Report: {folder / 'report.html'}\n"
    text = (folder / "report.md").read_text("utf-8")
    assert "1 of 4 trainings are missing (residual-blocks001-bn_on-seed001)" in text
    assert "n = 1 seed" in text
    shutil.rmtree(folder / "units/residual-blocks001-bn_on-seed000")
    assert run_here(*arguments)[0] == 0
    shutil.rmtree(folder / "units")
    status, out, err = run_here(*arguments)
    assert (status, out) == (2, "")
    assert "holds no finished training to report on" in err


def test_a_training_that_diverges_is_a_result(load):
    program = load("sim4_residual")
    settings = program.PRESETS["quick"].replace(
        **{"epochs": 3, "width": 4, "record_every": 1, "learning_rate": 1e38}
    )
    images, labels = datasets.sinusoid_images(64)
    arguments = {"net": "plain", "blocks": 1, "batch_norm": "off", "seed": 0}

    result, files = program.train(arguments, (images, labels, 10, settings))

    assert result["diverged"] is True
    assert np.isnan(result["accuracy"])
    assert len(files["history.csv"]) == 3


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="needs it")
def test_trains_without_importing_tensorflow(root):
    """Which takes five seconds of each process, and logs half a page."""
    code = """
import sys
import sim4_residual as program
from keras_residual import datasets

settings = program.PRESETS["quick"].replace(epochs=1, width=4, initial_blocks=(1,))
shared = (*datasets.sinusoid_images(64), 10, settings)
program.train({"seed": 0}, shared)
program.train({"net": "plain", "blocks": 1, "batch_norm": "on", "seed": 0}, shared)
import _sim4_report
assert "tensorflow" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'examples'}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.once
def test_limits_say_what_was_chosen(load):
    limits = load("_sim4_report").LIMITS
    assert "chose nothing" not in limits
    assert "on two of the seeds" in " ".join(limits.split())


@pytest.mark.once
def test_refuses_a_folder_with_other_settings(run_here, finished):
    before = sorted(finished.rglob("*"))

    status, out, err = run_here(
        "sim4_residual.py", "--out", finished, *TINY, "--epochs", "3", "--width", "5"
    )

    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "epochs is 2 there and 3 here; width is 4 there and 5 here" in err
    assert sorted(finished.rglob("*")) == before


@pytest.mark.slow
def test_what_is_missing_is_computed_to_the_same_numbers(run_here, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (folder / "report.md").unlink()
    for unit in folder.glob("units/*-seed001"):
        shutil.rmtree(unit)
    assert len(list(folder.glob("units/*"))) < 6

    status, out, err = run_here("sim4_residual.py", "--out", folder, *TINY)

    assert status == 0, err
    assert "are there already" in out
    found = numbers(folder)
    assert len(found) == 4 * 3 + 2 * 2 + 5
    assert found == numbers(finished)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_stopped_twice_ends_with_the_same_numbers(start, run_here, finished, tmp_path):
    arguments = ("sim4_residual.py", "--out", tmp_path / "run", *TINY)

    process = start(*arguments)
    read_until(process, "[1/6]")
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(err.strip().splitlines()) == 1
    assert "same command continues" in err

    process = start(*arguments)
    read_until(process, "/6] ")
    process.kill()
    # The pipes close only when the workers are gone as well.
    process.communicate(timeout=60)
    assert not (tmp_path / "run" / "report.md").exists()

    status, out, err = run_here(*arguments)
    assert status == 0, err
    assert "are there already" in out
    assert numbers(tmp_path / "run") == numbers(finished)


@pytest.mark.once
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="needs a user who is not root"
)
def test_unreadable_folder(run, tmp_path):
    (tmp_path / "images").mkdir(mode=0o000)

    status, _, err = run("sim4_residual.py", "--dataset", tmp_path / "images")

    assert status == 2
    assert "images cannot be read: Permission denied" in err


@pytest.mark.slow
@pytest.mark.once
def test_unknown_tfds_name(run_here, tmp_path):
    pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")

    status, out, err = run_here(
        "sim4_residual.py", "--out", tmp_path / "run", "--dataset", "tfds:no_such_set"
    )

    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "Received: name='no_such_set'" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.once
@pytest.mark.slow
def test_on_class_folders(run_here, tmp_path):
    """Images that one pixel tells apart: any net that sees them must learn them."""
    for label, name in enumerate(("dark", "light")):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for number in range(40):
            grey = 200 * label + number
            Image.new("RGB", (32, 32), (grey,) * 3).save(folder / f"{number}.png")

    status, _, err = run_here(
        *("sim4_residual.py", "--out", tmp_path / "run"),
        *("--dataset", tmp_path / "images", "--images", 80, "--epochs", 6),
        *("--blocks", 1, 2, "--seeds", 1, "--width", 4, "--batch-size", 8),
        *("--learning-rate", 0.02, "--initial-blocks", 1),
    )

    assert status == 0, err
    assert (tmp_path / "run/figures/degradation-bn_on.png").is_file()
    text = (tmp_path / "run/report.md").read_text("utf-8")
    assert "There are 2 conditions, each a family of its own" in text
    results = table(tmp_path / "run" / "results.csv")
    assert {row["blocks"] for row in results} == {"1", "2"}
    assert min(float(row["best_accuracy"]) for row in results) > 0.9


def test_about_sixty_thousand_parameters(load):
    program = load("sim4_residual")
    counts = {
        (net, norm): program.build_network(net, 10, 18, norm, 10).count_params()
        for net in program.NETS
        for norm in (True, False)
    }

    assert counts["plain", True] == counts["residual", True]
    assert counts["plain", False] == counts["residual", False]
    assert all(59_000 < count < 61_000 for count in counts.values())
