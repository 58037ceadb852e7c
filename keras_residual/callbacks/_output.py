"""Where norms go once they are read from the train step."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_residual.callbacks._alert import Alert
from keras_residual.callbacks._columns import (
    group_norms,
    group_ratios,
    group_variables,
)
from keras_residual.callbacks._records import (
    FileRecord,
    MemoryRecord,
    Rows,
    column_names,
)
from keras_residual.callbacks._tensorboard import ScalarWriter


class Output:
    """Groups norms into columns, and keeps, writes and watches them.

    Args:
        by: One column for each `"variable"`, `"layer"` or `"block"`.
        global_norm: Whether to add a column of all variables together.
        more: What is measured beside the norms, out of `PREFIXES`.
        filepath: The file to keep the record in, or None for memory.
        limits: The limits of an alert, or None for no alert.
        tensorboard_dir: The folder for scalar summaries, or None.
        on_record: Called with each record and its step, or None.
    """

    def __init__(
        self,
        by: str,
        global_norm: bool,
        more: Sequence[str],
        filepath: str | os.PathLike[str] | None,
        limits: tuple[float, float] | None,
        tensorboard_dir: str | os.PathLike[str] | None,
        on_record: Callable[[dict[str, float], int], Any] | None,
    ) -> None:
        self.names: list[str] = []
        self._by = by
        self._global_norm = global_norm
        self._more = more
        self._on_record = on_record
        self._limits = limits
        self._tensorboard_dir = tensorboard_dir
        self._record: FileRecord | MemoryRecord = (
            MemoryRecord() if filepath is None else FileRecord(Path(filepath))
        )
        self._columns: list[int] | None = None
        self._alert: Alert | None = None
        self._writer: ScalarWriter | None = None

    def begin_fit(self) -> None:
        """Forgets the variables of the last `fit`, but not its records."""
        self._columns = None

    def name_columns(self, model: keras.Model, variables: Sequence[Any]) -> None:
        """Fixes the columns of this `fit`, if they are not fixed yet."""
        if self._columns is not None:
            return
        names, columns = group_variables(model, variables, self._by)
        if self._global_norm:
            names = [*names, "global_norm"]
        if not self._record.is_empty and names != self.names:
            raise ValueError(
                "`model` must have the trainable variables of the earlier fit, or a "
                f"new callback. Received: names={names!r}, expected {self.names!r}"
            )
        self.names, self._columns = names, columns
        if self._limits is not None:
            self._alert = Alert(
                self._limits, *group_variables(model, variables, "layer")
            )
        if self._tensorboard_dir is not None and self._writer is None:
            self._writer = ScalarWriter(Path(self._tensorboard_dir))

    def append(self, steps: np.ndarray, values: np.ndarray) -> bool:
        """Takes step numbers `(n,)` and norms `(n, kinds, variables)`.

        Returns:
            Whether there was an alert.
        """
        # In the order in which a recorder measures them.
        measured = [kind for kind in self._more if kind != "update_ratios"]
        more = {
            kind: self._grouped(group_norms, values[:, place])
            for place, kind in enumerate(measured, start=1)
        }
        if "update_ratios" in self._more:
            more["update_ratios"] = self._grouped(
                group_ratios, values[:, -2], values[:, -1]
            )
        rows = Rows(steps, self._grouped(group_norms, values[:, 0]), more)
        self._record.append(self.names, rows)
        if self._writer is not None:
            self._writer.append(self.names, rows)
        if self._on_record is not None:
            names = column_names(self.names, rows.more)
            for step, numbers in zip(steps.tolist(), rows.values.tolist(), strict=True):
                self._on_record(dict(zip(names, numbers, strict=True)), step)
        # Last, because a warning may be made an error.
        return self._alert is not None and self._alert.check(steps, values[:, 0])

    def _grouped(
        self, group: Callable[..., np.ndarray], *values: np.ndarray
    ) -> np.ndarray:
        """Columns `(n, names)` of the values of variables."""
        columns = self._columns or []
        result = group(*values, columns)
        if not self._global_norm:
            return result
        return np.concatenate([result, group(*values, [0] * len(columns))], axis=1)

    def restore(self, names: list[str], rows: Rows) -> None:
        """Takes the content of a file."""
        self.names = names
        self._record.append(names, rows)

    def rows(self) -> Rows:
        return self._record.rows(len(self.names), self._more)
