"""What reports share: reading a run, what is missing in it, figures and facts."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # Figures go to files, also where there is no display.

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from keras_residual.experiments.run_folder import RunFolder
from keras_residual.experiments.tasks import RefusedError, Task

# Draws on the axes that it is given as `ax`.
Draw = Callable[..., Axes]


def finished_units(folder: RunFolder, tasks: Sequence[Task]) -> tuple[list[Path], str]:
    """Folders of the finished tasks, and what is missing or diverged in words.

    Raises:
        RefusedError: If no task is finished.
    """
    finished = folder.finished(tasks)
    if not finished:
        raise RefusedError(f"{folder.path} holds no finished training to report on")
    units = [folder.units / task.name for task in finished]
    missing = [task.name for task in tasks if task not in finished]
    diverged = [unit.name for unit in units if read_result(unit).get("diverged")]
    words = ""
    if missing:
        words = (
            f"This run is not finished: {len(missing)} of {len(tasks)} trainings are "
            f"missing ({_listed(missing)}). What follows is preliminary.\n\n"
        )
    if diverged:
        words += (
            f"{count(len(diverged), 'training')} of {len(finished)} diverged "
            f"({_listed(diverged)}): without an outcome they are left out of means and "
            "tests, which flatters the network that diverges.\n\n"
        )
    return units, words


def read_result(unit: Path) -> dict[str, Any]:
    """The result of one finished task."""
    return dict(json.loads((unit / "result.json").read_text("utf-8")))


def read_results(units: Sequence[Path], numbers: Sequence[str] = ()) -> pd.DataFrame:
    """One row for each task; null becomes NaN in the columns of numbers."""
    frame = pd.DataFrame([read_result(unit) for unit in units])
    for name in numbers:
        frame[name] = pd.to_numeric(frame.get(name), errors="coerce").astype(float)
    return frame


def read_with_keys(
    units: Sequence[Path],
    keys: Sequence[Mapping[str, Any]],
    read: Callable[[Path], pd.DataFrame],
) -> pd.DataFrame:
    """The frames of all units under each other, with the keys as first columns."""
    frames = []
    for unit, key in zip(units, keys, strict=True):
        frame = read(unit)
        for position, (name, value) in enumerate(key.items()):
            frame.insert(position, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def save_figure(
    folder: Path, name: str, *draw: Draw, size: tuple[float, float] = (7.0, 5.0)
) -> str:
    """Draws axes beside each other; returns the file's path in the run folder."""
    width, height = size
    figure, axes = plt.subplots(
        1,
        len(draw),
        figsize=(width * len(draw), height),
        dpi=110,
        layout="constrained",
        squeeze=False,
    )
    for function, ax in zip(draw, axes[0], strict=True):
        function(ax=ax)
    (folder / "figures").mkdir(exist_ok=True)
    figure.savefig(folder / "figures" / name)
    plt.close(figure)
    return f"figures/{name}"


def facts_table(folder: RunFolder, facts: Mapping[str, str]) -> pd.DataFrame:
    """The facts, then versions, hardware and start of the run."""
    config = json.loads((folder.path / "config.json").read_text("utf-8"))
    facts = {
        **facts,
        **{name: str(value) for name, value in config["versions"].items()},
        **{name: str(value) for name, value in config["hardware"].items()},
        "started": config["started"],
    }
    return pd.DataFrame({"what": facts.keys(), "value": facts.values()})


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
