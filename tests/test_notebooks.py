"""The notebooks run, and they and their pages are what their sources say."""

import json
from pathlib import Path

import keras
import pytest
from code_blocks import python_blocks
from docs_scripts import load_script

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "examples/notebooks"
NAMES = sorted(path.stem for path in SOURCES.glob("*.py"))

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def notebooks():
    return load_script("notebooks")


@pytest.mark.parametrize("name", NAMES)
def test_notebook_and_page_are_those_of_the_source(notebooks, name):
    header, cells = notebooks.read(name)
    written = json.loads((SOURCES / f"{name}.ipynb").read_text())
    expected = notebooks.notebook(name, header, cells)
    message = f"run docs/figures/notebooks.py {name}"
    assert _without_outputs(written) == _without_outputs(expected), message
    page = (ROOT / f"docs/notebooks/{name}.md").read_text()
    code = [cell.text + "\n" for cell in cells if cell.kind == "code"]
    assert python_blocks(page) == code, message
    assert all(cell.text in page for cell in cells), message


def _without_outputs(notebook):
    return [{**cell, "outputs": None} for cell in notebook["cells"]]


@pytest.mark.parametrize("name", NAMES)
def test_notebook_is_small_and_shows_what_it_printed_and_drew(name):
    path = SOURCES / f"{name}.ipynb"
    assert path.stat().st_size < 500_000
    cells = json.loads(path.read_text())["cells"]
    kinds = [out["output_type"] for cell in cells for out in cell.get("outputs", [])]
    assert set(kinds) == {"stream", "display_data"}


@pytest.mark.parametrize("name", NAMES)
def test_source_has_the_form_of_an_example_of_keras_io(name):
    # What keras-io's scripts/tutobooks.py refuses.
    lines = (SOURCES / f"{name}.py").read_text().splitlines()
    names = ("Title", "Author", "Date created", "Last modified", "Description")
    for line, key in zip(lines[1:], names, strict=False):
        assert line.startswith(f"{key}: ")
    description = lines[5].removeprefix("Description: ")
    assert description[0].isupper()
    assert description.endswith(".")
    assert len(description) <= 100
    assert not [line for line in lines if line != line.rstrip()]
    assert not [
        line for line in lines if line.startswith('"""') and line.count('"') > 3
    ]


@pytest.mark.slow
def test_residual_and_plain_runs(notebooks):
    settings = {"BLOCKS": 6, "WIDTH": 4, "EPOCHS": 1}
    _, cells = notebooks.read("residual_and_plain")
    notebooks.run(cells, settings)
    text = "".join(out for c in cells for out in c.outputs if isinstance(out, str))
    assert "equal weights: True" in text
    assert sum(isinstance(out, bytes) for cell in cells for out in cell.outputs) == 4


@pytest.mark.slow
def test_photos_to_model_runs(notebooks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = keras.applications.MobileNetV2(weights=None)
    network.save_weights("random.weights.h5")
    _, cells = notebooks.read("photos_to_model")
    settings = {"WEIGHTS": "random.weights.h5", "IMAGE_SIZE": 32}
    notebooks.run(cells, settings)
    assert "disc: " in cells[-2].outputs[0]
    assert "square: " in cells[-2].outputs[0]


@pytest.mark.slow
def test_cutout_imagenet_runs(notebooks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, cells = notebooks.read("cutout_imagenet")
    notebooks.run(cells, {"EPOCHS": 1})
    assert cells[-2].outputs[0].count("accuracy") == 4
