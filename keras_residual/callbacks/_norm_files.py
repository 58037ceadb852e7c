"""Gradient norm records on disk: CSV and NumPy files that need no library to read."""

import contextlib
import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_record(
    path: Path, names: Sequence[str], steps: np.ndarray, norms: np.ndarray
) -> None:
    """Writes `.csv` or `.npz`, so that `path` is never seen half written."""
    # The suffix stays at the end: `numpy.savez` appends one where it is missing.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix == ".npz":
            np.savez(
                temporary, names=np.asarray(names, "str"), steps=steps, norms=norms
            )
        else:
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(["step", *names])
            append_rows(temporary, steps, norms)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def start_rows(path: Path, names: Sequence[str], before: int) -> None:
    """Makes a CSV file for rows from a step on; older ones of as many columns stay."""
    steps = np.zeros(0, "int64")
    norms = np.zeros((0, len(names)), "float32")
    # A file of something else may hold anything, bytes that are no text included.
    with contextlib.suppress(OSError, ValueError):
        there, old_steps, old_norms = read_record(path)
        # Not the names: Keras numbers models anew when one is built again.
        if len(there) == len(names):
            earlier = old_steps < before
            steps, norms = old_steps[earlier], old_norms[earlier]
    write_record(path, names, steps, norms)


def append_rows(path: Path, steps: np.ndarray, norms: np.ndarray) -> None:
    """Adds rows to a CSV file."""
    with open(path, "a", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(
            # Nine digits bring every float32 back unchanged.
            [step, *(f"{norm:.9g}" for norm in row)]
            for step, row in zip(steps.tolist(), norms, strict=True)
        )


def read_record(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Reads names, steps and norms back."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return file["names"].tolist(), file["steps"], file["norms"]
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    names = header[1:]
    # A process killed while it wrote leaves a last row that is too short.
    rows = [row for row in rows if len(row) == len(header)]
    steps = np.asarray([int(row[0]) for row in rows], "int64")
    norms = np.asarray([row[1:] for row in rows], "float32")
    return names, steps, norms.reshape(len(rows), len(names))
