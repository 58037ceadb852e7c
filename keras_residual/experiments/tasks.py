"""The parts of a run: tasks, their outputs, and the errors that end it."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any

from keras_residual._first_line import first_line

# What a task gives back: scalars for result.json, and the content of other files, a
# pandas frame (for a CSV file), an array (for a .npy file) or bytes.
Output = tuple[dict[str, Any], dict[str, Any]]
# From a task's arguments and what all tasks share to its output.
Train = Callable[[Mapping[str, Any], Any], Output]
# Seconds until a cluster is asked again how many workers it has.
_LOOK = 1


class RefusedError(Exception):
    """The run cannot start as asked for. The message is one line for the user."""


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Makes a refusal, in one line, of what readers of data and models raise."""
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        raise RefusedError(first_line(error)) from error


class StoppedError(Exception):
    """A training cannot go on. The message is one line for the user."""


class DiedError(Exception):
    """A worker's process ended without an answer. The message says how it looks."""


@dataclass(frozen=True)
class Task:
    """One training of a run.

    Args:
        name: Name of its folder in the run folder.
        arguments: What tells it from the other tasks, such as network and seed.
        weight: Its share of the work; it only serves to tell the time left.
        after: Name of the task that has to be stored before this one begins, if any.

    Example:
        ```python
        from keras_residual.experiments import Task

        task = Task("plain-seed000", {"net": "plain", "seed": 0})
        ```
    """

    name: str
    arguments: Mapping[str, Any]
    weight: float = 1.0
    after: str | None = None


def check_order(tasks: Sequence[Task]) -> None:
    """Raises ValueError if two tasks have one name, or wait for each other."""
    after = {task.name: task.after for task in tasks}
    if len(after) < len(tasks):
        raise ValueError(
            "`tasks` must have different names. "
            f"Received: {sorted(task.name for task in tasks)}"
        )
    for name in after:
        seen = [name]
        while (before := after.get(seen[-1])) is not None:
            if before in seen:
                raise ValueError(
                    "`tasks` must not wait for each other. Received: "
                    f"{' after '.join([*seen, before])}"
                )
            seen.append(before)


# How to begin a task, and how many can be computed at a time, at the moment.
Workers = tuple[Callable[[Task], Future[Output]], Callable[[], int]]


def in_order(
    tasks: Sequence[Task], workers: Workers, deaths: int
) -> Iterator[tuple[Task, Output]]:
    """Yields the outputs as they come.

    An output counts as stored when the next one is asked for. A task whose process died
    comes again, before those that wait.

    Args:
        tasks: What to compute; what they wait for is among them, or stored.
        workers: Who computes it.
        deaths: How often the process of one task may die.

    Raises:
        StoppedError: If the process of one task died that often.
        Exception: What a task raised.
    """
    submit, places = workers
    waiting = list(tasks)
    unfinished = {task.name for task in tasks}
    died: collections.Counter[str] = collections.Counter()
    running: dict[Future[Output], Task] = {}
    while waiting or running:
        able = [task for task in waiting if task.after not in unfinished]
        for task in able[: max(0, places() - len(running))]:
            waiting.remove(task)
            running[submit(task)] = task
        for future in wait(running, _LOOK, FIRST_COMPLETED).done:
            task = running.pop(future)
            try:
                output = future.result()
            except DiedError as error:
                died[task.name] += 1
                if died[task.name] == deaths:
                    raise StoppedError(
                        f"the training {task.name} stopped: {error}"
                    ) from error
                waiting.insert(0, task)
                continue
            yield task, output
            unfinished.remove(task.name)
