"""Workers of an existing cluster, on dask.distributed."""

import contextlib
import multiprocessing
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

from keras_residual.experiments.processes import Worker
from keras_residual.experiments.tasks import (
    Output,
    RefusedError,
    StoppedError,
    Task,
    Workers,
)

_CONNECT = 10  # seconds to wait for a scheduler


@contextlib.contextmanager
def cluster_workers(work: bytes, scheduler: str, one_thread: bool) -> Iterator[Workers]:
    """Workers of a Dask scheduler.

    They start a process for each task, because Dask's threads draw from Python's random
    numbers as well. They need the same packages and, under the same paths, the folders
    of the program and of the run.

    Args:
        work: What `pack` gives.
        scheduler: Address of the scheduler.
        one_thread: Whether a training has one thread, or all of its backend.

    Raises:
        RefusedError: If the scheduler does not answer or has no worker.
        StoppedError: If the scheduler went away, or all workers that had a task died.
    """
    import distributed

    try:
        client = distributed.Client(scheduler, timeout=_CONNECT)
    except (OSError, ValueError, TypeError) as error:
        raise RefusedError(
            f"no Dask scheduler answers at --scheduler {scheduler} within {_CONNECT} s"
        ) from error
    with client:
        if not client.nthreads():
            raise RefusedError(f"the scheduler {scheduler} has no worker")
        executor = client.get_executor()
        sent = client.scatter(work, broadcast=True, hash=False)

        def submit(task: Task) -> Future[Output]:
            key = f"{task.name}-{uuid.uuid4().hex}"
            future: Future[Output] = executor.submit(
                _train, sent, one_thread, task, key=key
            )
            return future

        def places() -> int:
            try:
                # Dask keeps a task until there is a worker.
                return max(1, sum(client.nthreads().values()))
            except OSError as error:
                raise CancelledError from error

        try:
            yield submit, places
        except distributed.KilledWorker as error:
            name = str(error.task).rpartition("-")[0]
            raise StoppedError(
                f"the training {name} stopped: the workers that computed it died"
            ) from error
        except CancelledError as error:
            raise StoppedError("the Dask scheduler went away") from error


def _train(work: bytes, one_thread: bool, task: Task) -> Output:
    """What a worker of the cluster does."""
    if multiprocessing.current_process().daemon:
        raise StoppedError(
            "Dask's workers must be allowed to start processes: start them with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False, or with --no-nanny"
        )
    worker = Worker(work, one_thread)
    try:
        return worker.compute(task)
    finally:
        worker.end()
