"""The code in the guides runs, and the site leaves no public object out."""

from pathlib import Path

import pytest
from code_blocks import python_blocks, run_blocks

import keras_residual

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
WITH_CODE = [name for name, path in PAGES.items() if python_blocks(path.read_text())]


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_code_of_the_page_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(python_blocks(PAGES[name].read_text()), name)


@pytest.mark.once
@pytest.mark.parametrize("name", keras_residual.__all__)
def test_every_export_has_a_reference_page(name):
    page = PAGES[f"api/{name}.md"].read_text()
    assert f"::: keras_residual.{name}\n" in page


@pytest.mark.once
def test_every_page_is_in_the_navigation(root):
    lines = (root / "mkdocs.yml").read_text().splitlines()
    navigation = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    assert [name for name in PAGES if name not in navigation] == []
