"""Image files that tests write: pictures that tell where they were cut, and greys."""

import numpy as np
from PIL import Image

from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_setup import prepare_tensorflow


def ramps(width, height):
    """Red grows from left to right, green from top to bottom, both from 0 to 255."""
    red, green = np.meshgrid(_ramp(width), _ramp(height))
    picture = np.stack([red, green, np.full_like(red, 128)], axis=-1)
    return Image.fromarray(np.round(picture).astype(np.uint8))


def waves(width, height):
    """A smooth picture without symmetry, in which a shift of a pixel shows."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    channels = [
        np.sin(9 * x + 5 * y * y + phase) * np.cos(4 * y - 3 * x * y + 2 * phase)
        for phase in (0.0, 1.0, 2.0)
    ]
    return Image.fromarray(np.uint8(127.5 + 120 * np.stack(channels, axis=-1)))


def save(picture, file, image_format="JPEG"):
    # 4:4:4 and the finest quantization: nearly lossless.
    options = {"quality": 100, "subsampling": 0} if image_format == "JPEG" else {}
    picture.save(file, image_format, **options)
    return file


def image_batches(files, labels, **options):
    """Batches as `ImageNetFolder` reads them, of any files."""
    options = _prepared(options)
    from keras_residual.datasets._tensorflow_files import batches_of_files

    return batches_of_files(list(map(str, files)), np.asarray(labels), options)


def encoded_image_batches(examples, num_images, *buffer, **options):
    """The same of a dataset of encoded images."""
    options = _prepared(options)
    from keras_residual.datasets._tensorflow_stream import batches_of_examples

    return batches_of_examples(examples, num_images, options, *buffer)


def _prepared(options):
    # TensorFlow, imported after this, leaves the memory of a GPU to the backend.
    prepare_tensorflow()
    return ReaderOptions(**options)


def save_greys(folder, count):
    """File k is a small picture filled with the number k."""
    return [
        save(Image.new("L", (12, 12), number), folder / f"{number:03}.jpg")
        for number in range(count)
    ]


def windows_of(crops, width, height):
    """Where crops of ramps were cut: (left, top, right, bottom) for each, in pixels.

    Crops are mirrored where left is larger than right.
    """
    size = crops.shape[1]
    inner = np.arange(size)[2:-2]
    found = []
    for values, extent in (
        (crops[:, 2:-2, 2:-2, 0].mean(1), width),
        (crops[:, 2:-2, 2:-2, 1].mean(2), height),
    ):
        slope, intercept = np.polyfit(inner + 0.5, values.T, 1)
        # The value v stands at the centre of pixel v / 255 * (extent - 1).
        at = np.stack([intercept, intercept + slope * size]) / 255 * (extent - 1) + 0.5
        found.append(at)
    (left, right), (top, bottom) = found
    return np.stack([left, top, right, bottom], axis=1)


def _ramp(length):
    return np.linspace(0, 255, length)
