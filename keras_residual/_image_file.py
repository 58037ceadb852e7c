"""One image file through Pillow: decoded, rotated upright, cropped and scaled."""

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from keras_residual._first_line import first_line

if TYPE_CHECKING:
    from PIL.Image import Image

    File = str | os.PathLike[str] | BinaryIO


def read_file(
    file: "File", name: str, convert: Callable[["Image"], "Image"]
) -> np.ndarray:
    """The converted image; raises a ValueError with the file's name for bad files."""
    Image = import_pillow()
    try:
        with Image.open(file) as image:
            return np.asarray(convert(image))
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
        struct.error,  # of broken EXIF data
    ) as error:
        raise ValueError(
            f"The image {name} cannot be read: {first_line(error)}"
        ) from error


def import_pillow() -> Any:
    """Returns `PIL.Image`, or raises an ImportError with the command to install it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Image files need Pillow: pip install 'keras-residual[datasets]'"
        ) from error
    return Image


def read_rgb(file: "File") -> np.ndarray:
    """The whole image as it is stored."""
    return read_file(file, str(file), lambda image: image.convert("RGB"))


def read_part(file: "File", name: str, size: tuple[int, int]) -> np.ndarray:
    """The largest centred part of a photo that has the shape of `size`, scaled.

    The photo is first rotated by its EXIF tag. `size` is (height, width).
    """

    def upright_part(photo: "Image") -> "Image":
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(photo).convert("RGB")
        return ImageOps.fit(upright, (size[1], size[0]))

    return read_file(file, name, upright_part)
