"""Keras's batch normalization, in one operation where the backend has it."""

import keras

from keras_residual.layers._fused_normalization import (
    can_normalize,
    normalize,
    normalize_batch,
)


@keras.saving.register_keras_serializable(package="keras_residual")
class BatchNormalization(keras.layers.BatchNormalization):
    """A faster `keras.layers.BatchNormalization` with the same results.

    Arguments, shapes, weights, their names and the configuration are those of
    `keras.layers.BatchNormalization`. The class has the same name too, so weight files
    fit in both directions. TensorFlow and PyTorch normalize in one operation, where
    Keras uses a dozen. As in Keras, the moving variance averages biased variances;
    PyTorch's own layer averages unbiased ones.

    The layer uses Keras's own operations on JAX, whose compiler fuses them, and on
    TensorFlow without a GPU or oneDNN. On every backend it uses them for inputs that
    are not of rank 4 or are in float64, and with a mask, `synchronized=True` or
    `renorm=True`.

    Example:
        ```python
        import numpy as np
        from keras_residual.layers import BatchNormalization

        layer = BatchNormalization(momentum=0.9)
        layer(np.full((8, 4, 4, 3), 5.0, "float32"), training=True)
        print(np.round(layer.moving_mean, 4))  # [0.5 0.5 0.5]
        ```

    Reference:
        Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by
        Reducing Internal Covariate Shift", ICML 2015, algorithm 1.
        <https://arxiv.org/abs/1502.03167>
    """

    def call(self, inputs, training=None, mask=None):
        if self._is_fused(inputs, mask):
            if training and self.trainable:
                return self._normalize_and_update(inputs)
            return normalize(
                inputs,
                self.gamma,
                self.beta,
                self.moving_mean,
                self.moving_variance,
                epsilon=self.epsilon,
                axis=self.axis,
            )
        return super().call(inputs, training=training, mask=mask)

    def _is_fused(self, inputs, mask):
        return (
            mask is None
            and not self.synchronized
            and not getattr(self, "renorm", False)  # since Keras 3.14
            and self.variable_dtype == "float32"
            and self.compute_dtype == keras.backend.standardize_dtype(inputs.dtype)
            and can_normalize(inputs, self.axis)
        )

    def _normalize_and_update(self, inputs):
        outputs, mean, variance = normalize_batch(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, axis=self.axis
        )
        for moving, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        return outputs
