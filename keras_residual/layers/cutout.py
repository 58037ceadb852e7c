"""Cutout, as its authors define it."""

import threading
from typing import Any

import keras
import numpy as np

from keras_residual.layers import _cutout_backend as backend
from keras_residual.layers._checks import (
    check_choice,
    check_positive_integer,
    check_probability,
)
from keras_residual.layers._cutout_checks import (
    as_given,
    check_dtype,
    checked_fill,
    checked_range,
    checked_size,
)
from keras_residual.layers._cutout_patches import Rule, coverage
from keras_residual.layers._random_state import (
    load_random_state,
    save_random_state,
    seed_generator,
)

# A module's own: layers are copied and pickled, locks are not.
_STATE_CREATION = threading.Lock()


@keras.saving.register_keras_serializable(package="keras_residual")
class Cutout(keras.layers.Layer):
    """Erases square patches of training images, each image its own.

    For each image and hole a patch of `size` pixels is centred on a pixel drawn
    uniformly from the whole image, and clipped at the border (`border="clip"`, the
    authors' rule): a patch at a corner erases a quarter of its size. With
    `border="inside"` every patch lies inside the image and has its full size. In
    inference the layer is the identity.

    It works inside a model, and on the single images or batches of `tf.data`, Grain or
    your own loop, whatever the backend. With the same `seed`, the n-th call of a
    layer erases the same patches on every backend and in each of these places. Put
    Cutout after the normalization, where zero is the mean colour, or pass the mean
    colour as `fill`.

    In a dict the entry `"images"` is erased, and everything else is returned unchanged:
    labels, since the image still shows its class; segmentation masks, bounding boxes
    and key points, since the object is still there.

    Args:
        size: Height and width of a patch: an integer in pixels, a float in `(0, 1]` as
            a share of the image's height and width (rounded, at least one pixel), or a
            pair of either as `(height, width)`. The authors take 16 for CIFAR-10, 8 for
            CIFAR-100 and 20 for SVHN, all of 32 by 32 pixels.
        num_holes: Positive integer. Patches per image; they may overlap.
        probability: Float in `[0, 1]`. The probability that an image is erased at all.
        border: `"clip"` or `"inside"`.
        fill: What a patch is filled with: a number, a sequence of one number for each
            channel, `"mean"` (the mean of the image, by channel) or `"noise"` (uniform
            over `value_range`, each value its own).
        value_range: Pair `(lowest, highest)` of the values of the images, or None for
            any. Images beyond it raise an error in training, wherever values are at
            hand: eagerly and in TensorFlow graphs, but not under XLA and `jax.jit`.
            Needed by `fill="noise"`, where it is `(0, 255)` by default for uint8.
        seed: Integer of 0 or more, or None for a random one. Seed of the draws. The
            number of draws made inside a model is saved with it, and a model that is
            loaded continues from there, unless the layer has another `seed` than the
            file. A data pipeline starts again from the layer's state in each process.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
        - inputs: Images of any integer or floating-point type, or a dict of them.
        - training: Boolean, whether to erase. Default: the training flag of the model
          around the layer, True in a `tf.data` or Grain pipeline, and False elsewhere.

    Input shape:
        `(batch, height, width, channels)` or `(height, width, channels)`; with
        `data_format="channels_first"` the channels before the height.

    Output shape:
        The same as the input shape; so is the dtype, whatever the dtype policy.

    Raises:
        ValueError: If an argument is out of range, a patch is larger than the image,
            or `fill` does not suit the images' channels or dtype.

    Example:
        ```python
        import numpy as np
        from keras_residual import Cutout

        cutout = Cutout(16, seed=0)
        images = np.ones((8, 32, 32, 3), "float32")
        erased = cutout(images, training=True)  # a black patch in each image
        same = cutout(images, training=False)
        print(cutout.expected_area(32, 32))  # 0.1914..., the mean share that is erased
        ```

    Reference:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks
        with Cutout", 2017, section 3. <https://arxiv.org/abs/1708.04552>
    """

    def __init__(
        self,
        size,
        *,
        num_holes=1,
        probability=1.0,
        border="clip",
        fill=0.0,
        value_range=None,
        seed=None,
        data_format=None,
        **kwargs,
    ):
        # Casting to the compute dtype would turn uint8 into float32.
        super().__init__(autocast=False, **kwargs)
        if data_format is None:
            data_format = keras.config.image_data_format()
        check_choice("data_format", data_format, ("channels_last", "channels_first"))
        check_choice("border", border, ("clip", "inside"))
        check_probability("probability", probability)
        limits = checked_range(value_range)
        self._rule = Rule(
            size=checked_size(size),
            num_holes=check_positive_integer("num_holes", num_holes),
            probability=float(probability),
            border=border,
            fill=checked_fill(fill, limits),
            value_range=limits,
            data_format=data_format,
        )
        rule = self._rule
        self.size = as_given(size, rule.size)
        self.num_holes = rule.num_holes
        self.probability = rule.probability
        self.border = border
        self.fill = rule.fill
        self.value_range = rule.value_range
        self.seed = seed
        self.data_format = data_format
        self.seed_generator = seed_generator(seed)
        self.supports_masking = True
        self._pipeline_states = {}

    def build(self, input_shape):
        self.built = True

    def __call__(self, inputs, training=None):
        if isinstance(inputs, dict):
            if "images" not in inputs:
                raise ValueError(
                    '`inputs` must have the key "images" if it is a dict. '
                    f"Received: keys={list(inputs)!r}"
                )
            return {**inputs, "images": self(inputs["images"], training=training)}
        if backend.is_foreign(inputs):
            return self.call(inputs, training)
        # Given as None it would hide what the model around it says.
        arguments = {} if training is None else {"training": training}
        return super().__call__(inputs, **arguments)

    def call(self, inputs, training=None):
        pipeline = backend.pipeline_of(inputs)
        if training is None:
            training = pipeline is not None
        if not training:
            return inputs
        if pipeline is None:
            return self._erase(inputs, backend.next_state(self.seed_generator))
        return self._erase(inputs, self._pipeline_state(pipeline).next())

    def compute_output_spec(self, inputs, training=None):
        self._check_images(inputs)
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        """Erases in a Grain pipeline, as `dataset.random_map(cutout.random_map)`.

        Grain's own random numbers give the same patches for the same element however
        many threads and processes read the data. `map(cutout)` instead takes the
        elements in reading order, and each process starts again.

        Args:
            element: Images as a NumPy array, or a dict of them; a single image or a
                batch.
            rng: The generator that Grain passes.
        """
        state = rng.integers(2**31, size=2)
        if isinstance(element, dict):
            return {**element, "images": self.random_map(element["images"], rng)}
        return self._erase(element, state)

    def expected_area(self, height: int, width: int) -> float:
        """Returns the mean share of an image that is erased, in closed form.

        Args:
            height: Height of the images in pixels.
            width: Width of the images in pixels.
        """
        return float(self.coverage(height, width).mean())

    def coverage(self, height: int, width: int) -> np.ndarray:
        """Returns the probability `(height, width)` of each pixel to be erased.

        Args:
            height: Height of the images in pixels.
            width: Width of the images in pixels.
        """
        height = check_positive_integer("height", height)
        width = check_positive_integer("width", width)
        self._check_fit(height, width)
        return coverage(self._rule, height, width)

    def save_own_variables(self, store):
        save_random_state(self, store)

    def load_own_variables(self, store):
        load_random_state(self, store)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "size": self.size,
                "num_holes": self.num_holes,
                "probability": self.probability,
                "border": self.border,
                "fill": self.fill,
                "value_range": self.value_range,
                "seed": self.seed,
                "data_format": self.data_format,
            }
        )
        return config

    def _erase(self, images: Any, state: Any) -> Any:
        self._check_images(images)
        if self._rule.value_range is not None:
            backend.check_range(*self._rule.value_range, images)
        if len(images.shape) == 3:
            return backend.erase(self._rule, state, images[None])[0]
        return backend.erase(self._rule, state, images)

    def _pipeline_state(self, kind: Any) -> Any:
        # Grain calls from several threads.
        with _STATE_CREATION:
            if kind not in self._pipeline_states:
                self._pipeline_states[kind] = kind(self.seed_generator)
            return self._pipeline_states[kind]

    def _check_images(self, images: Any) -> None:
        shape = images.shape
        if shape is None or len(shape) not in (3, 4):
            raise ValueError(
                "`inputs` must be images of shape (batch, height, width, channels) or "
                f"(height, width, channels). Received: shape={shape and tuple(shape)}"
            )
        if self.data_format == "channels_last":
            height, width, channels = shape[-3:]
        else:
            channels, height, width = shape[-3:]
        self._check_fit(height, width)
        fill = self._rule.fill
        if isinstance(fill, tuple) and channels is not None and len(fill) != channels:
            raise ValueError(
                f"`fill` must have one number for each of the {channels} channels of "
                f"`inputs`. Received: fill={self.fill!r}"
            )
        dtype = keras.backend.standardize_dtype(images.dtype)
        check_dtype(fill, self._rule.value_range, dtype)

    def _check_fit(self, height: int | None, width: int | None) -> None:
        for name, length, extent in zip(
            ("height", "width"), self._rule.size, (height, width), strict=True
        ):
            if not length.is_share and extent is not None and length.value > extent:
                raise ValueError(
                    f"`size` must not be larger than the images, of {name} {extent}. "
                    f"Received: size={self.size!r}"
                )
