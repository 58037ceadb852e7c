"""The parts of a run: tasks, their outputs, and the errors that end it."""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_residual._first_line import first_line

# What a task gives back: scalars for result.json, and the content of other files, a
# pandas frame (for a CSV file), an array (for a .npy file) or bytes.
Output = tuple[dict[str, Any], dict[str, Any]]
# From a task's arguments and what all tasks share to its output.
Train = Callable[[Mapping[str, Any], Any], Output]


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


class Queue:
    """Tasks in their order; one that waits for another comes when that is stored.

    Args:
        tasks: The tasks.
        deaths: How often the process of one task may die.
    """

    def __init__(self, tasks: Sequence[Task], deaths: int) -> None:
        check_order(tasks)
        self._waiting = list(tasks)
        self._unfinished = {task.name for task in tasks}
        self._died: collections.Counter[str] = collections.Counter()
        self._deaths = deaths

    def __bool__(self) -> bool:
        """Whether tasks are waiting."""
        return bool(self._waiting)

    def take(self, most: int) -> list[Task]:
        """Takes the next tasks out that can begin."""
        able = [task for task in self._waiting if task.after not in self._unfinished]
        taken = able[: max(0, most)]
        for task in taken:
            self._waiting.remove(task)
        return taken

    def stored(self, task: Task) -> None:
        """Lets those begin that waited for the task."""
        self._unfinished.remove(task.name)

    def again(self, task: Task, reason: str) -> None:
        """Puts a task whose process died first; raises StoppedError the last time."""
        self._died[task.name] += 1
        if self._died[task.name] == self._deaths:
            raise StoppedError(f"the training {task.name} stopped: {reason}")
        self._waiting.insert(0, task)
