"""What the engine exports is documented, and its examples run."""

import inspect

import pytest
from code_blocks import python_blocks, run_blocks

from keras_residual import experiments

pytestmark = pytest.mark.once

CLASSES = {
    name: public
    for name, public in vars(experiments).items()
    if inspect.isclass(public) and not issubclass(public, Exception)
}


def test_all_is_what_is_exported():
    exported = {
        name
        for name, value in vars(experiments).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exported == set(experiments.__all__)


@pytest.mark.parametrize("name", CLASSES)
def test_example_of_a_class_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(inspect.getdoc(CLASSES[name]))
    assert blocks, f"{name} has no example"
    run_blocks(blocks, name)
