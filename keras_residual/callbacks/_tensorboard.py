"""Scalar summaries for TensorBoard, written without TensorFlow."""

import itertools
import os
import socket
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from keras_residual.callbacks._records import PREFIXES, Rows

_numbers = itertools.count()


def check_tensorboard() -> None:
    """Raises an ImportError with the command to install it if it is missing."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "`tensorboard_dir` needs the package tensorboard: "
            'pip install "keras-residual[tensorboard]"'
        ) from error


class ScalarWriter:
    """Writes records to a new event file.

    Args:
        folder: The log folder, made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # As all writers name it; TensorBoard looks for "tfevents".
        name = (
            f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            f".{os.getpid()}.{next(_numbers)}.{uuid.uuid4().hex}.gradient_norm"
        )
        self._path = folder / name
        self._write([{"file_version": "brain.Event:2"}])

    def append(self, names: Sequence[str], rows: Rows) -> None:
        """Adds records."""
        tags = [f"gradient_norm/{name}" for name in names]
        tags += [PREFIXES[kind] + name for kind in rows.more for name in names]
        self._write(
            {
                "step": step,
                "summary": {
                    "value": [
                        {"tag": tag, "simple_value": value}
                        for tag, value in zip(tags, values, strict=True)
                    ]
                },
            }
            for step, values in zip(
                rows.steps.tolist(), rows.values.tolist(), strict=True
            )
        )

    def _write(self, events: Iterable[dict[str, Any]]) -> None:
        # TensorBoard's own `EventFileWriter` imports TensorFlow where it is installed.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        # Opened each time, so that nothing is left open by an exception in `fit`.
        with open(self._path, "ab") as file:
            writer = RecordWriter(file)
            for event in events:
                content = Event(wall_time=time.time(), **event)
                writer.write(content.SerializeToString())
