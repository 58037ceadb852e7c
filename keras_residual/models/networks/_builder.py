"""The one builder behind ResNet and PlainNet: depth, width and variant are data."""

import math
import types

import keras

from keras_residual.layers._checks import (
    check_choice,
    check_fraction,
    check_image_shape,
    check_positive_integer,
    checked_data_format,
)
from keras_residual.layers._convolutions import (
    build_normalization,
    make_convolution,
    make_normalization,
)
from keras_residual.layers.max_pooling2d import MaxPooling2D
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models._variants import STEMS, VARIANTS, depths_of, find_blocks
from keras_residual.models.networks._outputs import add_top, check_outputs
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
    pooling,
    outputs,
    output_stride,
    classifier_activation,
    preactivation,
    widen_factor,
    groups,
    width_per_group,
    use_batch_norm,
    normalization,
    squeeze_excitation,
    dropout_rate,
    kernel_regularizer,
    data_format,
    dtype,
    name,
    shortcut=None,
    zero_init=False,
    drop_path_rate=0.0,
):
    """Builds the functional model; the arguments are those of ResNet and PlainNet."""
    check_choice("variant", variant, tuple(VARIANTS))
    settings = VARIANTS[variant]
    block_type, blocks_per_stage = _blocks(depth, variant)
    if include_top and outputs is None:
        num_classes = check_positive_integer("num_classes", num_classes)
    data_format = checked_data_format(data_format)
    input_shape = _input_shape(input_shape, settings.image_size, data_format)
    widen_factor = check_positive_integer("widen_factor", widen_factor)
    check_fraction("dropout_rate", dropout_rate)
    check_outputs(outputs, pooling, include_top, len(blocks_per_stage))
    strides = _strides(settings, len(blocks_per_stage), output_stride)
    if preactivation is None:
        preactivation = settings.preactivation
    residual = block_class is ResidualBlock
    if weights is not None:
        # Checked before the network is built, which takes seconds.
        changed = (
            preactivation != settings.preactivation
            or widen_factor > 1
            or normalization != "batch"
            or squeeze_excitation is not None
        )
        find_source(
            "weights",
            weights,
            size=(depth, groups, width_per_group),
            variant=variant,
            published=residual and not changed,
        )

    common = {
        "use_batch_norm": use_batch_norm,
        "normalization": normalization,
        "use_bias": settings.use_bias,
        "batch_norm_momentum": settings.batch_norm_momentum,
        "batch_norm_epsilon": settings.batch_norm_epsilon,
        "kernel_initializer": settings.kernel_initializer,
        "kernel_regularizer": kernel_regularizer,
        "data_format": data_format,
    }
    policy = keras.dtype_policies.get(dtype)
    # Settings of the layers outside the blocks, made like those inside.
    outer = types.SimpleNamespace(**common, dtype_policy=policy, groups=1, dilation=1)
    images = keras.Input(input_shape, name="images")
    x = _stem(images, settings, outer, preactivation)
    features = {"stem": x}
    total = sum(blocks_per_stage)
    index = 0
    for stage, blocks in enumerate(blocks_per_stage, start=1):
        stride, first_dilation, dilation = strides[stage - 1]
        for block in range(1, blocks + 1):
            options = dict(common)
            if residual:
                options["shortcut"] = shortcut or settings.shortcut(block_type)
                options["zero_init"] = zero_init
                # Linear in depth (Huang et al. 2016, section 4); one block alone is
                # the first one and keeps everything.
                options["drop_path"] = drop_path_rate * index / max(total - 1, 1)
            x = block_class(
                settings.widths[stage - 1] * widen_factor,
                strides=stride if block == 1 else 1,
                block_type=block_type,
                preactivation=preactivation,
                stride_on=settings.stride_on,
                groups=groups,
                width_per_group=width_per_group,
                dilation=first_dilation if block == 1 else dilation,
                squeeze_excitation=squeeze_excitation,
                dropout=dropout_rate,
                name=f"stage{stage}_block{block}",
                dtype=policy,
                **options,
            )(x)
            index += 1
        features[f"stage{stage}"] = x
    if preactivation:
        x = _normalized(x, outer, "post_bn")
        x = keras.layers.Activation("relu", dtype=policy, name="post_relu")(x)
        features[f"stage{len(blocks_per_stage)}"] = x
    if outputs is not None:
        if weights is not None:
            # Into the whole network: the outputs may be its first stages.
            load_pretrained(keras.Model(images, x, name=name), weights)
        chosen = {stage: features[stage] for stage in outputs}
        return keras.Model(images, chosen, name=name)
    if classifier_activation == "auto":
        classifier_activation = settings.classifier_activation
    x = add_top(
        x, outer, pooling, num_classes if include_top else None, classifier_activation
    )
    model = keras.Model(images, x, name=name)
    if weights is not None:
        load_pretrained(model, weights)
    return model


def _blocks(depth, variant):
    depth = check_positive_integer("depth", depth)
    found = find_blocks(depth, variant)
    if found is None:
        raise ValueError(
            f"`depth` must be {depths_of(variant)} for variant={variant!r}. "
            f"Received: depth={depth!r}"
        )
    return found


def _input_shape(input_shape, image_size, data_format):
    if input_shape is None:
        square = (image_size, image_size)
        return (*square, 3) if data_format == "channels_last" else (3, *square)
    return check_image_shape(input_shape, data_format)


def _strides(settings, stages, output_stride):
    """For each stage the stride, and the dilation of its first block and of the rest.

    As in torchvision's `replace_stride_with_dilation`, a first block without its stride
    keeps the dilation of the stage before.
    """
    _, stride, pools = STEMS[settings.stem]
    reached = stride * (2 if pools else 1)
    whole = reached * 2 ** (stages - 1)
    if output_stride is not None:
        check_choice("output_stride", output_stride, (whole // 4, whole // 2, whole))
    limit = output_stride or math.inf
    found, dilation = [(1, 1, 1)], 1
    for _ in range(1, stages):
        if 2 * reached <= limit:
            reached *= 2
            found.append((2, dilation, dilation))
        else:
            found.append((1, dilation, 2 * dilation))
            dilation *= 2
    return found


def _stem(images, settings, outer, preactivation):
    side, strides, pools = STEMS[settings.stem]
    data_format, policy = outer.data_format, outer.dtype_policy
    width = settings.widths[0]
    widths = (width // 2, width // 2, width) if settings.stem == "deep" else (width,)
    x = images
    if strides > 1:
        x = keras.layers.ZeroPadding2D(
            side // 2, data_format=data_format, dtype=policy, name="stem_pad"
        )(x)
    for number, filters in enumerate(widths, 1):
        suffix = str(number) if number > 1 else ""
        x = make_convolution(
            outer,
            filters,
            side,
            strides=strides if number == 1 else 1,
            name=f"stem_conv{suffix}",
        )(x)
        if preactivation and number == len(widths):
            break  # The first block begins with normalization and activation.
        x = _normalized(x, outer, f"stem_bn{suffix}")
        x = keras.layers.Activation("relu", dtype=policy, name=f"stem_relu{suffix}")(x)
    if not pools:
        return x
    # After ReLU, padding with zeros gives the same maxima as padding with -inf. Without
    # ReLU it is what ResNet50V2 of keras.applications does.
    x = keras.layers.ZeroPadding2D(
        1, data_format=data_format, dtype=policy, name="stem_pool_pad"
    )(x)
    return MaxPooling2D(
        3, strides=2, data_format=data_format, dtype=policy, name="stem_pool"
    )(x)


def _normalized(x, outer, name):
    norm = make_normalization(outer, name=name)
    if norm is None:
        return x
    build_normalization(norm, x.shape)
    return norm(x)
