"""The residual block: PlainBlock's branch plus the shortcut, and nothing else."""

import keras
from keras import ops

from keras_residual.layers._checks import check_choice, check_fraction
from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.stochastic_depth import StochasticDepth


@keras.saving.register_keras_serializable(package="keras_residual")
class ResidualBlock(PlainBlock):
    """A residual block: `y = activation(F(x) + shortcut(x))`.

    `F` is the branch of [`PlainBlock`][keras_residual.PlainBlock] with the same
    arguments. The shortcut is one of

    - the identity;
    - `"projection"`: a 1x1 convolution with the block's stride, and BN (option B);
    - `"pad"`: every `strides`-th pixel, and zero channels before and after the
      channels of the input (option A); it has no parameters.

    With `preactivation=True` it is the block of 2016, `y = F(x) + shortcut(x)`, without
    an activation after the sum; a projection, without BN, then starts from the
    activated input, as in the authors' code.

    With a shortcut that has no parameters the block has exactly the parameters of the
    plain block, and with the same random seed the same initial weights.

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
        zero_init: Whether the branch starts at zero, so that the block starts as its
            shortcut: the last batch normalization's scale, or, where none comes last,
            the last kernel.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        shortcut: `"auto"` (a projection exactly where the shape changes, the identity
            elsewhere), `"identity"` (an error where the shape changes), `"projection"`
            or `"pad"`.
        drop_path: Float in `[0, 1)`. Probability that the branch of a sample is dropped
            in training, see [`StochasticDepth`][keras_residual.StochasticDepth].
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 4.
        - training: Boolean. Whether batch normalization uses and updates batch
          statistics, and whether branches are dropped.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`. Height and width may be unknown.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`, with
        `4 * filters` channels for a bottleneck.

    Raises:
        ValueError: If an argument is outside its range, the input is not of rank 4 or
            has an unknown number of channels, `shortcut="identity"` meets a changed
            shape, or `shortcut="pad"` would have to remove channels.

    Example:
        ```python
        import keras
        from keras_residual import ResidualBlock

        images = keras.Input((32, 32, 3))
        x = keras.layers.Conv2D(16, 3, padding="same")(images)
        x = ResidualBlock(16)(x)  # the identity shortcut
        x = ResidualBlock(32, strides=2)(x)  # a projection, since the shape changes
        x = keras.layers.GlobalAveragePooling2D()(x)
        model = keras.Model(images, keras.layers.Dense(10)(x))
        ```

    Reference:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, sections
        3.2 and 3.3 (options A and B: section 4.1). <https://arxiv.org/abs/1512.03385>.
        He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016 (the
        preactivated block). <https://arxiv.org/abs/1603.05027>
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
        shortcut="auto",
        drop_path=0.0,
        **kwargs,
    ):
        super().__init__(
            filters,
            strides,
            block_type=block_type,
            preactivation=preactivation,
            stride_on=stride_on,
            use_batch_norm=use_batch_norm,
            use_bias=use_bias,
            activation=activation,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_regularizer,
            zero_init=zero_init,
            data_format=data_format,
            **kwargs,
        )
        check_choice("shortcut", shortcut, ("auto", "identity", "projection", "pad"))
        check_fraction("drop_path", drop_path)
        self.shortcut = shortcut
        self.drop_path = drop_path
        self.stochastic_depth = None
        if drop_path > 0:
            self.stochastic_depth = StochasticDepth(
                drop_path, dtype=self.dtype_policy, name="drop_path"
            )
        self.projection = None
        self.projection_norm = None
        self._channel_padding = None

    def build(self, input_shape):
        super().build(input_shape)
        in_channels = input_shape[self._channel_axis]
        out_channels = self.compute_output_shape(input_shape)[self._channel_axis]
        changes = self.strides > 1 or in_channels != out_channels
        if self.shortcut == "identity" and changes:
            raise ValueError(
                "`shortcut` must be 'auto', 'projection' or 'pad' where the block "
                "changes the shape of its input. Received: shortcut='identity', "
                f"strides={self.strides}, {in_channels} channels in and "
                f"{out_channels} out"
            )
        if self.shortcut == "pad":
            if in_channels > out_channels:
                raise ValueError(
                    "`shortcut` must be 'auto' or 'projection' where the block has "
                    "fewer channels than its input. Received: shortcut='pad', "
                    f"{in_channels} channels in and {out_channels} out"
                )
            before = (out_channels - in_channels) // 2
            self._channel_padding = (before, out_channels - in_channels - before)
        elif self.shortcut == "projection" or changes:
            self.projection = self._make_convolution(
                out_channels, 1, strides=self.strides, name="projection"
            )
            self.projection.build(input_shape)
            if self.use_batch_norm and not self.preactivation:
                self.projection_norm = self._make_norm(name="projection_bn")
                self.projection_norm.build(
                    self.projection.compute_output_shape(input_shape)
                )

    def call(self, inputs, training=None):
        entry = self._entry(inputs, training)
        x = self._branch(entry, training)
        if self.stochastic_depth is not None:
            x = self.stochastic_depth(x, training=training)
        if self.projection is not None:
            shortcut = self.projection(entry)
            if self.projection_norm is not None:
                shortcut = self.projection_norm(shortcut, training=training)
        elif self._channel_padding is not None:
            shortcut = self._pad(inputs)
        else:
            shortcut = inputs
        return self._exit(x + shortcut)

    def _convolutions(self):
        convolutions = super()._convolutions()
        if self.projection is not None:
            convolutions.append((self.projection, self.projection_norm))
        return convolutions

    def _pad(self, inputs):
        step = slice(None, None, self.strides)
        nothing = (0, 0)
        if self.data_format == "channels_last":
            return ops.pad(
                inputs[:, step, step, :],
                (nothing, nothing, nothing, self._channel_padding),
            )
        return ops.pad(
            inputs[:, :, step, step],
            (nothing, self._channel_padding, nothing, nothing),
        )

    def get_config(self):
        config = super().get_config()
        config.update({"shortcut": self.shortcut, "drop_path": self.drop_path})
        return config
