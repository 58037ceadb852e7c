"""The scripts of docs/figures, which are no package."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from unittest import mock

FOLDER = Path(__file__).resolve().parents[1] / "docs/figures"


def load_script(name):
    """The module of that name; it finds its neighbours while it is loaded."""
    spec = spec_from_file_location(name, FOLDER / f"{name}.py")
    module = module_from_spec(spec)
    with mock.patch.object(sys, "path", [str(FOLDER), *sys.path]):
        spec.loader.exec_module(module)
    return module
