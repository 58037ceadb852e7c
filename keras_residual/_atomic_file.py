"""Files that are complete or missing, never half written."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, and moves the file there at the end.

    If an error ends the block, the temporary file is removed and an old one stays.
    """
    temporary = path.with_name(temporary_name(path))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> str:
    """A hidden name that no other thread, process or host uses."""
    # The suffix stays at the end: `numpy.savez` appends one if it is missing.
    return f".{path.stem}.{uuid.uuid4().hex}{path.suffix}"
