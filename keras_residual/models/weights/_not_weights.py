"""What the readers of files of weights have in common."""

import zipfile
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]

TOO_LITTLE = "it declares more data than it holds"


class NotWeights(Exception):
    """What is wrong with a file, as the end of a sentence."""


def check_archive(path: Path) -> None:
    """Neither PyTorch nor Keras compresses: who does may unpack to any size."""
    with zipfile.ZipFile(path) as archive:
        if sum(i.file_size for i in archive.infolist()) > 2 * path.stat().st_size:
            raise NotWeights(TOO_LITTLE)
