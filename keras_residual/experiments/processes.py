"""Worker processes of this machine, which end with their parent and are replaced.

Each worker is a process, not a thread and not Dask's worker itself: other code in a
process draws from Python's random numbers, from which Keras takes the seeds of initial
weights.
"""

import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import keras

from keras_residual.experiments.tasks import Output, Queue, StoppedError, Task, Train

# One thread for each worker: two workers on two cores train twice as much as one worker
# with two threads, and sums over threads would depend on how many there are.
_ONE_THREAD = {
    "MKL_NUM_THREADS": "1",
    "NPROC": "1",  # JAX
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}
# The first process on an accelerator would take all of its memory.
SHARING = {
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# A backend keeps some of each network that it compiled: TensorFlow about 90 MB.
_TASKS_PER_WORKER = 10
_OUT_OF_MEMORY = (
    *("out of memory", "resource_exhausted", "unable to allocate"),
    *("can't allocate memory", "cannot allocate memory"),
)
_ENDING = 10  # seconds that a process may take to end
# Where a worker says something; elsewhere it is printed.
_to_parent: Connection | None = None


class DiedError(Exception):
    """A worker's process ended without an answer. The message says how it looks."""


def compute_here(
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    processes: int,
    *,
    one_thread: bool = True,
    deaths: int = 3,
) -> Generator[tuple[Task, Output]]:
    """Yields the outputs as they come, from several processes at a time.

    An output counts as stored when the next one is asked for. A task whose process died
    is computed again, by another process.

    Args:
        tasks: What to compute.
        train: From a task's arguments and `shared` to its output.
        shared: What all tasks use. Each process gets it once.
        processes: How many processes there are at most.
        one_thread: Whether a process computes with one thread, or with all that its
            backend wants; then it computes one task only, because the devices that it
            took come back when it ends.
        deaths: How often the process of one task may die before the run stops.

    Raises:
        StoppedError: If a task raised it, or died too often.
        RuntimeError: If a task raised anything else.
    """
    queue = Queue(tasks, deaths)
    work = pack(train, shared)
    most = _TASKS_PER_WORKER if one_thread else 1
    compiled = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    idle: list[Worker] = []
    running: dict[Any, tuple[Worker, Task]] = {}
    try:
        while queue or running:
            for task in queue.take(processes - len(running)):
                worker = idle.pop() if idle else Worker(work, one_thread, compiled.name)
                running[worker.connection] = worker, task
                worker.begin(task.arguments)
            ready: list[Any] = wait(list(running))
            for connection in ready:
                worker, task = running[connection]
                try:
                    output = worker.answer(task.name)
                except DiedError as error:
                    del running[connection]
                    worker.end()
                    queue.again(task, str(error))
                    continue
                if output is None:
                    continue  # it only said something
                del running[connection]
                if worker.tasks_done == most:
                    worker.end()
                else:
                    idle.append(worker)
                yield task, output
                queue.stored(task)
    finally:
        for worker in [*idle, *(worker for worker, _ in running.values())]:
            worker.end()
        compiled.cleanup()


def say(words: str) -> None:
    """Prints a line where the run was started, also from a worker.

    A worker of a cluster prints it on its own machine.

    Args:
        words: The line.

    Example:
        ```python
        from keras_residual.experiments import say

        say("plain-seed000: epoch 1 of 10")
        ```
    """
    if _to_parent is None:
        print(words, flush=True)
    else:
        _to_parent.send(("said", words))


def pack(train: Train, shared: Any) -> bytes:
    """What a worker needs to begin, also where the program's folder is not known."""
    # What the program itself defines is packed by value.
    work = cloudpickle.dumps((train, shared))
    packed: bytes = cloudpickle.dumps((sys.path, keras.config.backend(), work))
    return packed


class Worker:
    """A process that computes one task after the other.

    Args:
        work: What `pack` gives.
        one_thread: Whether it computes with one thread.
        compiled: Folder of what JAX compiles, which such processes share: trainings
            that differ in their seeds alone are compiled once.
    """

    def __init__(
        self, work: bytes, one_thread: bool, compiled: str | None = None
    ) -> None:
        # A fresh interpreter: a forked copy of a backend's thread pools hangs.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.tasks_done = 0
        self._unsent: bytes | None = work
        self._sender: threading.Thread | None = None
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        variables = dict(SHARING)
        if one_thread:
            variables |= _ONE_THREAD
            if compiled and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
                variables["JAX_COMPILATION_CACHE_DIR"] = compiled
                # By default what takes less than a second is not worth keeping.
                variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
        with _inherited_by_children(variables):
            self._process.start()
        theirs.close()

    def begin(self, arguments: Mapping[str, Any]) -> None:
        """Hands over a task."""
        # A new worker reads once it has imported its backend: others start meanwhile.
        self._sender = threading.Thread(
            target=self._send, args=(dict(arguments),), daemon=True
        )
        self._sender.start()

    def _send(self, arguments: dict[str, Any]) -> None:
        # A worker that died already is noticed where its answer is read.
        with contextlib.suppress(OSError):
            if self._unsent is not None:
                self.connection.send_bytes(self._unsent)
                self._unsent = None
            self.connection.send(arguments)

    def answer(self, name: str) -> Output | None:
        """The output of the task of this name; None if the worker said something.

        Raises:
            DiedError: If the process ended.
            StoppedError: If the task raised it.
            RuntimeError: If the task raised anything else.
        """
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError) as error:
            raise DiedError(self._death()) from error
        if kind == "said":
            print(content, flush=True)
            return None
        if kind == "stopped":
            raise StoppedError(f"the training {name} stopped: {content}")
        if kind == "failed":
            raise RuntimeError(f"The training {name} failed: {content}")
        self.tasks_done += 1
        output: Output = content
        return output

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.join()
        if self._sender is not None:
            self._sender.join()
        self.connection.close()

    def _death(self) -> str:
        self._process.join(_ENDING)
        if self._process.exitcode == -getattr(signal, "SIGABRT", 0):
            # JAX does so when another host is silent.
            return "its process was aborted; the lines that it wrote last say why"
        return "its process died; was memory short?"


@contextlib.contextmanager
def _inherited_by_children(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment of the workers; and Ctrl-C is for their parent alone."""
    before = dict(os.environ)
    os.environ.update(variables)
    here = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if here else None
    try:
        yield
    finally:
        if here:
            signal.signal(signal.SIGINT, handler)
        for name in set(variables) - set(before):
            del os.environ[name]
        os.environ.update(before)


def _serve(connection: Connection) -> None:
    global _to_parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # It warns of what is meant here: every task compiles a network of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Their parent has built the same networks, and said what there is to say.
    logging.getLogger("keras_residual").setLevel(logging.ERROR)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    _to_parent = connection
    packed: bytes | None = None
    train: Train | None = None
    shared = None
    while True:
        try:
            packed = packed or connection.recv_bytes()
            arguments = connection.recv()
        except (EOFError, OSError):  # its parent is not there anymore
            return
        answer: tuple[str, Any]
        try:
            if train is None:
                train, shared = _unpack(packed)
                # Before each training Keras collects garbage, which would look at all
                # that was imported.
                gc.freeze()
            answer = "done", train(arguments, shared)
        except Exception as error:
            answer = _failure(error)
        connection.send(answer)


def _failure(error: Exception) -> tuple[str, str]:
    """What the parent is told about an error: in one line if it is for the user."""
    if isinstance(error, StoppedError):
        return "stopped", str(error)
    # Each backend has its own exceptions for this; their texts are alike.
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return "stopped", "out of memory: try half of the batch size, or smaller images"
    return "failed", "".join(traceback.format_exception(error))


def _unpack(packed: bytes) -> tuple[Train, Any]:
    path, backend, work = cloudpickle.loads(packed)
    sys.path.extend(folder for folder in path if folder not in sys.path)
    if keras.config.backend() != backend:
        raise StoppedError(
            f"the worker has the backend {keras.config.backend()}, and the run "
            f"{backend}; start the workers with KERAS_BACKEND={backend}"
        )
    train, shared = cloudpickle.loads(work)
    return train, shared


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
