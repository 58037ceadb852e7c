"""The one builder behind ResNet and PlainNet: depth and variant are data."""

import keras

from keras_residual.layers._checks import (
    check_choice,
    check_image_shape,
    check_positive_integer,
)
from keras_residual.layers.batch_normalization import BatchNormalization
from keras_residual.layers.conv2d import Conv2D
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models._variants import IMAGENET_DEPTHS, VARIANTS
from keras_residual.models.weights._known_weights import find_source
from keras_residual.models.weights.pretrained import load_pretrained


def build_network(
    block_class,
    depth,
    num_classes,
    *,
    variant,
    input_shape,
    weights,
    include_top,
    classifier_activation,
    use_batch_norm,
    data_format,
    name,
    shortcut=None,
    zero_init=False,
    drop_path_rate=0.0,
):
    """Builds the functional model; the arguments are those of ResNet and PlainNet."""
    check_choice("variant", variant, tuple(VARIANTS))
    settings = VARIANTS[variant]
    block_type, blocks_per_stage = _blocks(depth, variant)
    if include_top:
        num_classes = check_positive_integer("num_classes", num_classes)
    if data_format is None:
        data_format = keras.config.image_data_format()
    check_choice("data_format", data_format, ("channels_last", "channels_first"))
    input_shape = _input_shape(input_shape, settings.image_size, data_format)
    if weights is not None:
        # Before the network is built: that takes seconds.
        residual = block_class is ResidualBlock
        find_source("weights", weights, depth=depth, variant=variant, residual=residual)

    common = {
        "use_batch_norm": use_batch_norm,
        "use_bias": settings.use_bias,
        "batch_norm_momentum": settings.batch_norm_momentum,
        "batch_norm_epsilon": settings.batch_norm_epsilon,
        "kernel_initializer": settings.kernel_initializer,
        "data_format": data_format,
    }
    images = keras.Input(input_shape, name="images")
    x = _stem(images, settings, use_batch_norm, data_format)
    total = sum(blocks_per_stage)
    index = 0
    for stage, (width, blocks) in enumerate(
        zip(settings.widths, blocks_per_stage, strict=True), start=1
    ):
        for block in range(1, blocks + 1):
            options = dict(common)
            if block_class is ResidualBlock:
                options["shortcut"] = (
                    shortcut or settings.shortcuts[block_type == "bottleneck"]
                )
                options["zero_init"] = zero_init
                # Linear in depth (Huang et al. 2016, section 4); one block alone is
                # the first one and keeps everything.
                options["drop_path"] = drop_path_rate * index / max(total - 1, 1)
            x = block_class(
                width,
                strides=2 if stage > 1 and block == 1 else 1,
                block_type=block_type,
                stride_on=settings.stride_on,
                name=f"stage{stage}_block{block}",
                **options,
            )(x)
            index += 1
    if include_top:
        x = keras.layers.GlobalAveragePooling2D(data_format=data_format, name="pool")(x)
        if classifier_activation == "auto":
            classifier_activation = settings.classifier_activation
        # Under mixed precision the logits and the softmax stay in float32.
        x = keras.layers.Dense(
            num_classes,
            activation=classifier_activation,
            dtype=keras.config.dtype_policy().variable_dtype,
            name="classifier",
        )(x)
    model = keras.Model(images, x, name=name)
    if weights is not None:
        load_pretrained(model, weights)
    return model


def _blocks(depth, variant):
    depth = check_positive_integer("depth", depth)
    if variant == "cifar":
        if depth < 8 or (depth - 2) % 6 != 0:
            raise ValueError(
                "`depth` must be 6n + 2 with n >= 1 (8, 14, 20, 32, 44, 56, 110, ...) "
                f"for variant='cifar'. Received: depth={depth!r}"
            )
        return "basic", ((depth - 2) // 6,) * 3
    if depth not in IMAGENET_DEPTHS:
        raise ValueError(
            f"`depth` must be one of {', '.join(map(str, IMAGENET_DEPTHS))} for "
            f"variant={variant!r}. Received: depth={depth!r}"
        )
    return IMAGENET_DEPTHS[depth]


def _input_shape(input_shape, image_size, data_format):
    if input_shape is None:
        square = (image_size, image_size)
        return (*square, 3) if data_format == "channels_last" else (3, *square)
    return check_image_shape(input_shape, data_format)


def _stem(images, settings, use_batch_norm, data_format):
    small = settings.image_size == 32
    x = images
    if not small:
        x = keras.layers.ZeroPadding2D(3, data_format=data_format, name="stem_pad")(x)
    x = Conv2D(
        settings.widths[0],
        3 if small else 7,
        strides=1 if small else 2,
        padding="same" if small else "valid",
        use_bias=not use_batch_norm if settings.use_bias is None else settings.use_bias,
        kernel_initializer=settings.kernel_initializer,
        data_format=data_format,
        name="stem_conv",
    )(x)
    if use_batch_norm:
        x = BatchNormalization(
            axis=-1 if data_format == "channels_last" else 1,
            momentum=settings.batch_norm_momentum,
            epsilon=settings.batch_norm_epsilon,
            name="stem_bn",
        )(x)
    x = keras.layers.Activation("relu", name="stem_relu")(x)
    if small:
        return x
    # After ReLU, padding with zeros gives the same maxima as padding with -inf.
    x = keras.layers.ZeroPadding2D(1, data_format=data_format, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(
        3, strides=2, data_format=data_format, name="stem_pool"
    )(x)
