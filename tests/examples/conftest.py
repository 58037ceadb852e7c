"""What the tests of all examples share: running them, and importing their modules."""

import importlib
import os
import signal
import subprocess
import sys

import pytest

from keras_residual.experiments import run_main


@pytest.fixture(scope="session")
def start(root):
    """A function that starts an example in a process group of its own."""

    def start(example, *arguments):
        # As a job in the background of a shell, pytest would hand down to the example
        # that it ignores Ctrl-C.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return popen(example, *arguments)
        finally:
            signal.signal(signal.SIGINT, before)

    def popen(example, *arguments):
        return subprocess.Popen(
            [sys.executable, str(root / "examples" / example), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Importing TensorFlow here has set its log level for child processes.
            env={
                **os.environ,
                "PYTHONPATH": str(root),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            start_new_session=True,
        )

    return start


@pytest.fixture(scope="session")
def run(start):
    """A function that runs an example: exit status, standard output and error."""

    def run(example, *arguments):
        process = start(example, *arguments)
        out, err = process.communicate(timeout=900)
        return process.returncode, out, err

    return run


@pytest.fixture
def load(root, monkeypatch):
    """A function that imports a module of the examples."""
    monkeypatch.syspath_prepend(str(root / "examples"))
    return importlib.import_module


@pytest.fixture
def run_here(load, monkeypatch, capsys, tmp_path):
    """Does in this process what `run` does in a new one."""

    def run_here(example, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", [example, *map(str, arguments)])
        program = load(example.removesuffix(".py"))
        with pytest.raises(SystemExit) as ended:
            run_main(program.main, example)
        return ended.value.code, *capsys.readouterr()

    return run_here
