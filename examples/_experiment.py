"""What the experiments share: a run folder that can be resumed, and its workers.

A run is a list of tasks, each one training. Every task is computed in a worker process,
with a single thread unless it has the machine for itself: its numbers then depend
neither on the number of workers nor on what ran before it. This process alone writes,
but a task may keep the state of a long training in a folder of its own. A finished task
appears in the run folder in one move, so that a run that was killed goes on where it
stopped.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import filelock
from _workers import SHARING, Output, StoppedError, Task, Train, compute


class RefusedError(Exception):
    """The run cannot start as asked for. The message is one line for the user."""


def run_main(main: Callable[[], None], program: str) -> NoReturn:
    """Runs `main` and ends the process.

    The status is 2 if the run was refused, 1 if a training stopped, 130 if interrupted.
    """
    # Before a backend is imported, here or by a worker.
    for name, value in SHARING.items():
        os.environ.setdefault(name, value)
    try:
        main()
    except (RefusedError, StoppedError) as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, RefusedError) else 1)
    except KeyboardInterrupt:
        print(
            "\nInterrupted. The same command goes on where this one stopped.",
            file=sys.stderr,
        )
        sys.exit(130)
    sys.exit(0)


def check_output_path(path: Path) -> None:
    """Refuses a file, and a folder that holds something else than a run."""
    for folder in (path, *path.parents):
        if folder.exists() and not folder.is_dir():
            raise RefusedError(f"the output path {folder} is a file")
    if not path.is_dir() or (path / "config.json").is_file():
        return
    if any(not entry.name.startswith(".") for entry in path.iterdir()):
        raise RefusedError(f"the output folder {path} is not empty and holds no run")


class RunFolder:
    """A folder with the settings, the finished tasks and the report of one run."""

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        """Compares with what is there and writes nothing."""
        self.path = Path(path)
        self.units = self.path / "units"
        self.settings = json.loads(json.dumps(settings))
        self.versions = versions()
        check_output_path(self.path)
        config = self.path / "config.json"
        if config.is_file():
            self._compare(config)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes out, as long as this one lives or the block runs."""
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout as error:
            raise RefusedError(
                f"another process is at work in the output folder {self.path}"
            ) from error
        except OSError as error:
            raise RefusedError(
                f"the output folder {self.path} cannot be written: {error.strerror}"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def create(self, processes: int) -> None:
        """Makes the folder, or prepares the existing one for going on."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(".*.tmp"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            config = self.path / "config.json"
            if not config.exists():
                content = {
                    "settings": self.settings,
                    "versions": self.versions,
                    "hardware": {**hardware(), "processes": processes},
                    "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                }
                self.write_text("config.json", json.dumps(content, indent=2) + "\n")
            self.units.mkdir(exist_ok=True)
        except OSError as error:
            raise RefusedError(
                f"the output folder {self.path} cannot be written: {error.strerror}"
            ) from error

    def has(self, task: Task) -> bool:
        return (self.units / task.name).is_dir()

    def store(self, task: Task, output: Output) -> None:
        try:
            self._store(task, output)
        except OSError as error:
            raise StoppedError(
                f"the result of {task.name} cannot be written: {error.strerror}"
            ) from error

    def _store(self, task: Task, output: Output) -> None:
        result, files = output
        temporary = self.path / f".{task.name}.tmp"
        temporary.mkdir()
        for name, content in files.items():
            if isinstance(content, bytes):
                (temporary / name).write_bytes(content)
            else:
                content.to_csv(temporary / name, index=False, lineterminator="\n")
        text = json.dumps(result, indent=2) + "\n"
        (temporary / "result.json").write_text(text, encoding="utf-8")
        temporary.rename(self.units / task.name)

    def write_text(self, name: str, text: str) -> None:
        """Replaces a file of this folder in one move."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(self.path / name)

    def _compare(self, config: Path) -> None:
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


def stored_settings(path: Path) -> dict[str, Any]:
    """Settings of the run in a folder; none if it holds no run that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        return dict(config["settings"])
    return {}


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {there.get(name)} there and {here.get(name)} here"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    ]


def versions() -> dict[str, str]:
    """Versions of everything that the numbers depend on."""
    import keras

    import keras_residual

    backend = keras.config.backend()
    return {
        "python": platform.python_version(),
        "keras_residual": keras_residual.__version__,
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


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_tasks(
    folder: RunFolder,
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    processes: int,
    *,
    measure: str = "accuracy",
    one_thread: bool = True,
    writes: bool = True,
) -> None:
    """Computes and stores the tasks that the folder lacks, with a line for each.

    Args:
        folder: The run folder.
        tasks: All tasks of the run.
        train: Importable function from a task's arguments and `shared` to its output.
        shared: What all tasks use, such as the data.
        processes: Number of worker processes.
        measure: The result that a finished task's line shows.
        one_thread: Whether each of them has one thread, or all that there are.
        writes: Whether to store what comes; one of several hosts does.
    """
    missing = [task for task in tasks if not folder.has(task)]
    done = len(tasks) - len(missing)
    if not missing:
        print(f"All {len(tasks)} trainings are there already.", flush=True)
        return
    processes = min(processes, len(missing))
    print(
        f"{len(missing)} trainings" + (f", {done} are there already" if done else ""),
        f"({processes} at a time) -> {folder.path}",
        flush=True,
    )
    start = time.monotonic()
    weights = [task.weight for task in missing]
    outputs = compute(missing, train, shared, processes, one_thread)
    for count, (task, output) in enumerate(outputs):
        if writes:
            folder.store(task, output)
        done += 1
        # Those that run at the moment are half done, on average.
        running = weights[count + 1 : count + 1 + processes]
        computed = sum(weights[: count + 1]) + sum(running) / 2
        elapsed = time.monotonic() - start
        left = elapsed * (sum(weights) - computed) / computed
        print(
            f"[{done:{len(str(len(tasks)))}d}/{len(tasks)}] {task.name}: "
            f"{measure} {output[0][measure]:.3f}, {output[0]['seconds']:.0f} s; "
            f"{duration(left)} left",
            flush=True,
        )


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
