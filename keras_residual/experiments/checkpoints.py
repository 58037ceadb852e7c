"""Checkpoints of one training: written in one move, verified before they are read."""

import contextlib
import errno
import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from keras_residual._first_line import first_line
from keras_residual.experiments._durable import move
from keras_residual.experiments.tasks import StoppedError

_KEPT = 2  # the last, and the one before in case the last is damaged
BEST = "best.keras"


class Checkpoints:
    """The states after some epochs in a folder: the last two, and the best network.

    A state is a `.keras` file (weights, optimizer, counters of random layers) and a
    JSON file with its checksum and the history. The JSON file is written last: a state
    without it is ignored.

    Args:
        folder: Folder of the states of one training; made when it is needed.

    Example:
        ```python
        import tempfile
        from pathlib import Path

        import keras
        from keras_residual.experiments import Checkpoints

        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", "mse")
        model.optimizer.build(model.trainable_variables)
        checkpoints = Checkpoints(Path(tempfile.mkdtemp()) / "state")
        checkpoints.save(model, [{"epoch": 1, "loss": 0.5}])
        print(checkpoints.restore(model))  # [{'epoch': 1, 'loss': 0.5}]
        ```
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, model: keras.Model, history: list[dict[str, Any]]) -> None:
        """Saves the state after the last row of the history; removes older states.

        Args:
            model: A compiled model whose optimizer is built.
            history: A row for each epoch, of values that JSON can hold.

        Raises:
            StoppedError: If the state cannot be written.
        """
        name = f"epoch-{len(history):05d}"
        with self._said(name):
            self.folder.mkdir(parents=True, exist_ok=True)
            digest = self._write(model, f"{name}.keras")
            content = json.dumps({"sha256": digest, "history": history})
            temporary = self.folder / f".{name}.json.tmp"
            temporary.write_text(content, "utf-8")
            move(temporary, self.folder / f"{name}.json")
        for old in self._names()[:-_KEPT]:
            # The JSON file first: without it the state does not count.
            (self.folder / f"{old}.json").unlink()
            (self.folder / f"{old}.keras").unlink(missing_ok=True)

    def save_best(self, model: keras.Model) -> None:
        """Replaces the best network, saved without its optimizer.

        Args:
            model: The network.

        Raises:
            StoppedError: If it cannot be written.
        """
        with self._said("best"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(without_optimizer(model), BEST)

    def restore(self, model: keras.Model) -> list[dict[str, Any]]:
        """Loads the last state and returns its history.

        Args:
            model: A compiled model whose optimizer is built.

        Returns:
            The rows of `save`; an empty list if there is no state.

        Raises:
            StoppedError: If the state is damaged or does not fit the model.
        """
        names = self._names()
        if not names:
            return []
        file = self.folder / f"{names[-1]}.keras"
        try:
            content = json.loads(file.with_suffix(".json").read_text("utf-8"))
            history: list[dict[str, Any]] = content["history"]
            # HDF5 may hang on a damaged file, so it is not opened.
            intact = _sha256(file) == content["sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise StoppedError(self._damaged(names))
        try:
            with warnings.catch_warnings():
                # Keras only warns when it leaves out an optimizer's state.
                warnings.simplefilter("error", UserWarning)
                model.load_weights(file)
        except (OSError, ValueError, KeyError, UserWarning) as error:
            raise StoppedError(
                f"the checkpoint {file} does not fit this network: {error}"
            ) from error
        return history

    def _names(self) -> list[str]:
        return sorted(file.stem for file in self.folder.glob("epoch-*.json"))

    def _damaged(self, names: list[str]) -> str:
        last = self.folder / names[-1]
        message = f"the checkpoint {last}.keras is damaged. Delete {last}.json, and "
        if len(names) > 1:
            older = self.folder / names[-2]
            return f"{message}the same command continues from {older}.keras"
        return f"{message}the same command starts this training again"

    def _write(self, model: keras.Model, name: str) -> str:
        # Keras chooses the format by the suffix.
        temporary = self.folder / f".unfinished.{name}"
        model.save(temporary)
        digest = _sha256(temporary)
        move(temporary, self.folder / name)
        return digest

    @contextlib.contextmanager
    def _said(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            # HDF5 raises either one, with the system's error number.
            if isinstance(error, RuntimeError) and "errno" not in str(error):
                raise
            for file in self.folder.glob(".*"):
                file.unlink()
            reason = first_line(error)
            if getattr(error, "errno", None) == errno.ENOSPC:
                reason = "no space left on the disk"
            names = self._names()
            left = (
                f"the one before it, {self.folder / names[-1]}.keras, is intact"
                if names
                else "there is none before it"
            )
            raise StoppedError(
                f"the checkpoint {self.folder / name}.keras cannot be written: "
                f"{reason}; {left}"
            ) from error


def without_optimizer(model: keras.Model) -> keras.Model:
    """Returns an uncompiled network that shares the weights of the model."""
    return keras.Model(model.input, model.output, name=model.name)


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
