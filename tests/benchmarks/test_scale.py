"""The estimate of hours and cost: by hand, and as the guide prints it."""

import importlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def scale(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("scale")


def rates(**different):
    given = {"rate": 100, "decode": 50, "megabytes": 50, "link": 10, "network": 1}
    return {**given, **different}


def test_one_device(scale):
    row = scale.estimate(1, 1, 4, 10, **rates())

    assert row["compute"] == pytest.approx(100)
    assert row["efficiency"] == pytest.approx(1)
    # The cores read 200 images/s, less than the 300 that a forward pass could take.
    assert row["epoch"] == pytest.approx(1_281_167 / 100 + 50_000 / 200)


def test_readers_are_the_bound(scale):
    row = scale.estimate(1, 1, 1, 10, **rates())

    assert row["efficiency"] == pytest.approx(0.5)
    assert row["epoch"] == pytest.approx(1_331_167 / 50)


def test_communication(scale):
    # Four devices on each of two hosts, ten images each: 0.1 s of work; 3/2 of 50 MB
    # through 10 GB/s are 7.5 ms, once 50 MB through 1 GB/s are 50 ms.
    row = scale.estimate(2, 4, 100, 80, **rates())

    assert row["compute"] == pytest.approx(80 / (0.1 + 0.0075 + 0.05))
    assert row["efficiency"] == pytest.approx(0.1 / 0.1575)


def test_table_of_the_guide(root):
    program = root / "benchmarks" / "scale.py"
    printed = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True
    ).stdout

    assert printed in (root / "docs" / "scale.md").read_text(encoding="utf-8")
