"""The convolutional block without a shortcut: the control of the residual block."""

import keras

from keras_residual.layers import _convolutions as parts
from keras_residual.layers._checks import (
    check_batch_of_images,
    check_choice,
    check_fraction,
    check_positive_integer,
    check_positive_number,
    checked_data_format,
)
from keras_residual.layers.squeeze_excitation import SqueezeExcitation

# Stored in the configuration unchanged.
_PLAIN_ARGUMENTS = (
    *("filters", "strides", "block_type", "preactivation", "stride_on", "groups"),
    *("width_per_group", "dilation", "use_batch_norm", "normalization", "use_bias"),
    *("batch_norm_momentum", "batch_norm_epsilon", "zero_init", "squeeze_excitation"),
    *("dropout", "data_format"),
)


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

    `filters` is the width of the block in both forms. The first two convolutions of a
    bottleneck have `groups * int(filters * width_per_group / 64)` filters, and its 3x3
    convolution has `groups` groups, as in ResNeXt (several groups) and Wide ResNet (one
    wide group).

    A strided 3x3 convolution pads one pixel on each side, as the paper and PyTorch do;
    `padding="same"` would pad even sizes on one side only.

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
            normalization or, if none comes last, by the last kernel. Meant for residual
            blocks: a plain block that starts at zero gets no gradient through ReLU.
        squeeze_excitation: Positive integer, the reduction of a
            [`SqueezeExcitation`][keras_residual.layers.SqueezeExcitation] at the end of
            the branch, or None.
        dropout: Float in `[0, 1)`. Share of the values that training drops before the
            second convolution of the branch, as in Wide ResNets.
        data_format: `"channels_last"`, `"channels_first"` or None for
            `keras.config.image_data_format()`.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        - inputs: Floating-point tensor of rank 4.
        - training: Boolean. Whether batch normalization uses and updates batch
          statistics, and whether values are dropped.

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
        3.3 and 4.1 (plain networks). <https://arxiv.org/abs/1512.03385>. Xie et al.,
        "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017
        (`groups`). <https://arxiv.org/abs/1611.05431>. Zagoruyko and Komodakis, "Wide
        Residual Networks", BMVC 2016, section 2.4 (`dropout`).
        <https://arxiv.org/abs/1605.07146>
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
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_choice("block_type", block_type, tuple(parts.KERNELS))
        check_choice("stride_on", stride_on, ("3x3", "1x1"))
        check_choice("normalization", normalization, ("batch", "group"))
        data_format = checked_data_format(data_format)
        check_fraction("batch_norm_momentum", batch_norm_momentum)
        check_positive_number("batch_norm_epsilon", batch_norm_epsilon)
        check_fraction("dropout", dropout)
        if squeeze_excitation is not None:
            check_positive_integer("squeeze_excitation", squeeze_excitation)
        self.filters = check_positive_integer("filters", filters)
        self.strides = strides = check_positive_integer("strides", strides)
        self.block_type = block_type
        self.preactivation = preactivation
        self.stride_on = stride_on
        self.groups = check_positive_integer("groups", groups)
        self.width_per_group = check_positive_integer(
            "width_per_group", width_per_group
        )
        self.dilation = check_positive_integer("dilation", dilation)
        self.use_batch_norm = use_batch_norm
        self.normalization = normalization
        self.use_bias = use_bias
        self.activation = keras.activations.get(activation)
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.zero_init = zero_init
        self.squeeze_excitation = squeeze_excitation
        self.dropout = dropout
        self.data_format = data_format
        parts.check_settings(self)
        self._channel_axis = -1 if data_format == "channels_last" else 1

        self.padding = None
        if strides > 1 and parts.strided_side(self) > 1:
            self.padding = keras.layers.ZeroPadding2D(
                1, data_format=data_format, dtype=self.dtype_policy, name="padding"
            )
        steps = parts.make_steps(self)
        # Keras lists weights in the order in which layers become attributes, here that
        # of the forward pass. Files of weights store the names of the attributes.
        (conv1, bn1), (conv2, bn2), (conv3, bn3) = [*steps, (None, None)][:3]
        if preactivation:
            self.bn1, self.conv1, self.bn2, self.conv2 = bn1, conv1, bn2, conv2
            self.bn3, self.conv3 = bn3, conv3
        else:
            self.conv1, self.bn1, self.conv2, self.bn2 = conv1, bn1, conv2, bn2
            self.conv3, self.bn3 = conv3, bn3
        self._steps = steps
        self.dropout_layer = None
        if dropout > 0:
            self.dropout_layer = keras.layers.Dropout(
                dropout, dtype=self.dtype_policy, name="dropout"
            )
        self.excitation = None
        if squeeze_excitation is not None:
            self.excitation = SqueezeExcitation(
                squeeze_excitation,
                data_format=data_format,
                dtype=self.dtype_policy,
                name="se",
            )

    def convolutions(self):
        """Returns the convolutions in forward order, each with its normalization.

        A list of pairs; the second of a pair is None if there is no normalization.
        """
        return list(self._steps)

    def build(self, input_shape):
        check_batch_of_images(self, input_shape)
        shape = tuple(input_shape)
        for convolution, norm in self._steps:
            if self.preactivation:
                parts.build_normalization(norm, shape)
            if self.padding is not None and parts.needs_padding(convolution):
                self.padding.build(shape)
                shape = self.padding.compute_output_shape(shape)
            convolution.build(shape)
            shape = convolution.compute_output_shape(shape)
            if not self.preactivation:
                parts.build_normalization(norm, shape)
        if self.excitation is not None:
            self.excitation.build(shape)
        self.built = True

    def call(self, inputs, training=None):
        x = self._branch(self._entry(inputs, training), training)
        return x if self.preactivation else self.activation(x)

    def _entry(self, inputs, training):
        """Returns what the branch and a projection start from."""
        if not self.preactivation:
            return inputs
        return self.activation(parts.normalize(self.bn1, inputs, training))

    def _branch(self, entry, training):
        x = entry
        for index, (convolution, norm) in enumerate(self._steps):
            if index > 0:
                if self.preactivation:
                    x = parts.normalize(norm, x, training)
                x = self.activation(x)
            if index == 1 and self.dropout_layer is not None:
                x = self.dropout_layer(x, training=training)
            if self.padding is not None and parts.needs_padding(convolution):
                x = self.padding(x)
            x = convolution(x)
            if not self.preactivation:
                x = parts.normalize(norm, x, training)
        return x if self.excitation is None else self.excitation(x)

    def compute_output_shape(self, input_shape):
        shape = list(input_shape)
        first = 1 if self.data_format == "channels_last" else 2
        for axis in (first, first + 1):
            if shape[axis] is not None:
                shape[axis] = -(-shape[axis] // self.strides)
        shape[self._channel_axis] = parts.branch_widths(self)[-1]
        return tuple(shape)

    def get_config(self):
        config = super().get_config()
        config.update({name: getattr(self, name) for name in _PLAIN_ARGUMENTS})
        config.update(
            activation=keras.activations.serialize(self.activation),
            kernel_initializer=keras.initializers.serialize(self.kernel_initializer),
            kernel_regularizer=keras.regularizers.serialize(self.kernel_regularizer),
        )
        return config
