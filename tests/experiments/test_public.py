"""What the engine exports is listed, and the examples of its modules run."""

import inspect
from importlib import import_module
from pkgutil import iter_modules

import pytest
from code_blocks import python_blocks, run_blocks

from keras_residual import experiments

pytestmark = pytest.mark.once

# Those of what the engine exports are run by tests/test_contract.py.
EXAMPLES = {
    f"{module}.{name}": python_blocks(inspect.getdoc(public))
    for module in (found.name for found in iter_modules(experiments.__path__))
    for name, public in vars(import_module(f"{experiments.__name__}.{module}")).items()
    if getattr(public, "__module__", "") == f"{experiments.__name__}.{module}"
    if not hasattr(experiments, name) and "```python" in (inspect.getdoc(public) or "")
}


def test_all_is_what_is_exported():
    exported = {
        name
        for name, value in vars(experiments).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert exported == set(experiments.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_a_module_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(EXAMPLES[name], name)
