"""The residual block: PlainBlock's branch plus the shortcut, and nothing else."""

import keras
from keras import ops

from keras_residual.layers import _convolutions as parts
from keras_residual.layers._checks import check_choice, check_fraction, check_seed
from keras_residual.layers._kernels import activate_own
from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.stochastic_depth import StochasticDepth

_SHORTCUTS = ("auto", "identity", "projection", "average", "pad")


@keras.saving.register_keras_serializable(package="keras_residual")
class ResidualBlock(PlainBlock):
    """A residual block: `y = activation(F(x) + shortcut(x))`.

    `F` is the branch of [`PlainBlock`][keras_residual.PlainBlock] with the same
    arguments. The shortcut is one of

    - the identity;
    - `"projection"`: a 1x1 convolution with the block's stride, and BN (option B);
    - `"average"`: the mean of `strides` x `strides` pixels, then a 1x1 convolution and
      BN (ResNet-D), so that every pixel counts;
    - `"pad"`: every `strides`-th pixel, and zero channels before and after the
      channels of the input (option A); it has no parameters.

    With `preactivation=True` it is the block of 2016, `y = F(x) + shortcut(x)`, without
    an activation after the sum. A projection then starts from the activated input and
    has no BN, as in the authors' code.

    With a shortcut that has no parameters, the block has exactly the parameters of the
    plain block and, with the same random seed, the same initial weights.

    Args:
        filters: Positive integer. Width; a bottleneck outputs `4 * filters`.
        strides: Positive integer. Stride of the block, in pixels.
        block_type: `"basic"` (two 3x3 convolutions) or `"bottleneck"` (1x1, 3x3, 1x1).
        preactivation: Whether BN and activation come before each convolution.
        stride_on: Which convolution of a bottleneck has the stride: `"1x1"`, as in the
            original paper, or `"3x3"`, as in torchvision ("v1.5"). In a basic block the
            first one has it.
        groups: Positive integer. Groups of a bottleneck's 3x3 convolution.
        width_per_group: Positive integer. Filters in each group, for `filters=64`.
        dilation: Positive integer. Pixels from one tap of a 3x3 kernel to the next.
            Must be 1 if a 3x3 convolution has a stride.
        use_batch_norm: Whether each convolution has a normalization.
        normalization: `"batch"` or `"group"`. Group normalization does not depend on
            the other images of the batch. It has 32 groups, or as many as leave each at
            least two channels.
        use_bias: Whether convolutions have a bias. None: only without normalization,
            which would cancel it.
        activation: Name or callable of the activation.
        batch_norm_momentum: Float in `[0, 1)`. Share of the old value in each update of
            the moving statistics.
        batch_norm_epsilon: Positive float, added to the variance in both of them.
        kernel_initializer: Initializer of the convolution kernels. An initializer that
            has a fixed seed gives all kernels of one shape the same values.
        kernel_regularizer: Regularizer of the convolution kernels, or None.
        zero_init: Whether the branch starts at zero, by the scale of the last
            normalization or, if none comes last, by the last kernel. The block then
            starts as its shortcut.
        squeeze_excitation: Positive integer, the reduction of a
            [`SqueezeExcitation`][keras_residual.layers.SqueezeExcitation] at the end of
            the branch, or None.
        dropout: Float in `[0, 1)`. Share of the values that training drops before the
            second convolution of the branch, as in Wide ResNets.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        shortcut: `"auto"`, `"average"` or `"pad"`: a projection, an average or padding
            where the shape changes, and the identity elsewhere. `"projection"`: a
            projection in any case. `"identity"`: an error where the shape changes.
        drop_path: Float in `[0, 1)`. Probability that training drops the branch of a
            sample, see [`StochasticDepth`][keras_residual.StochasticDepth].
        seed: Integer of 0 or more, or None for a random one. Seed of `drop_path`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 4.
        - training: Boolean. Whether batch normalization uses and updates batch
          statistics, and whether values and branches are dropped.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` with
        `data_format="channels_first"`. Height and width may be unknown.

    Output shape:
        `(batch, ceil(height / strides), ceil(width / strides), filters)`, with
        `4 * filters` channels for a bottleneck.

    Attributes:
        built_shortcut: `"identity"`, `"projection"`, `"average"` or `"pad"`: the
            shortcut for the shape that the block was built with; None before that.

    Raises:
        ValueError: If an argument is outside its range, the input is not of rank 4 or
            has an unknown number of channels, the shape changes with
            `shortcut="identity"`, or `shortcut="pad"` would have to remove channels.

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
        preactivated block). <https://arxiv.org/abs/1603.05027>. He et al., "Bag of
        Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019,
        section 4.1 (`"average"`). <https://arxiv.org/abs/1812.01187>
    """

    def __init__(
        self,
        filters,
        strides=1,
        *,
        block_type="basic",
        preactivation=False,
        stride_on="3x3",
        groups=1,
        width_per_group=64,
        dilation=1,
        use_batch_norm=True,
        normalization="batch",
        use_bias=None,
        activation="relu",
        batch_norm_momentum=0.9,
        batch_norm_epsilon=1e-5,
        kernel_initializer="he_normal",
        kernel_regularizer=None,
        zero_init=False,
        squeeze_excitation=None,
        dropout=0.0,
        data_format=None,
        shortcut="auto",
        drop_path=0.0,
        seed=None,
        **kwargs,
    ):
        super().__init__(
            filters,
            strides,
            block_type=block_type,
            preactivation=preactivation,
            stride_on=stride_on,
            groups=groups,
            width_per_group=width_per_group,
            dilation=dilation,
            use_batch_norm=use_batch_norm,
            normalization=normalization,
            use_bias=use_bias,
            activation=activation,
            batch_norm_momentum=batch_norm_momentum,
            batch_norm_epsilon=batch_norm_epsilon,
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_regularizer,
            zero_init=zero_init,
            squeeze_excitation=squeeze_excitation,
            dropout=dropout,
            data_format=data_format,
            **kwargs,
        )
        check_choice("shortcut", shortcut, _SHORTCUTS)
        check_fraction("drop_path", drop_path)
        if seed is not None:
            check_seed(seed)
        self.shortcut = shortcut
        self.drop_path = drop_path
        self.seed = seed
        self.built_shortcut = None
        self.stochastic_depth = None
        if drop_path > 0:
            self.stochastic_depth = StochasticDepth(
                drop_path, seed=seed, dtype=self.dtype_policy, name="drop_path"
            )
        self.average = None
        self.projection = None
        self.projection_norm = None
        self._channel_padding = None

    def convolutions(self):
        """Returns the pairs of the branch, and of the projection if there is one."""
        steps = super().convolutions()
        if self.projection is not None:
            steps.append((self.projection, self.projection_norm))
        return steps

    def build(self, input_shape):
        super().build(input_shape)
        in_channels = input_shape[self._channel_axis]
        out_channels = self.compute_output_shape(input_shape)[self._channel_axis]
        changes = self.strides > 1 or in_channels != out_channels
        if self.shortcut == "identity" and changes:
            raise ValueError(
                "`shortcut` must be 'auto', 'average', 'projection' or 'pad' where the "
                "block changes the shape of its input. Received: shortcut='identity', "
                f"strides={self.strides}, {in_channels} channels in and "
                f"{out_channels} out"
            )
        self.built_shortcut = "identity"
        if changes or self.shortcut == "projection":
            self.built_shortcut = {"auto": "projection"}.get(
                self.shortcut, self.shortcut
            )
        if self.built_shortcut == "pad":
            if in_channels > out_channels:
                raise ValueError(
                    "`shortcut` must be 'auto' or 'projection' where the block has "
                    "fewer channels than its input. Received: shortcut='pad', "
                    f"{in_channels} channels in and {out_channels} out"
                )
            before = (out_channels - in_channels) // 2
            self._channel_padding = (before, out_channels - in_channels - before)
        elif self.built_shortcut != "identity":
            self._build_projection(input_shape, out_channels)

    def _build_projection(self, shape, filters):
        strides = self.strides
        if self.built_shortcut == "average" and strides > 1:
            self.average = keras.layers.AveragePooling2D(
                strides,
                strides,
                padding="same",
                data_format=self.data_format,
                dtype=self.dtype_policy,
                name="average",
            )
            shape, strides = self.average.compute_output_shape(shape), 1
        self.projection = parts.make_convolution(
            self, filters, 1, strides=strides, name="projection"
        )
        self.projection.build(shape)
        if not self.preactivation:
            self.projection_norm = parts.make_normalization(self, name="projection_bn")
            parts.build_normalization(
                self.projection_norm, self.projection.compute_output_shape(shape)
            )

    def call(self, inputs, training=None):
        entry = self._entry(inputs, training)
        x = self._branch(entry, training)
        if self.stochastic_depth is not None:
            x = self.stochastic_depth(x, training=training)
        total = x + self._shortcut(inputs, entry, training)
        return total if self.preactivation else activate_own(self.activation, total)

    def _shortcut(self, inputs, entry, training):
        if self.projection is None:
            return inputs if self._channel_padding is None else self._pad(inputs)
        x = entry if self.average is None else self.average(entry)
        return parts.normalize(self.projection_norm, self.projection(x), training)

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
        config.update(
            {
                "shortcut": self.shortcut,
                "drop_path": self.drop_path,
                "seed": self.seed,
            }
        )
        return config
