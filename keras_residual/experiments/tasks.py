"""What a run consists of: its tasks, what they give back, and how one ends badly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What a task gives back: scalars for result.json, and the content of other files, a
# pandas frame (for a CSV file) or bytes.
Output = tuple[dict[str, Any], dict[str, Any]]
# From a task's arguments and what all tasks share to its output.
Train = Callable[[Mapping[str, Any], Any], Output]


class RefusedError(Exception):
    """The run cannot start as asked for. The message is one line for the user."""


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
