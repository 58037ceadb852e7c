"""What is on the terminal after TensorFlow was imported, played by a module."""

import sys
from types import ModuleType

import pytest

from keras_residual._quiet import _Finder, quiet_tensorflow

pytestmark = pytest.mark.once

LOG = """\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795880650.783855    8644 port.cc:153] oneDNN custom operations are on.
W0000 00:00:1795880650.783855    8644 file.cc:1] A warning.
E0000 00:00:1795880650.783855    8644 file.cc:2] An error.
A warning of Python.
"""


def import_it(monkeypatch, tmp_path, level, end=""):
    folder = tmp_path / "tensorflow"
    folder.mkdir()
    code = f"import os\nos.write(2, {LOG.encode()!r})\nvalue = 3\n{end}\n"
    (folder / "__init__.py").write_text(code)
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", level)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    finders = list(sys.meta_path)
    monkeypatch.setattr(sys, "meta_path", list(finders))
    quiet_tensorflow()
    if sys.meta_path == finders:
        return None
    finder = sys.meta_path[0]
    assert finder.find_spec("tensorflow")  # as a look whether it is installed does
    assert sys.meta_path[0] is finder
    spec = finder.find_spec("tensorflow")
    module = ModuleType("tensorflow")
    try:
        spec.loader.exec_module(module)
    finally:
        assert sys.meta_path == finders
    return module.value


@pytest.mark.parametrize(
    ("level", "starts"), [("1", ["W", "E", "A"]), ("2", ["E", "A"]), ("3", ["A"])]
)
def test_the_level_holds_for_the_import(monkeypatch, tmp_path, capfd, level, starts):
    assert import_it(monkeypatch, tmp_path, level) == 3
    assert [line[0] for line in capfd.readouterr().err.splitlines()] == starts


@pytest.mark.parametrize("level", ["0", "", "high"])
def test_without_a_level_python_finds_it_as_ever(monkeypatch, tmp_path, level):
    assert import_it(monkeypatch, tmp_path, level) is None
    assert _Finder().find_spec("json") is None


def test_an_import_that_fails_says_all(monkeypatch, tmp_path, capfd):
    with pytest.raises(ZeroDivisionError):
        import_it(monkeypatch, tmp_path, "3", end="1 / 0")
    assert capfd.readouterr().err == LOG
