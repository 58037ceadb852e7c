"""Cutout, as its authors define it."""

import threading
from typing import Any

import keras
import numpy as np

from keras_residual.layers import _cutout_checks as checks
from keras_residual.layers import _cutout_states as states
from keras_residual.layers._checks import (
    check_choice,
    check_positive_integer,
    check_probability,
)
from keras_residual.layers._cutout_annotations import affected, erase, images_of
from keras_residual.layers._cutout_backend import check_range
from keras_residual.layers._cutout_patches import Rule, coverage
from keras_residual.layers._random_state import (
    load_random_state,
    save_random_state,
    seed_generator,
)

# A module's own: layers are copied and pickled, locks are not.
_STATE_CREATION = threading.Lock()
_ARGUMENTS = (
    *("size", "max_size", "num_holes", "probability", "border", "fill", "value_range"),
    *("mask_fill", "min_visible", "bounding_box_format", "seed", "data_format"),
)


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
    and key points, since the object is still there. With `mask_fill` and `min_visible`
    the entries `"segmentation_masks"` and `"bounding_boxes"` change as well. Dicts have
    the form that Keras's augmentation layers take.

    Args:
        size: Height and width of a patch: an integer in pixels, a float in `(0, 1]` as
            a share of the image's height and width (rounded, at least one pixel), or a
            pair of either as `(height, width)`. The authors take 16 for CIFAR-10, 8 for
            CIFAR-100 and 20 for SVHN, all of 32 by 32 pixels.
        max_size: None, or the largest size of a patch, in the form of `size`. The size
            of each patch is then drawn in whole pixels, uniformly from `size` to
            `max_size` inclusive; for pairs, height and width are drawn independently.
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
        mask_fill: None, or the value of `"segmentation_masks"` under a patch, such as
            the label that the loss ignores.
        min_visible: None, or a float in `[0, 1]`: `"bounding_boxes"` are dropped if a
            smaller share of their area remains visible. As in Keras, their coordinates
            and labels become -1, and the shapes stay.
        bounding_box_format: Format of the boxes, as in Keras: `"xyxy"`, `"rel_yxyx"`,
            `"center_xywh"` and so on. Only for `min_visible`.
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
        max_size=None,
        num_holes=1,
        probability=1.0,
        border="clip",
        fill=0.0,
        value_range=None,
        mask_fill=None,
        min_visible=None,
        bounding_box_format=None,
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
        limits = checks.checked_range(value_range)
        lengths = checks.checked_size(size)
        longest = checks.checked_max_size(max_size, size)
        given = checks.as_given(size, lengths)
        self._rule = Rule(
            size=lengths,
            max_size=longest,
            is_square=not isinstance(given, tuple),
            num_holes=check_positive_integer("num_holes", num_holes),
            probability=float(probability),
            border=border,
            fill=checks.checked_fill(fill, limits),
            value_range=limits,
            mask_fill=checks.checked_mask_fill(mask_fill),
            min_visible=checks.checked_min_visible(min_visible, bounding_box_format),
            bounding_box_format=bounding_box_format,
            data_format=data_format,
        )
        rule = self._rule
        self.size = given
        self.max_size = None if longest is None else checks.as_given(max_size, longest)
        self.num_holes = rule.num_holes
        self.probability = rule.probability
        self.border = border
        self.fill = rule.fill
        self.value_range = rule.value_range
        self.mask_fill = rule.mask_fill
        self.min_visible = rule.min_visible
        self.bounding_box_format = bounding_box_format
        self.seed = seed
        self.data_format = data_format
        self.seed_generator = seed_generator(seed)
        self.supports_masking = True
        self._pipeline_states = {}

    def build(self, input_shape):
        self.built = True

    def __call__(self, inputs, training=None):
        if isinstance(inputs, dict):
            # Without the rest: Keras makes tensors of all that a layer is given.
            return {**inputs, **self._call(affected(self._rule, inputs), training)}
        return self._call(inputs, training)

    def call(self, inputs, training=None):
        pipeline = states.pipeline_of(images_of(inputs))
        if training is None:
            training = pipeline is not None
        if not training:
            return inputs
        if pipeline is None:
            return self._erase(inputs, states.next_state(self.seed_generator))
        return self._erase(inputs, self._pipeline_state(pipeline).next())

    def compute_output_spec(self, inputs, training=None):
        checks.check_images(self._rule, images_of(inputs))
        return keras.tree.map_structure(
            lambda x: keras.KerasTensor(x.shape, x.dtype), inputs
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def stateless_erase(self, inputs: Any, seed: Any) -> Any:
        """Erases patches that depend on `seed` and nothing else, training or not.

        It works like `tf.image.stateless_*`: a parallel map that passes each element's
        own seed erases the same patches in every run, in whatever order the elements
        are read. The seed of the layer is not used, and no call is counted.

        Args:
            inputs: Images, or a dict of them; a single image or a batch, whose images
                get patches of their own.
            seed: Two integers, as a pair or as an array or tensor of shape `(2,)`.

        Returns:
            The inputs with erased patches.

        Example:
            ```python
            import tensorflow as tf
            from keras_residual import Cutout

            cutout = Cutout(16)
            images = tf.data.Dataset.from_tensor_slices(tf.ones((8, 32, 32, 3)))
            erased = images.enumerate().map(
                lambda number, image: cutout.stateless_erase(image, (7, number)),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            ```
        """
        seed = states.as_state(seed)
        if isinstance(inputs, dict):
            return {**inputs, **self._erase(affected(self._rule, inputs), seed)}
        return self._erase(inputs, seed)

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
        return self.stateless_erase(element, rng.integers(2**31, size=2))

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
        checks.check_fit(self._rule, height, width)
        return coverage(self._rule, height, width)

    def save_own_variables(self, store):
        save_random_state(self, store)

    def load_own_variables(self, store):
        load_random_state(self, store)

    def get_config(self):
        config = super().get_config()
        config.update({name: getattr(self, name) for name in _ARGUMENTS})
        return config

    def _call(self, inputs: Any, training: bool | None) -> Any:
        if states.is_foreign(images_of(inputs)):
            return self.call(inputs, training)
        # Given as None it would hide what the model around it says.
        arguments = {} if training is None else {"training": training}
        return super().__call__(inputs, **arguments)

    def _erase(self, inputs: Any, state: Any) -> Any:
        images = images_of(inputs)
        checks.check_images(self._rule, images)
        if self._rule.value_range is not None:
            check_range(*self._rule.value_range, images)
        return erase(self._rule, state, inputs)

    def _pipeline_state(self, kind: Any) -> Any:
        # Grain calls from several threads.
        with _STATE_CREATION:
            if kind not in self._pipeline_states:
                self._pipeline_states[kind] = kind(self.seed_generator)
            return self._pipeline_states[kind]
