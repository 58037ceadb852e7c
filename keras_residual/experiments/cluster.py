"""Workers of an existing cluster, on dask.distributed."""

import concurrent.futures
import contextlib
import multiprocessing
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from keras_residual.experiments.processes import DiedError, Worker, pack
from keras_residual.experiments.tasks import (
    Output,
    Queue,
    RefusedError,
    StoppedError,
    Task,
    Train,
)

_CONNECT = 10  # seconds to wait for a scheduler


def compute_on_cluster(
    tasks: Sequence[Task],
    train: Train,
    shared: Any,
    scheduler: str,
    *,
    one_thread: bool = True,
    deaths: int = 3,
) -> Generator[tuple[Task, Output]]:
    """Does the same as `compute_here` on the workers of a Dask scheduler.

    They start a process for each task, because Dask's threads draw from Python's random
    numbers as well. The workers need the same packages and, under the same paths, the
    folders of the program and of the run.

    Args:
        tasks: What to compute.
        train: From a task's arguments and `shared` to its output.
        shared: What all tasks use. Each worker gets it once.
        scheduler: Address of the scheduler.
        one_thread: Whether a training has one thread, or all of its backend.
        deaths: How often the process of one task may die before the run stops.

    Raises:
        RefusedError: If the scheduler does not answer or has no worker.
        StoppedError: If a task raised it, died too often, or the scheduler went away.
        RuntimeError: If a task raised anything else.
    """
    import distributed

    queue = Queue(tasks, deaths)
    running: dict[Any, Task] = {}
    with _connected(scheduler) as client:
        work = client.scatter(pack(train, shared), broadcast=True, hash=False)
        while queue or running:
            places = sum(client.nthreads().values())
            for task in queue.take(places - len(running)):
                future = client.submit(
                    _train,
                    work,
                    one_thread,
                    task.name,
                    dict(task.arguments),
                    key=f"{task.name}-{uuid.uuid4().hex}",
                )
                running[future] = task
            finished, _ = distributed.wait(list(running), return_when="FIRST_COMPLETED")
            for future in finished:
                task = running.pop(future)
                output = _result(task, future)
                if output is None:
                    queue.again(task, "its process died; was memory short?")
                    continue
                yield task, output
                queue.stored(task)


def _result(task: Task, future: Any) -> Output | None:
    import distributed

    try:
        output: Output | None = future.result()
    except distributed.scheduler.KilledWorker as error:
        raise StoppedError(
            f"the training {task.name} stopped: the workers that computed it died"
        ) from error
    except concurrent.futures.CancelledError as error:
        raise StoppedError(
            f"the training {task.name} stopped: the Dask scheduler went away"
        ) from error
    return output


def _train(
    work: bytes, one_thread: bool, name: str, arguments: Mapping[str, Any]
) -> Output | None:
    """What a worker of the cluster does; None if the process that trained died."""
    if multiprocessing.current_process().daemon:
        raise StoppedError(
            "Dask's workers must be allowed to start processes: start them with "
            "DASK_DISTRIBUTED__WORKER__DAEMON=False, or with --no-nanny"
        )
    worker = Worker(work, one_thread)
    try:
        worker.begin(arguments)
        while True:
            output = worker.answer(name)
            if output is not None:
                return output
    except DiedError:
        return None
    finally:
        worker.end()


@contextlib.contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
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
        yield client
