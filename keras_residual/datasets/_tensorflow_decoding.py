"""From the bytes of an image file to one cropped image, in TensorFlow's graphs.

A JPEG is decoded only where its crop needs it, and at an eighth, a quarter or half of
its size if that has enough pixels for the result. The module imports TensorFlow, so it
is imported only where images are read, under every backend.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_residual.datasets._reader_options import ReaderOptions

# What torchvision's RandomResizedCrop draws from, and how often it tries.
_ASPECT_RATIOS = (3 / 4, 4 / 3)
TRIES = 10
_JPEG_SCALES = (1, 2, 4, 8)
_JPEG = b"\xff\xd8\xff"  # the first bytes of such a file
# The palette of grayscale BMP files: blue, green, red and nothing.
_GREYS = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))


class RandomCrop(NamedTuple):
    """A random part of the image, of random area and aspect ratio, maybe mirrored."""

    image_size: int
    area: tuple[float, float]
    flip: bool

    def __call__(self, encoded: Any, seed: Any, position: Any) -> Any:
        """An image of uint8 that depends on the bytes and both numbers alone."""
        draws = tf.random.stateless_uniform(
            [4 * TRIES + 1], tf.stack([seed, position]), alg="philox"
        )
        tries = tf.reshape(draws[1:], (4, TRIES))

        def jpeg() -> Any:
            image = decode_jpeg(encoded, *self.jpeg_window(encoded, tries))
            return _resize(image, self.image_size)

        def other() -> Any:
            image = decode_other(encoded)
            size = tf.cast(tf.shape(image)[:2], tf.float32)
            top_left, extent = self._draw(size, tries)
            return _resize_antialiased(image, top_left, extent, self.image_size)

        image = tf.cond(_is_jpeg(encoded), jpeg, other)
        if not self.flip:
            return image
        return tf.cond(draws[0] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)

    def jpeg_window(self, encoded: Any, tries: Any) -> tuple[Any, Any, Any]:
        """Corner and extent in a JPEG that is scaled down, and the factor."""
        size = tf.io.extract_jpeg_shape(encoded)[:2]
        top_left, extent = self._draw(tf.cast(size, tf.float32), tries)
        scale = _largest_scale(extent, self.image_size)
        begin = tf.round(top_left / scale)
        end = tf.maximum(tf.round((top_left + extent) / scale), begin + 1.0)
        return begin, end - begin, scale

    def _draw(self, size: Any, tries: Any) -> tuple[Any, Any]:
        """Top left corner and extent of the crop, as (height, width) in pixels."""
        low, high = self.area
        area = tf.reduce_prod(size) * (low + (high - low) * tries[0])
        log_low, log_high = np.log(_ASPECT_RATIOS)
        ratio = tf.exp(log_low + (log_high - log_low) * tries[1])
        extents = tf.round(
            tf.stack([tf.sqrt(area / ratio), tf.sqrt(area * ratio)], axis=1)
        )
        fits = tf.reduce_all((extents >= 1.0) & (extents <= size), axis=1)
        chosen = tf.argmax(tf.cast(fits, tf.int32))
        room = size - extents[chosen] + 1.0
        top_left = tf.floor(tries[2:, chosen] * room)

        def widest() -> tuple[Any, Any]:
            smallest, largest = _ASPECT_RATIOS
            limits = tf.stack([size[1] / smallest, size[0] * largest])
            extent = tf.maximum(tf.minimum(size, tf.round(limits)), 1.0)
            return tf.floor((size - extent) / 2), extent

        return tf.cond(tf.reduce_any(fits), lambda: (top_left, extents[chosen]), widest)


class CentreCrop(NamedTuple):
    """The centre of the image once its shorter side is scaled to a fixed length."""

    image_size: int
    fraction: float

    def __call__(self, encoded: Any, seed: Any, position: Any) -> Any:
        """An image of uint8; the two numbers are not used."""
        share = self.image_size / round(self.image_size / self.fraction)

        def square(size: Any) -> tuple[Any, Any]:
            side = tf.repeat(tf.reduce_min(size) * share, 2)
            return (size - side) / 2, side

        def jpeg() -> Any:
            size = tf.cast(tf.io.extract_jpeg_shape(encoded)[:2], tf.float32)
            top_left, extent = square(size)
            # With twice its pixels the result loses no detail.
            scale = _largest_scale(extent, 2 * self.image_size)
            # TensorFlow rounds the scaled size up.
            top_left, extent, size = (
                x / scale
                for x in (top_left, extent, tf.math.ceil(size / scale) * scale)
            )
            # Antialiasing reaches that far beyond the border of the crop.
            margin = extent / self.image_size + 1.0
            begin = tf.maximum(tf.floor(top_left - margin), 0.0)
            end = tf.minimum(tf.math.ceil(top_left + extent + margin), size)
            image = decode_jpeg(encoded, begin, end - begin, scale)
            return _resize_antialiased(image, top_left - begin, extent, self.image_size)

        def other() -> Any:
            image = decode_other(encoded)
            top_left, extent = square(tf.cast(tf.shape(image)[:2], tf.float32))
            return _resize_antialiased(image, top_left, extent, self.image_size)

        return tf.cond(_is_jpeg(encoded), jpeg, other)


def crop_for(options: ReaderOptions) -> Any:
    if options.training and options.crop_area:
        return RandomCrop(options.image_size, options.crop_area, options.flip)
    return CentreCrop(options.image_size, options.center_fraction)


def can_decode(content: bytes) -> bool:
    """Whether TensorFlow decodes a whole file.

    Raises:
        MemoryError: If there is not enough memory for it.
    """
    try:
        with tf.device("CPU"):
            if content.startswith(_JPEG):
                tf.io.decode_jpeg(content, channels=3, ratio=8)
            else:
                decode_other(content)
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError("Not enough memory to decode an image.") from error
    except tf.errors.OpError:
        return False
    return True


def _is_jpeg(encoded: Any) -> Any:
    return tf.strings.substr(encoded, 0, 3) == _JPEG


def _largest_scale(extent: Any, image_size: int) -> Any:
    """The largest factor by which a JPEG can shrink if its crop keeps these pixels."""
    fits = tf.reduce_min(extent) >= image_size * tf.constant(
        _JPEG_SCALES[1:], "float32"
    )
    return 2.0 ** tf.reduce_sum(tf.cast(fits, tf.float32))


def decode_jpeg(encoded: Any, top_left: Any, extent: Any, scale: Any) -> Any:
    window = tf.cast(tf.concat([top_left, extent], 0), tf.int32)

    def decode(ratio: int) -> Any:
        return tf.image.decode_and_crop_jpeg(
            encoded,
            window,
            channels=3,
            ratio=ratio,
            # The default is off by one grey level and saves only 2 % of the time.
            dct_method="INTEGER_ACCURATE",
        )

    return tf.switch_case(
        tf.searchsorted(tf.constant(_JPEG_SCALES, "float32"), scale[None])[0],
        [lambda ratio=ratio: decode(ratio) for ratio in _JPEG_SCALES],
    )


def decode_other(encoded: Any) -> Any:
    """Decodes PNG, GIF, BMP or WebP."""
    readable = tf.cond(
        tf.strings.substr(encoded, 0, 2) == b"BM",
        lambda: _has_no_colour_table(encoded),
        lambda: tf.constant(True),
    )
    known = tf.debugging.Assert(readable, ["BMP files of a palette are not read."])
    # An eager assertion returns None.
    with tf.control_dependencies([] if known is None else [known]):
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _has_no_colour_table(bmp: Any) -> Any:
    """No table, or that of the greys: TensorFlow reads palette indices as greys."""
    header_size = tf.strings.substr(bmp, 14, 1)
    begin = 14 + tf.cast(tf.io.decode_raw(header_size, tf.uint8)[0], tf.int32)
    return (tf.strings.substr(bmp, 28, 1) != b"\x08") | (
        tf.strings.substr(bmp, begin, len(_GREYS)) == _GREYS
    )


def _resize(image: Any, image_size: int) -> Any:
    # As tf.image.resize, without its checks at every image. The operation's path for
    # uint8 takes twice as long, with the same pixels.
    images = tf.cast(image, tf.float32)[None]
    resized = tf.raw_ops.ResizeBilinear(
        images=images, size=[image_size, image_size], half_pixel_centers=True
    )
    return tf.cast(resized[0] + 0.5, tf.uint8)


def _resize_antialiased(image: Any, top_left: Any, extent: Any, image_size: int) -> Any:
    scale = image_size / extent
    resized = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=[image_size, image_size],
        scale=scale,
        translation=-top_left * scale,
        kernel_type="triangle",
        antialias=True,
    )
    return tf.cast(tf.clip_by_value(resized[0] + 0.5, 0.0, 255.0), tf.uint8)
