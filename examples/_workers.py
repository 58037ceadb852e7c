"""Worker processes of the experiments: they are gone when their parent is."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

# One thread for each worker: two workers on two cores train twice as much as one worker
# with two threads, and sums over threads would depend on how many there are.
_ONE_THREAD = {
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",  # JAX
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
# A backend keeps some of each network that it compiled: TensorFlow about 90 MB.
_TASKS_PER_WORKER = 10
_ENDING = 10  # seconds that a process may take to end
# The first process on an accelerator would take all of its memory.
SHARING = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


class StoppedError(Exception):
    """A training cannot go on. The message is one line for the user."""


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Holds back what a backend logs while it is imported, unless the import fails.

    TensorFlow writes a page there before it reads its own log level.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@dataclass(frozen=True)
class Task:
    """One training: the name of its folder, its arguments, its share of the work.

    It begins after the task named by `after` is stored.
    """

    name: str
    arguments: Mapping[str, Any]
    weight: float = 1.0
    after: str | None = None


# What a task gives back: scalars for result.json, and the content of other files, a
# pandas frame (for a CSV file) or bytes.
Output = tuple[dict[str, Any], dict[str, Any]]
# Importable function from a task's arguments and what all tasks share to its output.
Train = Callable[[Mapping[str, Any], Any], Output]


def compute(
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    processes: int,
    one_thread: bool = True,
) -> Iterator[tuple[Task, Output]]:
    """Yields the outputs as they come, from so many processes at a time.

    An output counts as stored when the next one is asked for. `one_thread` is whether a
    process computes with one thread, or with all that its backend wants.
    """
    # Devices and the connection to other hosts come back only when a process ends.
    most = _TASKS_PER_WORKER if one_thread else 1
    waiting = list(tasks)
    unfinished = {task.name for task in tasks}
    idle: list[_Worker] = []
    running: dict[Any, tuple[_Worker, Task]] = {}
    try:
        while waiting or running:
            able = [task for task in waiting if task.after not in unfinished]
            for task in able[: processes - len(running)]:
                waiting.remove(task)
                worker = idle.pop() if idle else _Worker(train, shared, one_thread)
                running[worker.connection] = worker, task
                # A worker that died already is noticed where its answer is read.
                with contextlib.suppress(OSError):
                    worker.connection.send(task.arguments)
            ready: list[Any] = wait(list(running))
            for connection in ready:
                worker, task = running.pop(connection)
                idle.append(worker)
                try:
                    output, failure = connection.recv()
                except (EOFError, OSError):
                    output = None
                    failure = StoppedError(worker.death())
                if isinstance(failure, StoppedError):
                    raise StoppedError(f"the training {task.name} stopped: {failure}")
                if failure:
                    raise RuntimeError(f"The training {task.name} failed: {failure}")
                worker.tasks_done += 1
                if worker.tasks_done == most:
                    idle.remove(worker)
                    worker.end()
                yield task, output
                unfinished.remove(task.name)
    finally:
        for worker in [*idle, *(worker for worker, _ in running.values())]:
            worker.end()


class _Worker:
    """A process that computes one task after the other."""

    def __init__(self, train: Train, shared: Any, one_thread: bool) -> None:
        # A fresh interpreter: a forked copy of a backend's thread pools hangs.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.tasks_done = 0
        self._process = context.Process(
            target=_work, args=(theirs, train, shared), daemon=True
        )
        with _inherited_by_children(_ONE_THREAD if one_thread else {}):
            self._process.start()
        theirs.close()

    def death(self) -> str:
        """Why a process that does not answer anymore has ended, as far as it shows."""
        self._process.join(_ENDING)
        if self._process.exitcode == -signal.SIGABRT:
            # JAX does so when another host is silent.
            return "its process was aborted; the lines that it wrote last say why"
        return "its process died; was memory short?"

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


@contextlib.contextmanager
def _inherited_by_children(threads: Mapping[str, str]) -> Iterator[None]:
    """Environment of the workers; and Ctrl-C is for their parent alone."""
    before = dict(os.environ)
    os.environ.update(threads)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for name in set(threads) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _work(connection: Connection, train: Train, shared: Any) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # It warns of what is meant here: every task compiles a network of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Their parent has built the same networks, and said what there is to say.
    logging.getLogger("keras_residual").setLevel(logging.ERROR)
    with quiet_import():
        import keras

        # On every backend Keras imports an installed TensorFlow at the first fit.
        with contextlib.suppress(ModuleNotFoundError):
            import tensorflow  # noqa: F401
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    while True:
        try:
            connection.send((train(connection.recv(), shared), None))
        except EOFError:
            return
        except StoppedError as error:
            connection.send((None, error))
        except Exception:
            connection.send((None, traceback.format_exc()))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
