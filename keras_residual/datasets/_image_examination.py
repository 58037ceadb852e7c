"""Examines one image file: whether it can be used, and its oddities."""

import io

from keras_residual.datasets._tensorflow_setup import prepare_tensorflow

# One bit each, since several may apply: a grayscale PNG file named .JPEG.
KINDS = {
    "unreadable": 1,
    "truncated": 2,
    "unsupported": 32,
    "CMYK": 4,
    "grayscale": 8,
    "other format": 16,
}
UNUSABLE = ("unreadable", "truncated", "unsupported")

_FORMATS = {
    ".bmp": ("BMP",),
    ".jpeg": ("JPEG", "MPO"),  # which begins with a whole JPEG image
    ".jpg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".webp": ("WEBP",),
}
_GRAY = {"1", "L", "LA", "I", "I;16", "F"}


def examine(content: bytes, suffix: str | None = None) -> int:
    """Bits of `KINDS`: one of `UNUSABLE`, or any of the others.

    "other format" needs a suffix.
    """
    from PIL import Image, ImageFile

    try:
        opened = Image.open(io.BytesIO(content))
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        return KINDS["unsupported"]
    except Exception:
        # A damaged file makes Pillow's readers raise all kinds of errors.
        return KINDS["unreadable"]
    with opened:
        bits = 0
        if opened.mode == "CMYK":
            bits |= KINDS["CMYK"]
        if opened.mode in _GRAY:
            bits |= KINDS["grayscale"]
        if suffix is not None and opened.format not in _FORMATS[suffix]:
            bits |= KINDS["other format"]
        # A JPEG file is read as a whole, but computed at an eighth of its size.
        opened.draft("L", (1, 1))
        try:
            opened.load()
        except MemoryError:
            raise
        except Exception:
            return KINDS["truncated"]
        is_png = opened.format == "PNG"
    is_jpeg = content.startswith(b"\xff\xd8\xff")
    # A program may have set Pillow to load truncated files, for all its threads.
    if is_jpeg and not ImageFile.LOAD_TRUNCATED_IMAGES:
        return bits
    prepare_tensorflow()
    from keras_residual.datasets._tensorflow_decoding import can_decode

    if can_decode(content):
        return bits
    # Pillow reads a PNG file without its end.
    return KINDS["truncated" if is_png or is_jpeg else "unsupported"]
