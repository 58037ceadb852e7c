"""The computed points of a loss landscape, in memory and in a file."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from keras_residual._atomic_file import atomic_file


class LossPoints:
    """Losses of the points of a grid, and which of them are done.

    Args:
        shape: How many points along each direction.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.losses: NDArray[np.float64] = np.full(shape, np.nan)
        # Losses themselves may be NaN.
        self.done = np.zeros(shape, "bool")
        self._path: Path | None = None

    def keep_in(
        self, path: Path, identity: str, distances: NDArray[np.float64]
    ) -> None:
        """Reads the points of a file, and writes all later ones there.

        Args:
            path: The `.npz` file to read or to write.
            identity: A text that files of the same landscape share.
            distances: Stored beside the losses, for readers of the file.
        """
        self._path, self._identity, self._distances = path, identity, distances
        if not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                same = file["identity"].item() == identity
                losses, done = file["losses"], file["done"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            same = False
        if not same:
            raise ValueError(
                "`filepath` must be a new file, or one that was written with the same "
                f"weights, data and arguments. Received: filepath={str(path)!r}"
            )
        self.losses, self.done = losses, done

    def add(self, place: tuple[int, ...], loss: float) -> None:
        """Adds the loss of a point."""
        self.losses[place], self.done[place] = loss, True
        if self._path is None:
            return
        with atomic_file(self._path) as temporary:
            np.savez(
                temporary,
                identity=np.array(self._identity),
                distances=self._distances,
                losses=self.losses,
                done=self.done,
            )


def digest(arguments: Any, arrays: list[Any]) -> str:
    """A string that differs if an argument or an array differs."""
    hashed = hashlib.sha256(repr(arguments).encode())
    for values in arrays:
        array = np.ascontiguousarray(ops.convert_to_numpy(values))
        hashed.update(repr((array.shape, str(array.dtype))).encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()
