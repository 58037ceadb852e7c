"""The finished trainings of a run, for its report."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.experiments.reporting import count
from keras_residual.experiments.run_folder import RunFolder
from keras_residual.experiments.tasks import RefusedError, Task


class Trainings:
    """The finished trainings of a run, read from its folder.

    Args:
        folder: The run folder.
        tasks: All trainings of the run, finished or not.
        key: Names of the results that tell one training from another.
        numbers: Names of results in which null becomes NaN.
        outcomes: Names of more of them, which a training that diverged does not have.
            One without the first of them diverged as well.

    Attributes:
        units: Folders of the finished ones.
        results: A row for each of them.
        incomplete: What is missing or diverged, in words.

    Raises:
        RefusedError: If no training is finished.
    """

    def __init__(
        self,
        folder: RunFolder,
        tasks: Sequence[Task],
        key: Sequence[str],
        numbers: Sequence[str] = (),
        outcomes: Sequence[str] = (),
    ) -> None:
        finished = folder.finished(tasks)
        if not finished:
            raise RefusedError(f"{folder.path} holds no finished training to report on")
        self.units = [folder.units / task.name for task in finished]
        results = [read_result(unit) for unit in self.units]
        self._keys = [{name: result[name] for name in key} for result in results]
        self.results = pd.DataFrame(results)
        for name in (*outcomes, *numbers):
            given = pd.Series(self.results.get(name, np.nan), self.results.index)
            self.results[name] = pd.to_numeric(given, errors="coerce").astype(float)
        self._diverged = np.array([bool(one.get("diverged")) for one in results])
        if outcomes:
            self._diverged |= ~np.isfinite(self.results[outcomes[0]].to_numpy())
            self.results.loc[self._diverged, list(outcomes)] = np.nan
        self.incomplete = ""
        if missing := [task.name for task in tasks if task not in finished]:
            self.incomplete = (
                f"This run is not finished: {len(missing)} of {len(tasks)} trainings "
                f"are missing ({_listed(missing)}). What follows is preliminary.\n\n"
            )
        pairs = zip(finished, results, strict=True)
        if diverged := [task.name for task, result in pairs if result.get("diverged")]:
            self.incomplete += (
                f"{count(len(diverged), 'training')} of {len(finished)} diverged "
                f"({_listed(diverged)}): without an outcome they are left out of means "
                "and tests, which flatters the network that diverges.\n\n"
            )

    def read(
        self,
        name: str,
        read: Callable[[Path], pd.DataFrame] = pd.read_csv,
        *,
        diverged: bool = True,
        columns: Sequence[str] = (),
    ) -> pd.DataFrame:
        """The rows of a file of all trainings that have it, the key in front.

        Args:
            name: Name of the file.
            read: From the file to its rows.
            diverged: Whether those of trainings that diverged are among them.
            columns: Those of the table if there are no rows.
        """
        files = [unit / name for unit in self.units]
        frames = [
            pd.DataFrame({**key, **read(file)})
            for file, key, lost in zip(files, self._keys, self._diverged, strict=True)
            # One that diverged may lack it.
            if file.is_file() and (diverged or not lost)
        ]
        if not frames:
            return pd.DataFrame(columns=list(columns))
        return pd.concat(frames, ignore_index=True)


def read_result(unit: Path) -> dict[str, Any]:
    """The result of one finished task."""
    return dict(json.loads((unit / "result.json").read_text("utf-8")))


def _listed(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
