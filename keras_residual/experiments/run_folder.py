"""The folder of a run: settings, finished tasks and report, whole after a power cut."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import math
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from keras_residual._cores import cores
from keras_residual.experiments._durable import move, through
from keras_residual.experiments.tasks import Output, RefusedError, StoppedError, Task


class RunFolder:
    """A folder with the settings, the finished tasks and the report of one run.

    A finished task appears under `units` in one move and is synced to the disk, so a
    killed run continues where it stopped. JSON files are strict: numbers that are not
    finite are null.

    Args:
        path: The folder. Looking at it writes nothing.
        settings: Everything that the numbers depend on. A run continues only with the
            same settings and the same versions of Python, Keras, backend and NumPy.
        others: Names and versions of other packages that the numbers depend on.

    Attributes:
        path: The folder.
        units: Its folder of the finished tasks.
        states: Its folder for checkpoints of trainings that are not finished.

    Raises:
        RefusedError: If `path` is a file, holds something else than a run, or a run
            with other settings. The message names what differs.

    Example:
        ```python
        import tempfile
        from keras_residual.experiments import RunFolder, Task

        folder = RunFolder(tempfile.mkdtemp(), {"epochs": 2})
        with folder.locked():
            folder.store(Task("seed000", {"seed": 0}), ({"accuracy": 0.5}, {}))
        print(folder.has(Task("seed000", {"seed": 0})))  # True
        ```
    """

    def __init__(
        self,
        path: str | Path,
        settings: Mapping[str, Any],
        others: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.units = self.path / "units"
        self.states = self.path / ".states"
        self.settings = json.loads(to_json(settings))
        self.versions = {**versions(), **(others or {})}
        check_output_path(self.path)
        self._compare()

    @contextlib.contextmanager
    def locked(self, processes: int = 1) -> Iterator[None]:
        """Keeps other processes out, and creates the folder or continues in it.

        Args:
            processes: Number of workers, noted in config.json.

        Raises:
            RefusedError: If another process is at work in the folder, it cannot be
                written, or another run appeared in it meanwhile.
        """
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise RefusedError(
                f"another process is at work in the output folder {self.path}"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            # Another run may have come and gone since the first look.
            self._compare()
            self._create(processes)
            yield
        finally:
            lock.release()

    def has(self, task: Task) -> bool:
        """Whether the task is finished."""
        return (self.units / task.name).is_dir()

    def finished(self, tasks: Sequence[Task]) -> list[Task]:
        """Those of the tasks that are finished."""
        return [task for task in tasks if self.has(task)]

    def store(self, task: Task, output: Output) -> None:
        """Adds a finished task, in one move.

        Args:
            task: The task.
            output: Scalars for result.json, and by name the content of other files:
                bytes, a pandas frame for a CSV file, or an array for a `.npy` file.

        Raises:
            StoppedError: If it cannot be written.
        """
        result, files = output
        temporary = self.path / f".{task.name}.tmp"
        try:
            temporary.mkdir()
            for name, content in files.items():
                if isinstance(content, bytes):
                    (temporary / name).write_bytes(content)
                elif isinstance(content, np.ndarray):
                    np.save(temporary / name, content)
                else:
                    content.to_csv(temporary / name, index=False, lineterminator="\n")
                through(temporary / name)
            (temporary / "result.json").write_text(to_json(result), encoding="utf-8")
            through(temporary / "result.json")
            through(temporary)
            temporary.rename(self.units / task.name)
            through(self.units)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise StoppedError(
                f"the result of {task.name} cannot be written: "
                f"{error.strerror or error}"
            ) from error

    def write_text(self, name: str, text: str) -> None:
        """Replaces a file of this folder in one move."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8", newline="\n")
        move(temporary, self.path / name)

    def write_tables(self, **frames: Any) -> None:
        """Replaces CSV files of this folder, by name, by pandas frames."""
        for name, frame in frames.items():
            text = frame.to_csv(index=False, lineterminator="\n")
            self.write_text(f"{name}.csv", text)

    def _create(self, processes: int) -> None:
        try:
            for leftover in self.path.glob(".*.tmp"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            if not (self.path / "config.json").exists():
                # Those of a run that was deleted, but for hidden files.
                shutil.rmtree(self.states, ignore_errors=True)
                content = {
                    "settings": self.settings,
                    "versions": self.versions,
                    "hardware": {**hardware(), "processes": processes},
                    "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                }
                self.write_text("config.json", to_json(content))
            self.units.mkdir(exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RefusedError:
        return RefusedError(
            f"the output folder {self.path} cannot be written: {error.strerror}"
        )

    def _compare(self) -> None:
        config = self.path / "config.json"
        if not config.is_file():
            return
        try:
            there = json.loads(config.read_text(encoding="utf-8"))
            pairs = [
                *_differences(there["settings"], self.settings),
                *_differences(there["versions"], self.versions),
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RefusedError(
                f"{config} cannot be read as a run's settings"
            ) from error
        if pairs:
            raise RefusedError(
                f"the output folder {self.path} holds a run with other settings: "
                f"{'; '.join(pairs)}. Choose another --out."
            )


def check_output_path(path: Path) -> None:
    """Refuses a file, and a folder that holds something else than a run."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise RefusedError(f"the output path {folder} is a file")
    if not path.is_dir() or (path / "config.json").is_file():
        return
    if any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise RefusedError(f"the output folder {path} is not empty and holds no run")


def stored_settings(path: Path) -> dict[str, Any]:
    """Settings of the run in a folder; none if it holds no run that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return dict(config["settings"])
    return {}


def digest(*contents: Any) -> str:
    """SHA-256 of bytes and arrays, by which a run knows its data again."""
    return hashlib.sha256(b"".join(map(bytes, contents))).hexdigest()


def to_json(content: Any) -> str:
    """Strict JSON: what is not finite becomes null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]


def versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    import keras

    backend = keras.config.backend()
    return {
        "python": platform.python_version(),
        "keras_residual": importlib.import_module("keras_residual").__version__,
        "keras": keras.__version__,
        # TensorFlow has packages of other names, such as tensorflow-cpu.
        "backend": f"{backend} {importlib.import_module(backend).__version__}",
        "numpy": importlib.metadata.version("numpy"),
    }


def hardware() -> dict[str, Any]:
    """What the run is computed on, as far as the system tells."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":", 1)[1] for line in lines if "model name" in line]
        model = names[0].strip() if names else model
    return {"cpu": model, "cores": cores(), "system": platform.platform()}
