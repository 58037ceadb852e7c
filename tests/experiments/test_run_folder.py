"""The run folder: whole or not there, compared, locked, and strict JSON."""

import errno
import json
import math
import os

import numpy as np
import pandas as pd
import pytest

from keras_residual.experiments import RefusedError, RunFolder, StoppedError, Task
from keras_residual.experiments import run_folder as module

pytestmark = pytest.mark.once

TASK, OTHER = Task("one", {"seed": 1}), Task("two", {"seed": 2})
OUTPUT = (
    {"accuracy": 0.5, "seconds": 1.0},
    {"history.csv": pd.DataFrame({"epoch": [1]}), "weights.h5": b"\x00\x01"},
)


def created(path, settings):
    folder = RunFolder(path, settings)
    with folder.locked(2):
        pass
    return folder


def test_looking_at_a_folder_writes_nothing(tmp_path):
    RunFolder(tmp_path / "run", {"epochs": 1})

    assert list(tmp_path.iterdir()) == []


def test_config_holds_settings_versions_and_hardware(tmp_path):
    created(tmp_path / "run", {"epochs": 1, "blocks": (2, 3)})

    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"] == {"epochs": 1, "blocks": [2, 3]}
    assert {"python", "keras", "backend", "numpy"} <= set(config["versions"])
    assert config["hardware"]["cores"] >= 1
    assert config["hardware"]["processes"] == 2
    assert config["started"][:2] == "20"


def test_the_same_settings_are_accepted_again(tmp_path):
    folder = created(tmp_path, {"blocks": (2, 3)})
    before = (tmp_path / "config.json").read_bytes()
    folder.store(TASK, OUTPUT)

    again = created(tmp_path, {"blocks": (2, 3)})

    assert again.has(TASK)
    assert again.finished([TASK, OTHER]) == [TASK]
    assert (tmp_path / "config.json").read_bytes() == before


def test_other_settings_are_refused_by_name(tmp_path):
    created(tmp_path, {"epochs": 15, "width": 18})

    with pytest.raises(
        RefusedError, match=r"settings: epochs is 15 there and 3 here\. "
    ):
        RunFolder(tmp_path, {"epochs": 3, "width": 18})


def test_other_versions_are_refused_by_name(tmp_path, monkeypatch):
    created(tmp_path, {})
    with pytest.raises(RefusedError, match="decoder is None there and tf 1 here"):
        RunFolder(tmp_path, {}, {"decoder": "tf 1"})
    other = {**module.versions(), "backend": "abacus 1.0"}
    monkeypatch.setattr(module, "versions", lambda: other)

    with pytest.raises(RefusedError, match=r"backend is .* abacus 1\.0 here"):
        RunFolder(tmp_path, {})


def test_settings_are_compared_once_more_under_the_lock(tmp_path):
    """Two programs look at an empty folder; the other one is first."""
    late = RunFolder(tmp_path / "run", {"epochs": 3})
    created(tmp_path / "run", {"epochs": 15})

    refused = pytest.raises(RefusedError, match="epochs is 15 there and 3 here")
    with refused, late.locked():
        pass
    with RunFolder(tmp_path / "run", {"epochs": 15}).locked():
        pass  # the lock was given back


@pytest.mark.parametrize("text", ["{", "[]", '{"settings": 3}', '{"settings": {}}'])
def test_a_broken_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(RefusedError, match="cannot be read"):
        RunFolder(tmp_path, {})


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")

    with pytest.raises(RefusedError, match="is not empty and holds no run"):
        RunFolder(tmp_path, {})


@pytest.mark.parametrize("path", ["file", "file/below/it"])
def test_an_output_path_that_is_a_file_is_refused(tmp_path, path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RefusedError, match="file is a file"):
        RunFolder(tmp_path / path, {})


def test_one_process_at_a_time(tmp_path):
    with RunFolder(tmp_path / "run", {}).locked():
        other = RunFolder(tmp_path / "run", {})
        with (
            pytest.raises(RefusedError, match=r"another process.*run$"),
            other.locked(),
        ):
            pass
    with other.locked():
        pass


def test_leftovers_of_a_killed_run_are_removed(tmp_path):
    created(tmp_path, {})
    (tmp_path / ".one.tmp").mkdir()
    (tmp_path / ".one.tmp" / "result.json").write_text("{")
    (tmp_path / ".config.json.tmp").write_text("{")

    folder = created(tmp_path, {})
    folder.store(TASK, OUTPUT)

    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {"config.json", "units"}
    unit = tmp_path / "units" / "one"
    assert json.loads((unit / "result.json").read_text()) == OUTPUT[0]
    assert (unit / "weights.h5").read_bytes() == b"\x00\x01"
    assert (unit / "history.csv").read_text() == "epoch\n1\n"


def test_what_is_not_finite_is_null(tmp_path):
    folder = created(tmp_path, {"rate": math.inf})
    result = {"accuracy": math.nan, "losses": [1.0, -math.inf], "deep": {"x": math.nan}}
    folder.store(TASK, ({**result, "mean": np.float64("nan")}, {}))

    def strict(name):
        raise AssertionError(name)  # not JSON

    text = (folder.units / "one" / "result.json").read_text()
    found = json.loads(text, parse_constant=strict)
    assert found == {
        "accuracy": None,
        "losses": [1.0, None],
        "deep": {"x": None},
        "mean": None,
    }
    assert folder.settings == {"rate": None}
    created(tmp_path, {"rate": math.inf})  # the same


def test_a_result_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    folder = created(tmp_path, {})
    events = []
    fsync, rename = os.fsync, type(tmp_path).rename

    def synced(descriptor):
        events.append(os.readlink(f"/proc/self/fd/{descriptor}").rpartition("/")[2])
        fsync(descriptor)

    def renamed(path, target):
        events.append("move")
        return rename(path, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs the names of open files")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(type(tmp_path), "rename", renamed)
    folder.store(TASK, OUTPUT)

    assert events == [
        *("history.csv", "weights.h5", "result.json", ".one.tmp"),
        *("move", "units"),
    ]


def test_a_full_disk_stops_the_run_and_leaves_nothing_behind(tmp_path, monkeypatch):
    folder = created(tmp_path, {})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoppedError, match="one cannot be written: No space left"):
        folder.store(TASK, OUTPUT)
    monkeypatch.undo()
    assert not folder.has(TASK)
    assert not list(tmp_path.glob(".one*"))
