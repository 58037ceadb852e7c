"""What the readers of files of weights have in common."""

import zipfile
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]

TOO_LITTLE = "it declares more data than it holds"


class NotWeights(Exception):
    """A file that cannot be read; the message is the end of a sentence."""


def check_archive(path: Path) -> None:
    """Raises for compressed files, which PyTorch and Keras do not write.

    They could unpack to any size.
    """
    with zipfile.ZipFile(path) as archive:
        if sum(i.file_size for i in archive.infolist()) > 2 * path.stat().st_size:
            raise NotWeights(TOO_LITTLE)
