"""Seeded image generators: data for the simulations that needs no download."""

import numbers

import numpy as np

from keras_residual.layers._checks import check_positive_integer

CYCLES = 4  # of each class's sinusoid across the image


def sinusoid_images(
    num_images: int = 2000,
    num_classes: int = 10,
    image_size: int = 32,
    *,
    strength: float = 0.3,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Images of uniform noise that hide one sinusoid pattern per class.

    `image = (1 - share) * noise + share * pattern[class]`, where the noise is uniform
    in [0, 1) and independent in each pixel and channel, and the pattern of class `k` of
    `n` is a grey plane wave of four cycles across the image in the direction
    `180 * k / n` degrees. Nothing is clipped. The share is drawn for each image,
    uniform in [0, strength): with one share for all, a network either finds every
    pattern or none, and no accuracy lies in between. The numbers come from NumPy's
    generator, so that a seed means the same images on every backend.

    Args:
        num_images: Positive integer.
        num_classes: Positive integer. The classes have equally many images, or one
            more or less where `num_images` does not divide.
        image_size: Positive integer. Height and width in pixels.
        strength: Float in [0, 1]. Upper end of the shares: 0 leaves pure noise, and
            the larger it is, the fewer images are too faint to be told.
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
    if not isinstance(strength, numbers.Real) or not 0 <= strength <= 1:
        raise ValueError(
            f"`strength` must be a number in [0, 1]. Received: strength={strength!r}"
        )
    if not isinstance(seed, numbers.Integral) or seed < 0:
        raise ValueError(
            f"`seed` must be an integer of 0 or greater. Received: seed={seed!r}"
        )

    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(num_images) % num_classes)
    images = generator.random((num_images, image_size, image_size, 3), dtype=np.float32)
    shares = strength * generator.random((num_images, 1, 1, 1), dtype=np.float32)
    patterns = _plane_waves(num_classes, image_size)[labels][..., np.newaxis]
    return (1 - shares) * images + shares * patterns, labels


def _plane_waves(num_classes: int, image_size: int) -> np.ndarray:
    angles = np.pi * np.arange(num_classes)[:, np.newaxis, np.newaxis] / num_classes
    rows, columns = np.mgrid[:image_size, :image_size] / image_size
    distance = columns * np.cos(angles) + rows * np.sin(angles)
    return (0.5 + 0.5 * np.sin(2 * np.pi * CYCLES * distance)).astype(np.float32)
