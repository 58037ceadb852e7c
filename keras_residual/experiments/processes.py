"""Worker processes of this machine, which end with their parent and are replaced.

Each worker is a process, not a thread and not Dask's worker itself: other code in a
process draws from Python's random numbers, from which Keras takes the seeds of initial
weights.
"""

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from keras_residual.experiments.tasks import (
    DiedError,
    Output,
    StoppedError,
    Task,
    Workers,
)
from keras_residual.experiments.worker import serve

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
_ENDING = 10  # seconds that a process may take to end


@contextlib.contextmanager
def local_workers(work: bytes, processes: int, one_thread: bool) -> Iterator[Workers]:
    """Processes of this machine, which start when they are needed.

    Args:
        work: What `pack` gives.
        processes: How many there are at most.
        one_thread: Whether a process computes with one thread, or with all that its
            backend wants; then it computes one task only, because the devices that it
            took come back when it ends.
    """
    most = _TASKS_PER_WORKER if one_thread else 1
    idle: list[Worker] = []
    started: list[Worker] = []

    def submit(task: Task) -> Future[Output]:
        # Only the main thread, this one, can keep Ctrl-C from a new process.
        if not idle:
            started.append(Worker(work, one_thread, compiled))
            idle.append(started[-1])
        return threads.submit(compute, idle.pop(), task)

    def compute(worker: Worker, task: Task) -> Output:
        output = worker.compute(task)
        if worker.tasks_done == most:
            worker.end()
        else:
            idle.append(worker)
        return output

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as compiled,
        ThreadPoolExecutor(processes) as threads,
    ):
        try:
            yield submit, lambda: processes
        finally:
            for worker in started:
                worker.end()


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
        self._connection, theirs = context.Pipe()
        self.tasks_done = 0
        self._unsent: bytes | None = work
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
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

    def compute(self, task: Task) -> Output:
        """The output of a task. What the worker says meanwhile is printed.

        Raises:
            DiedError: If the process ended.
            StoppedError: If the task raised it.
            RuntimeError: If the task raised anything else.
        """
        try:
            if self._unsent is not None:
                self._connection.send_bytes(self._unsent)
                self._unsent = None
            self._connection.send(dict(task.arguments))
            kind, content = self._connection.recv()
            while kind == "said":
                print(f"{content}\n", end="", flush=True)
                kind, content = self._connection.recv()
        except (EOFError, OSError) as error:
            raise DiedError(self._death()) from error
        if kind == "stopped":
            raise StoppedError(f"the training {task.name} stopped: {content}")
        if kind == "failed":
            raise RuntimeError(f"The training {task.name} failed: {content}")
        self.tasks_done += 1
        output: Output = content
        return output

    def end(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.join()

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
