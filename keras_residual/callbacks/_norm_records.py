"""Where the records of a training are kept: in memory, or in a file alone."""

from collections.abc import Sequence
from pathlib import Path

from keras_residual.callbacks._norm_files import (
    Rows,
    append_rows,
    join,
    read_file,
    start_file,
)


class MemoryRecord:
    """All records, for a training without a file."""

    def __init__(self) -> None:
        self._parts: list[Rows] = []

    @property
    def is_empty(self) -> bool:
        return not self._parts

    def append(self, names: Sequence[str], rows: Rows) -> None:
        if len(rows.steps):
            self._parts.append(rows)

    def rows(self, columns: int, ratios: bool) -> Rows:
        if self.is_empty:
            return Rows.none(columns, ratios)
        # Once, and not again at each access.
        self._parts = [join(self._parts)]
        return self._parts[0]


class FileRecord:
    """Records in a CSV file: none is kept in memory, however long the training is.

    Args:
        path: The file. It is not touched before the first record.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.is_empty = True

    def append(self, names: Sequence[str], rows: Rows) -> None:
        if self.is_empty:
            start_file(self._path, names, rows)
            self.is_empty = False
        else:
            append_rows(self._path, rows)

    def rows(self, columns: int, ratios: bool) -> Rows:
        if self.is_empty:
            return Rows.none(columns, ratios)
        _, rows = read_file(self._path)
        return rows
