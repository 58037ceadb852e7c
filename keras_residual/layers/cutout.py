"""Cutout, as its authors define it."""

import threading
from typing import Any

import keras
import numpy as np

from keras_residual.layers import _cutout_checks as checks
from keras_residual.layers import _cutout_states as states
from keras_residual.layers._checks import check_positive_integer
from keras_residual.layers._cutout_annotations import affected, erase, images_of
from keras_residual.layers._cutout_backend import check_range
from keras_residual.layers._cutout_patches import coverage
from keras_residual.layers._random_state import (
    load_random_state,
    save_random_state,
    seed_generator,
)

# Of the module, not of a layer: layers are copied and pickled, and locks cannot be.
_STATE_CREATION = threading.Lock()
_ARGUMENTS = (
    *("size", "max_size", "num_holes", "probability", "border", "fill", "value_range"),
    *("mask_fill", "min_visible", "bounding_box_format", "seed", "data_format"),
)


@keras.saving.register_keras_serializable(package="keras_residual")
class Cutout(keras.layers.Layer):
    """Erases square patches of training images, drawn for each image.

    Each patch of `size` pixels is centred on a pixel drawn uniformly from the whole
    image and clipped at the border (`border="clip"`, the authors' rule): a patch at a
    corner erases a quarter of its size. With `border="inside"` every patch lies inside
    the image and has its full size. In inference the layer is the identity.

    It works inside a model, and on single images or batches in `tf.data`, Grain or your
    own loop. With the same `seed`, the n-th call of a layer erases the same patches in
    all of them, on every backend. Put Cutout after the normalization, where zero is the
    mean colour, or pass the mean colour as `fill`.

    In a dict, as Keras's augmentation layers take it, the entry `"images"` is erased.
    The others stay unchanged: the image still shows its class and the object is still
    there. `mask_fill` and `min_visible` change the entries `"segmentation_masks"` and
    `"bounding_boxes"` as well.

    Args:
        size: Height and width of a patch: an integer in pixels, a float in `(0, 1]` as
            a share of the image's height and width (rounded, at least one pixel), or a
            pair of either as `(height, width)`. The authors use 16 for CIFAR-10, 8 for
            CIFAR-100 and 20 for SVHN, all of 32 by 32 pixels.
        max_size: None, or the largest size of a patch, in the form of `size`. The size
            of each patch is then drawn in whole pixels, uniformly from `size` to
            `max_size` inclusive; for pairs, height and width are drawn independently.
        num_holes: Positive integer. Patches per image; they may overlap.
        probability: Float in `[0, 1]`. The probability that an image is erased at all.
        border: `"clip"` or `"inside"`.
        fill: Content of a patch: a number, a sequence of one number for each channel,
            `"mean"` (the mean of the image, by channel) or `"noise"` (values drawn
            independently, uniform over `value_range`).
        value_range: Pair `(lowest, highest)` of the values of the images, or None for
            any. In training, images beyond it raise an error eagerly and in TensorFlow
            graphs, but not under XLA and `jax.jit`. `fill="noise"` needs it, except for
            uint8, where it is `(0, 255)`.
        mask_fill: Value of `"segmentation_masks"` under a patch, such as the label that
            the loss ignores, or None to leave them unchanged.
        min_visible: Float in `[0, 1]`. Drops those of the `"bounding_boxes"` of which a
            smaller share remains visible: as in Keras, their coordinates and labels
            become -1, and the shapes stay. None: boxes stay unchanged.
        bounding_box_format: Format of the boxes, as in Keras: `"xyxy"`, `"rel_yxyx"`,
            `"center_xywh"` and so on. Required by `min_visible`.
        seed: Integer of 0 or more, or None for a random one. Seed of the draws. The
            number of draws made inside a model is saved with it. A loaded model
            continues from there, unless the layer has another `seed` than the file. A
            data pipeline starts again from the layer's state in each process.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
        - inputs: Images of any integer or floating-point type, or a dict of them.
        - training: Boolean. Whether to erase. Default: the training flag of the model
          around the layer, True in a `tf.data` or Grain pipeline, and False elsewhere.

    Input shape:
        `(batch, height, width, channels)` or `(height, width, channels)`; with
        `data_format="channels_first"` the channels come before the height.

    Output shape:
        The same as the input shape. The dtype of the images stays, whatever the dtype
        policy.

    Raises:
        ValueError: If an argument is outside its range, a patch is larger than the
            image, images are outside `value_range`, or `fill` does not fit the images'
            channels or dtype.

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
        self._rule = rule = checks.checked_rule(
            size=size,
            max_size=max_size,
            num_holes=num_holes,
            probability=probability,
            border=border,
            fill=fill,
            value_range=value_range,
            mask_fill=mask_fill,
            min_visible=min_visible,
            bounding_box_format=bounding_box_format,
            data_format=data_format,
        )
        self.size = checks.as_given(rule, rule.size)
        self.max_size = checks.as_given(rule, rule.max_size)
        self.num_holes = rule.num_holes
        self.probability = rule.probability
        self.border = border
        self.fill = rule.fill
        self.value_range = rule.value_range
        self.mask_fill = rule.mask_fill
        self.min_visible = rule.min_visible
        self.bounding_box_format = bounding_box_format
        self.seed = seed
        self.data_format = rule.data_format
        self.seed_generator = seed_generator(seed)
        self.supports_masking = True
        self._pipeline_states = {}

    def build(self, input_shape):
        self.built = True

    def __call__(self, inputs, training=None):
        if isinstance(inputs, dict):
            # Not the other entries, of which Keras would make tensors too.
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
        """Erases patches that depend on `seed` alone, in training and inference.

        It works like `tf.image.stateless_*`: a parallel map that passes a seed for each
        element erases the same patches in every run, in whatever order the elements
        are read. The seed and the state of the layer do not matter.

        Args:
            inputs: A single image, a batch, or a dict with one of them.
            seed: Two integers, as a pair or as an array or tensor of shape `(2,)`.

        Returns:
            The inputs with erased patches.

        Raises:
            ValueError: If `seed` is not two integers, or as for a call of the layer.

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
        """Erases in a Grain pipeline: `dataset.random_map(cutout.random_map)`.

        With Grain's random numbers an element gets the same patches however many
        threads and processes read the data. With `map(cutout)` the patches follow the
        reading order, and each process starts again.

        Args:
            element: A single image or a batch in a NumPy array, or a dict with one.
            rng: The generator that Grain passes.

        Returns:
            The element with erased patches.
        """
        return self.stateless_erase(element, rng.integers(2**31, size=2))

    def expected_area(self, height: int, width: int) -> float:
        """Returns the mean share of an image that is erased, in closed form.

        Args:
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Raises:
            ValueError: If a side is not a positive integer, or smaller than a patch.
        """
        return float(self.coverage(height, width).mean())

    def coverage(self, height: int, width: int) -> np.ndarray:
        """Returns the probability of each pixel to be erased; see `expected_area`.

        Args:
            height: Height of the images in pixels.
            width: Width of the images in pixels.

        Returns:
            Array `(height, width)`, float64.
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
        # `training=None` would hide the flag of the model around the layer.
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
