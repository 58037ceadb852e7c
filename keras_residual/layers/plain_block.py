"""The convolutional block without a shortcut: the control of the residual block."""

import keras

from keras_residual.layers._checks import (
    check_choice,
    check_fraction,
    check_positive_integer,
    check_positive_number,
)
from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D

_BRANCHES = {
    # (kernel size, multiple of `filters`) of each convolution, input first.
    "basic": ((3, 1), (3, 1)),
    "bottleneck": ((1, 1), (3, 1), (1, 4)),
}


@keras.saving.register_keras_serializable(package="keras_residual")
class PlainBlock(keras.layers.Layer):
    """A convolutional block without a shortcut: the residual branch alone.

    `y = activation(F(x))`, where `F` is

    - `"basic"`: conv 3x3, BN, ReLU, conv 3x3, BN;
    - `"bottleneck"`: conv 1x1, BN, ReLU, conv 3x3, BN, ReLU, conv 1x1 to
      `4 * filters`, BN.

    With `preactivation=True` the order is BN, ReLU, convolution and nothing follows the
    last convolution. The block is the exact control of
    [`ResidualBlock`][keras_residual.ResidualBlock]: the same arguments give the same
    convolutions, and, with the same random seed, the same initial weights.

    A strided 3x3 convolution pads one pixel on each side, as the paper and PyTorch do;
    `padding="same"` would pad even sizes on one side only.

    Args:
        filters: Positive integer. Inner width; a bottleneck outputs `4 * filters`.
        strides: Positive integer. Stride of the block, in pixels.
        block_type: `"basic"` (two 3x3 convolutions) or `"bottleneck"` (1x1, 3x3, 1x1).
        preactivation: Whether BN and activation come before each convolution.
        stride_on: `"3x3"` or `"1x1"`: the bottleneck's convolution that has the stride.
            `"1x1"` is the original paper's, `"3x3"` is torchvision's ("v1.5"). A basic
            block has no 1x1 convolution and its first one has the stride.
        use_batch_norm: Whether each convolution has a batch normalization.
        use_bias: Whether convolutions have a bias. None: exactly where there is no
            batch normalization, which would cancel it.
        activation: Name or callable of the activation.
        batch_norm_momentum: Float in `[0, 1)`. Share of the old value in each update of
            the moving statistics.
        batch_norm_epsilon: Positive float, added to the variance.
        kernel_initializer: Initializer of the convolution kernels. An initializer that
            has a fixed seed gives all kernels of one shape the same values.
        kernel_regularizer: Regularizer of the convolution kernels, or None.
        zero_init: Whether the branch starts at zero: the last batch normalization's
            scale, or, where none comes last, the last kernel. Meant for residual
            blocks; a plain block that starts at zero gets no gradient through ReLU.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 4.
        - training: Boolean. Whether batch normalization uses and updates batch
          statistics.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`. Height and width may be unknown.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`, with
        `4 * filters` channels for a bottleneck.

    Raises:
        ValueError: If an argument is outside its range, or the input is not of rank 4
            or has an unknown number of channels.

    Example:
        ```python
        import numpy as np
        from keras_residual import PlainBlock

        block = PlainBlock(16, strides=2)
        images = np.ones((2, 32, 32, 3), "float32")
        print(block(images).shape)  # (2, 16, 16, 16)
        ```

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, sections
        3.3 and 4.1 (plain networks). <https://arxiv.org/abs/1512.03385>
    """

    def __init__(
        self,
        filters,
        strides=1,
        *,
        block_type="basic",
        preactivation=False,
        stride_on="3x3",
        use_batch_norm=True,
        use_bias=None,
        activation="relu",
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-5,
        kernel_initializer="he_normal",
        kernel_regularizer=None,
        zero_init=False,
        data_format=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if data_format is None:
            data_format = keras.config.image_data_format()
        filters = check_positive_integer("filters", filters)
        strides = check_positive_integer("strides", strides)
        check_choice("block_type", block_type, tuple(_BRANCHES))
        check_choice("stride_on", stride_on, ("3x3", "1x1"))
        check_choice("data_format", data_format, ("channels_last", "channels_first"))
        check_fraction("batch_norm_momentum", batch_norm_momentum)
        check_positive_number("batch_norm_epsilon", batch_norm_epsilon)
        self.filters = filters
        self.strides = strides
        self.block_type = block_type
        self.preactivation = preactivation
        self.stride_on = stride_on
        self.use_batch_norm = use_batch_norm
        self.use_bias = use_bias
        self.activation = keras.activations.get(activation)
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.zero_init = zero_init
        self.data_format = data_format
        self._channel_axis = -1 if data_format == "channels_last" else 1
        self._depth = len(_BRANCHES[block_type])
        self._strided = 2 if block_type == "bottleneck" and stride_on == "3x3" else 1

        self.padding = None
        if strides > 1 and _BRANCHES[block_type][self._strided - 1][0] == 3:
            self.padding = keras.layers.ZeroPadding2D(
                1, data_format=data_format, dtype=self.dtype_policy, name="padding"
            )
        # Attributes in the order of the forward pass, which is then the order of the
        # block's weights.
        for number, (kernel_size, multiple) in enumerate(_BRANCHES[block_type], 1):
            is_last = number == self._depth
            norm_is_last = use_batch_norm and not preactivation
            convolution = self._make_convolution(
                filters * multiple,
                kernel_size,
                strides=strides if number == self._strided else 1,
                zero=zero_init and is_last and not norm_is_last,
                name=f"conv{number}",
            )
            norm = use_batch_norm and self._make_norm(
                zero=zero_init and is_last and norm_is_last, name=f"bn{number}"
            )
            if preactivation and norm:
                setattr(self, norm.name, norm)
            setattr(self, convolution.name, convolution)
            if not preactivation and norm:
                setattr(self, norm.name, norm)

    def build(self, input_shape):
        shape = tuple(input_shape)
        if len(shape) != 4:
            raise ValueError(
                f"`inputs` of {type(self).__name__} must have rank 4, a batch of "
                f"images. Received: input_shape={shape}"
            )
        if shape[self._channel_axis] is None:
            raise ValueError(
                f"`inputs` of {type(self).__name__} must have a known number of "
                f"channels. Received: input_shape={shape}, "
                f"data_format={self.data_format!r}"
            )
        for number in range(1, self._depth + 1):
            if self.preactivation and self.use_batch_norm:
                self._norm(number).build(shape)
            if number == self._strided and self.padding is not None:
                self.padding.build(shape)
                shape = self.padding.compute_output_shape(shape)
            convolution = self._convolution(number)
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
            if not self.preactivation and self.use_batch_norm:
                self._norm(number).build(shape)
        self.built = True

    def call(self, inputs, training=None):
        x = self._branch(self._entry(inputs, training), training)
        return self._exit(x)

    def _entry(self, inputs, training):
        if not self.preactivation:
            return inputs
        return self.activation(self._normalize(1, inputs, training))

    def _branch(self, entry, training):
        x = entry
        for number in range(1, self._depth + 1):
            if number > 1:
                if self.preactivation:
                    x = self._normalize(number, x, training)
                x = self.activation(x)
            if number == self._strided and self.padding is not None:
                x = self.padding(x)
            x = self._convolution(number)(x)
            if not self.preactivation:
                x = self._normalize(number, x, training)
        return x

    def _exit(self, outputs):
        return outputs if self.preactivation else self.activation(outputs)

    def _convolution(self, number):
        return getattr(self, f"conv{number}")

    def _norm(self, number):
        return getattr(self, f"bn{number}")

    def _convolutions(self):
        """Each convolution with the batch normalization beside it, or None."""
        return [
            (
                self._convolution(number),
                self._norm(number) if self.use_batch_norm else None,
            )
            for number in range(1, self._depth + 1)
        ]

    def _normalize(self, number, inputs, training):
        if not self.use_batch_norm:
            return inputs
        return self._norm(number)(inputs, training=training)

    def _make_convolution(self, filters, kernel_size, *, strides, name, zero=False):
        use_bias = self.use_bias
        if use_bias is None:
            use_bias = not self.use_batch_norm
        initializer = self.kernel_initializer
        if isinstance(initializer, keras.Initializer):
            # A shared random initializer would draw equal kernels for equal shapes.
            initializer = initializer.clone()
        return Conv2D(
            filters,
            kernel_size,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=use_bias,
            kernel_initializer="zeros" if zero else initializer,
            kernel_regularizer=self.kernel_regularizer,
            data_format=self.data_format,
            dtype=self.dtype_policy,
            name=name,
        )

    def _make_norm(self, *, name, zero=False):
        return BatchNormalization(
            axis=self._channel_axis,
            momentum=self.batch_norm_momentum,
            epsilon=self.batch_norm_epsilon,
            gamma_initializer="zeros" if zero else "ones",
            dtype=self.dtype_policy,
            name=name,
        )

    def compute_output_shape(self, input_shape):
        height, width = (
            input_shape[1:3]
            if self.data_format == "channels_last"
            else input_shape[2:4]
        )
        channels = self.filters * _BRANCHES[self.block_type][-1][1]
        spatial = tuple(
            None if size is None else -(-size // self.strides)
            for size in (height, width)
        )
        if self.data_format == "channels_last":
            return (input_shape[0], *spatial, channels)
        return (input_shape[0], channels, *spatial)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "filters": self.filters,
                "strides": self.strides,
                "block_type": self.block_type,
                "preactivation": self.preactivation,
                "stride_on": self.stride_on,
                "use_batch_norm": self.use_batch_norm,
                "use_bias": self.use_bias,
                "activation": keras.activations.serialize(self.activation),
                "batch_norm_momentum": self.batch_norm_momentum,
                "batch_norm_epsilon": self.batch_norm_epsilon,
                "kernel_initializer": keras.initializers.serialize(
                    self.kernel_initializer
                ),
                "kernel_regularizer": keras.regularizers.serialize(
                    self.kernel_regularizer
                ),
                "zero_init": self.zero_init,
                "data_format": self.data_format,
            }
        )
        return config
