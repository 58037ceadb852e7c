"""Stochastic depth (drop path), per sample."""

import keras
from keras import ops

from keras_residual.layers._checks import check_fraction
from keras_residual.layers._random_state import (
    load_random_state,
    save_random_state,
    seed_generator,
)


@keras.saving.register_keras_serializable(package="keras_residual")
class StochasticDepth(keras.layers.Layer):
    """Drops a whole sample of a branch with probability `rate` during training.

    In training each sample of the batch is set to zero with probability `rate` and
    multiplied by `1 / (1 - rate)` otherwise, so the expected value is the input. In
    inference the layer is the identity. Place it at the end of a residual branch,
    before the addition.

    Args:
        rate: Float in `[0, 1)`. The probability that a sample is dropped.
        seed: Integer of 0 or more, or None for a random one. Seed of the draws. The
            number of draws is saved with the model. A loaded model continues from
            there, unless the layer has another `seed` than the file.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 1 or more, the batch first.
        - training: Boolean. Whether to drop samples.

    Input shape:
        `(batch, ...)`

    Output shape:
        The same as the input shape.

    Raises:
        ValueError: If `rate` is not a number in `[0, 1)`, or `seed` is negative or not
            an integer.

    Example:
        ```python
        import numpy as np
        from keras_residual import StochasticDepth

        layer = StochasticDepth(0.5, seed=0)
        features = np.ones((4, 8, 8, 16), "float32")
        dropped = layer(features, training=True)  # each sample is all 0.0 or all 2.0
        same = layer(features, training=False)
        ```

    Reference:
        Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, section 3.
        <https://arxiv.org/abs/1603.09382>
    """

    def __init__(self, rate, *, seed=None, **kwargs):
        super().__init__(**kwargs)
        check_fraction("rate", rate)
        self.rate = rate
        self.seed = seed
        self.seed_generator = seed_generator(seed)
        self.supports_masking = True

    def build(self, input_shape):
        self.built = True

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        noise_shape = (ops.shape(inputs)[0],) + (1,) * (len(inputs.shape) - 1)
        # Drawn in float32 whatever the compute dtype: the steps of bfloat16 (1/256)
        # would change the probability.
        noise = keras.random.uniform(
            noise_shape, dtype="float32", seed=self.seed_generator
        )
        # `where` instead of a product, since 0 * inf is NaN.
        return ops.where(
            noise >= self.rate,
            inputs * (1.0 / (1.0 - self.rate)),
            ops.zeros_like(inputs),
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def save_own_variables(self, store):
        save_random_state(self, store)

    def load_own_variables(self, store):
        load_random_state(self, store)

    def get_config(self):
        config = super().get_config()
        config.update({"rate": self.rate, "seed": self.seed})
        return config
