"""Records of a training: in memory, or in CSV and NumPy files."""

import contextlib
import csv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_residual._atomic_file import atomic_file

# What a record may hold beside the norms: by attribute, how the names of its columns
# begin. Columns come in this order.
PREFIXES = {
    "clipped_norms": "clipped_norm/",
    "micro_batch_norms": "micro_batch_norm/",
    "update_ratios": "update_ratio/",
}


class Rows(NamedTuple):
    """Some records.

    Args:
        steps: Step numbers `(n,)`, int64.
        norms: Gradient norms `(n, columns)`, float32.
        more: What else was measured, by `PREFIXES` in their order, of the same shape.
    """

    steps: np.ndarray
    norms: np.ndarray
    more: dict[str, np.ndarray]

    @classmethod
    def none(cls, columns: int, more: Sequence[str]) -> "Rows":
        norms = np.zeros((0, columns), "float32")
        return cls(np.zeros(0, "int64"), norms, dict.fromkeys(more, norms))

    @property
    def values(self) -> np.ndarray:
        """All numbers side by side, as a file has them."""
        return np.concatenate([self.norms, *self.more.values()], axis=1)

    def at(self, rows: np.ndarray) -> "Rows":
        """Some of the records."""
        more = {name: values[rows] for name, values in self.more.items()}
        return Rows(self.steps[rows], self.norms[rows], more)


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

    def rows(self, columns: int, more: Sequence[str]) -> Rows:
        if self.is_empty:
            return Rows.none(columns, more)
        # Joined once, not at each access.
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

    def rows(self, columns: int, more: Sequence[str]) -> Rows:
        if self.is_empty:
            return Rows.none(columns, more)
        _, rows = read_file(self._path)
        return rows


def join(parts: Sequence[Rows]) -> Rows:
    """Returns records one after the other; all hold the same kinds of numbers."""
    return Rows(
        np.concatenate([part.steps for part in parts]),
        np.concatenate([part.norms for part in parts]),
        {
            name: np.concatenate([part.more[name] for part in parts])
            for name in parts[0].more
        },
    )


def column_names(names: Sequence[str], more: Iterable[str]) -> list[str]:
    """Returns the names of all columns of values."""
    return [*names, *(PREFIXES[kind] + name for kind in more for name in names)]


def write_file(path: Path, names: Sequence[str], rows: Rows) -> None:
    """Writes a `.csv` or `.npz` file in one move."""
    with atomic_file(path) as temporary:
        if path.suffix == ".npz":
            arrays = {"names": np.asarray(names, "str")}
            arrays |= {"steps": rows.steps, "norms": rows.norms}
            np.savez(temporary, allow_pickle=False, **arrays, **rows.more)
        else:
            columns = column_names(names, rows.more)
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(["step", *columns])
            append_rows(temporary, rows)


def start_file(path: Path, names: Sequence[str], rows: Rows) -> None:
    """Writes the first rows of a training to a CSV file.

    Earlier rows of a file with as many columns stay.
    """
    # Another kind of file may hold anything, even bytes that are not text.
    with contextlib.suppress(OSError, ValueError):
        there, old = read_file(path)
        # Not the names: Keras numbers models again when one is rebuilt.
        if len(there) == len(names) and list(old.more) == list(rows.more):
            rows = join([old.at(old.steps < rows.steps[0]), rows])
    write_file(path, names, rows)


def append_rows(path: Path, rows: Rows) -> None:
    """Adds rows to a CSV file."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            # Nine digits bring every float32 back unchanged.
            [step, *(f"{value:.9g}" for value in values)]
            for step, values in zip(rows.steps.tolist(), rows.values, strict=True)
        )


def read_file(path: Path) -> tuple[list[str], Rows]:
    """Reads names and rows; raises a ValueError for another kind of file."""
    wrong = ValueError(
        "`path` must be a file with a gradient norm record. "
        f"Received: path={str(path)!r}"
    )
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                held = {name: file[name] for name in PREFIXES if name in file}
                return file["names"].tolist(), Rows(file["steps"], file["norms"], held)
        except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise wrong from error
    with open(path, newline="", encoding="utf-8") as text:
        first, *header = next(csv.reader(text), [""])
        if first != "step":
            raise wrong
        steps, values = _parse(text, len(header))
    for more in (
        kinds
        for number in range(len(PREFIXES), 0, -1)
        for kinds in combinations(PREFIXES, number)
    ):
        names = header[: len(header) // (1 + len(more))]
        if names and header == column_names(names, more):
            norms, *others = np.split(values, 1 + len(more), axis=1)
            return names, Rows(steps, norms, dict(zip(more, others, strict=True)))
    return header, Rows(steps, values, {})


def _parse(lines: Iterable[str], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values; as lists of strings, long files would fill the memory."""

    def complete() -> Iterator[str]:
        for line in lines:
            # A process killed while it wrote leaves a last row that is cut short.
            if line.endswith("\n") and line.count(",") == columns:
                yield line

    rows = complete()
    first = next(rows, None)
    if first is None:
        return np.zeros(0, "int64"), np.zeros((0, columns), "float32")
    kind = np.dtype([("step", "int64"), ("values", "float32", (columns,))])
    table = np.loadtxt(
        chain([first], rows), kind, comments=None, delimiter=",", ndmin=1
    )
    return table["step"], table["values"]
