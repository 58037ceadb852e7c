"""What a worker process does: one task after the other, until its parent ends it."""

import contextlib
import gc
import logging
import multiprocessing
import os
import sys
import threading
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import keras

from keras_residual.experiments.tasks import StoppedError, Train

_OUT_OF_MEMORY = (
    *("out of memory", "resource_exhausted", "unable to allocate"),
    *("can't allocate memory", "cannot allocate memory"),
)
# Where a worker says something; elsewhere it is printed.
_to_parent: Connection | None = None


def say(words: str) -> None:
    """Prints a line where the run was started, also from a worker.

    A worker of a cluster prints it on its own machine.

    Args:
        words: The line.

    Example:
        ```python
        from keras_residual.experiments import say

        say("plain-seed000: epoch 1 of 10")
        ```
    """
    if _to_parent is None:
        print(words, flush=True)
    else:
        _to_parent.send(("said", words))


def pack(train: Train, shared: Any) -> bytes:
    """What a worker needs to begin, also where the program's folder is not known."""
    # What the program itself defines is packed by value.
    work = cloudpickle.dumps((train, shared))
    packed: bytes = cloudpickle.dumps((sys.path, keras.config.backend(), work))
    return packed


def _unpack(packed: bytes) -> tuple[Train, Any]:
    path, backend, work = cloudpickle.loads(packed)
    sys.path.extend(folder for folder in path if folder not in sys.path)
    if keras.config.backend() != backend:
        raise StoppedError(
            f"the worker has the backend {keras.config.backend()}, and the run "
            f"{backend}; start the workers with KERAS_BACKEND={backend}"
        )
    train, shared = cloudpickle.loads(work)
    return train, shared


def serve(connection: Connection) -> None:
    """Computes what comes through the connection, first of all what `pack` gave."""
    global _to_parent
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # It warns of what is meant here: every task compiles a network of its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    # Their parent has built the same networks, and said what there is to say.
    logging.getLogger("keras_residual").setLevel(logging.ERROR)
    # What a keras.json of this machine may say otherwise.
    keras.config.set_image_data_format("channels_last")
    _to_parent = connection
    train: Train | None = None
    shared = None
    answer: tuple[str, Any]
    # Until its parent is not there anymore.
    with contextlib.suppress(EOFError, OSError):
        packed = connection.recv_bytes()
        while True:
            arguments = connection.recv()
            try:
                if train is None:
                    train, shared = _unpack(packed)
                    # Before each training Keras collects garbage, which would look at
                    # all that was imported.
                    gc.freeze()
                answer = "done", train(arguments, shared)
            except Exception as error:
                answer = _failure(error)
            connection.send(answer)


def _failure(error: Exception) -> tuple[str, str]:
    """What the parent is told about an error: in one line if it is for the user."""
    if isinstance(error, StoppedError):
        return "stopped", str(error)
    # Each backend has its own exceptions for this; their texts are alike.
    if any(words in str(error).lower() for words in _OUT_OF_MEMORY):
        return "stopped", "out of memory: try half of the batch size, or smaller images"
    return "failed", "".join(traceback.format_exception(error))


def _end_with_parent() -> None:
    """A parent that is killed cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
