"""Seeded image generators: data for the simulations that need no download."""

import numpy as np

from keras_residual.datasets import _shapes
from keras_residual.layers._checks import (
    check_positive_integer,
    check_probability,
    check_seed,
)

CYCLES = 4  # of each class's sinusoid across the image
TINTS = ((1.0, 0.5, 0.0), (0.0, 0.5, 1.0))  # warm and cold, equally bright
_CLOUDS = 5  # random colours along each side of a tinted image, blended between
_CHUNK = 256  # images at a time, which bounds the memory


def sinusoid_images(
    num_images: int = 2000,
    num_classes: int = 10,
    image_size: int = 32,
    *,
    strength: float = 0.3,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws images of uniform noise that hide one sinusoid pattern per class.

    `image = (1 - share) * noise + share * pattern[class]`, where the noise is uniform
    in [0, 1) and independent in each pixel and channel, and the pattern of class `k` of
    `n` is a grey plane wave of four cycles across the image in the direction
    `180 * k / n` degrees. Nothing is clipped. The share is drawn for each image,
    uniform in [0, strength): with one share for all, a network would find either every
    pattern or none. The numbers come from NumPy's generator, so a seed gives the same
    images on every backend.

    Args:
        num_images: Positive integer.
        num_classes: Positive integer. Class sizes differ by at most one image.
        image_size: Positive integer. Height and width in pixels.
        strength: Float in [0, 1]. Upper end of the shares: 0 leaves pure noise; larger
            values leave fewer images too faint to be recognised.
        seed: Non-negative integer.

    Returns:
        Images, float32 in [0, 1] of shape `(num_images, image_size, image_size, 3)`,
        and labels, int64 of shape `(num_images,)`, in random order.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        ```python
        from keras_residual.datasets import sinusoid_images

        images, labels = sinusoid_images(200, strength=0.2, seed=1)
        print(images.shape, labels.max())  # (200, 32, 32, 3) 9
        ```
    """
    for name, value in (
        ("num_images", num_images),
        ("num_classes", num_classes),
        ("image_size", image_size),
    ):
        check_positive_integer(name, value)
    check_probability("strength", strength)
    check_seed(seed)

    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(num_images) % num_classes)
    images = generator.random((num_images, image_size, image_size, 3), dtype=np.float32)
    shares = strength * generator.random((num_images, 1, 1, 1), dtype=np.float32)
    patterns = _plane_waves(num_classes, image_size)[labels][..., np.newaxis]
    return (1 - shares) * images + shares * patterns, labels


def tinted_images(
    num_images: int = 1000,
    image_size: int = 64,
    *,
    strength: float = 0.25,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws cloudy noise with a warm or a cold tint: two classes in place of photos.

    `image = (1 - share) * noise + share * tint[class]`, where the tint is orange
    (class 0) or sky blue (class 1) all over the image. Half of the noise is uniform and
    independent in each pixel and channel; the other half is clouds, 5 x 5 random
    colours blended linearly, so an image without any tint has a colour cast too. The
    share is drawn for each image, uniform in [0, strength): the casts hide faint tints,
    and no method can recognise all images.

    Args:
        num_images: Positive integer. Class sizes differ by at most one image.
        image_size: Positive integer. Height and width in pixels.
        strength: Float in [0, 1]. Upper end of the shares. With 0.25 the best
            threshold on the mean of red minus blue recognises about 93 % of the images
            (measured; 0.1: 83 %, 0.5: 97 %): the mean cast has a standard deviation `s`
            of about 0.044, and the share of errors is about `0.4 * s / strength`.
        seed: Non-negative integer.

    Returns:
        Images, uint8 of shape `(num_images, image_size, image_size, 3)`, and labels,
        int64 of shape `(num_images,)`, in random order.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        ```python
        from keras_residual.datasets import tinted_images

        images, labels = tinted_images(200, image_size=32, seed=1)
        redness = images[..., 0].mean((1, 2)) - images[..., 2].mean((1, 2))
        print(((redness < 0) == labels).mean())  # about 0.93
        ```
    """
    check_positive_integer("num_images", num_images)
    check_positive_integer("image_size", image_size)
    check_probability("strength", strength)
    check_seed(seed)

    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(num_images) % len(TINTS))
    shares = strength * generator.random((num_images, 1, 1, 1), dtype=np.float32)
    tints = np.asarray(TINTS, np.float32)[labels][:, np.newaxis, np.newaxis]
    images = np.empty((num_images, image_size, image_size, 3), np.uint8)
    for start in range(0, num_images, _CHUNK):
        part = slice(start, start + _CHUNK)
        noise = _cloudy_noise(generator, len(images[part]), image_size)
        mixed = (1 - shares[part]) * noise + shares[part] * tints[part]
        images[part] = 255 * mixed + 0.5
    return images, labels


def shape_texture_images(
    num_images: int = 20_000,
    num_classes: int = 50,
    image_size: int = 64,
    *,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Draws objects whose class is a shape and a texture, to pretrain a network on.

    Class `5 * shape + texture` has one of the shapes disc, square, triangle, ring,
    cross, star, bar, crescent, half disc and corner, filled with one of the textures
    plain, stripes, checks, dots and waves. Position, size, rotation and colours of the
    object and its texture are random. The background is fainter, with another texture
    and another brightness, and normal noise is added to the whole image. Colours do not
    depend on the class.

    An image depends only on its place, `num_classes`, `image_size` and the seed, so a
    smaller data set is the beginning of a larger one.

    Args:
        num_images: Positive integer.
        num_classes: Integer from 1 to 50: the first classes. Their sizes differ by at
            most one image.
        image_size: Positive integer. Height and width in pixels. A person can recognise
            the classes from 64 pixels on.
        seed: Non-negative integer.

    Returns:
        Images, uint8 of shape `(num_images, image_size, image_size, 3)`, and labels,
        int64 of shape `(num_images,)`, in random order.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        ```python
        from keras_residual.datasets import shape_texture_images

        images, labels = shape_texture_images(100, num_classes=10, seed=1)
        print(images.shape, labels.max())  # (100, 64, 64, 3) 9
        ```
    """
    check_positive_integer("num_images", num_images)
    check_positive_integer("num_classes", num_classes)
    check_positive_integer("image_size", image_size)
    check_seed(seed)
    available = len(_shapes.SHAPES) * len(_shapes.TEXTURES)
    if num_classes > available:
        raise ValueError(
            f"`num_classes` must be at most {available}. "
            f"Received: num_classes={num_classes!r}"
        )

    # Whole rounds through the classes and whole chunks of images with their own seeds,
    # cut at the end, so that a smaller set is the beginning of a larger one.
    chunks = -(-num_images // _CHUNK)
    rounds = -(-chunks * _CHUNK // num_classes)
    generator = np.random.default_rng(seed)
    labels = generator.permuted(
        np.tile(np.arange(num_classes), (rounds, 1)), axis=1
    ).reshape(-1)
    images = np.empty((num_images, image_size, image_size, 3), np.uint8)
    for chunk in range(chunks):
        part = slice(chunk * _CHUNK, (chunk + 1) * _CHUNK)
        drawn = _shapes.draw(
            np.random.default_rng([seed, chunk]), labels[part], image_size
        )
        images[part] = drawn[: len(images[part])]
    return images, labels[:num_images]


def _cloudy_noise(
    generator: np.random.Generator, count: int, image_size: int
) -> np.ndarray:
    colours = generator.random((count, _CLOUDS, _CLOUDS, 3), dtype=np.float32)
    places = np.linspace(0, _CLOUDS - 1, image_size, dtype=np.float32)
    # Row p: how much of each random colour there is at pixel p.
    blend = np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(_CLOUDS)))
    clouds = np.einsum(
        "hi,wj,nijc->nhwc", blend, blend, colours, dtype=np.float32, optimize=True
    )
    grain = generator.random((count, image_size, image_size, 3), dtype=np.float32)
    return (clouds + grain) / 2


def _plane_waves(num_classes: int, image_size: int) -> np.ndarray:
    angles = np.pi * np.arange(num_classes)[:, np.newaxis, np.newaxis] / num_classes
    rows, columns = np.mgrid[:image_size, :image_size] / image_size
    distance = columns * np.cos(angles) + rows * np.sin(angles)
    return (0.5 + 0.5 * np.sin(2 * np.pi * CYCLES * distance)).astype(np.float32)
