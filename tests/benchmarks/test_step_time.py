"""The networks that the benchmark compares, and the table that the guide shows."""

import importlib

import keras
import pytest

from keras_residual import ResNet

pytestmark = pytest.mark.once


@pytest.fixture
def step_time(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("step_time")


def test_layers_of_keras(step_time):
    with step_time.layers_of_keras():
        model = ResNet(18, 10, input_shape=(32, 32, 3))
    layers = keras.layers
    kinds = (layers.Conv2D, layers.BatchNormalization, layers.MaxPooling2D)
    found = {type(x) for x in model._flatten_layers() if isinstance(x, kinds)}
    assert found == set(kinds)


def test_table_of_the_guide(step_time, root):
    table = step_time.table(step_time.read("step_time"), step_time.read("step_memory"))
    guide = root / "docs" / "guides" / "fused_layers.md"
    assert table in guide.read_text(encoding="utf-8")


def test_table_of_the_profile(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    profile = importlib.import_module("step_profile")
    guide = root / "docs" / "guides" / "fused_layers.md"
    assert profile.table(profile.read("step_profile")) in guide.read_text("utf-8")


def test_table_of_inference(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    inference = importlib.import_module("inference")
    guide = root / "docs" / "guides" / "deployment.md"
    table = inference.table(inference.read("inference"))
    assert table in guide.read_text(encoding="utf-8")
