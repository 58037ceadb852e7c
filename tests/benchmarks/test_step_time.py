"""The guide shows what the recorded rounds say."""

import importlib

import pytest

pytestmark = pytest.mark.once


def test_table_of_the_guide(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    step_time = importlib.import_module("step_time")
    table = step_time.table(step_time.read("step_time"))
    guide = root / "docs" / "guides" / "fused_layers.md"
    assert table in guide.read_text(encoding="utf-8")
