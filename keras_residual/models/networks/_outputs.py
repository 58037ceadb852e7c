"""The end of a network: a classifier, pooled features, or the maps of its stages."""

import keras

from keras_residual.layers._checks import check_choice


def check_outputs(outputs, pooling, include_top, stages):
    check_choice("pooling", pooling, (None, "avg", "max"))
    if pooling is not None and (include_top or outputs is not None):
        raise ValueError(
            "`pooling` must be None unless include_top=False and outputs=None: a "
            "classifier pools by itself, and feature maps are not pooled. "
            f"Received: pooling={pooling!r}"
        )
    if outputs is None:
        return
    known = ("stem", *(f"stage{stage}" for stage in range(1, stages + 1)))
    names = outputs if isinstance(outputs, (list, tuple)) else ()
    if not names or set(names) - set(known) or len(set(names)) < len(names):
        raise ValueError(
            f"`outputs` must be a tuple of names out of {', '.join(map(repr, known))}. "
            f"Received: outputs={outputs!r}"
        )


def add_top(x, outer, pooling, num_classes, activation):
    """Pooling, and the classifier unless `num_classes` is None."""
    data_format, policy = outer.data_format, outer.dtype_policy
    if num_classes is None and pooling is None:
        return x
    layer = keras.layers.GlobalAveragePooling2D
    if pooling == "max":
        layer = keras.layers.GlobalMaxPooling2D
    x = layer(data_format=data_format, dtype=policy, name="pool")(x)
    if num_classes is None:
        return x
    # Under mixed precision the logits and the softmax stay in float32.
    return keras.layers.Dense(
        num_classes,
        activation=activation,
        kernel_regularizer=outer.kernel_regularizer,
        dtype=policy.variable_dtype,
        name="classifier",
    )(x)
