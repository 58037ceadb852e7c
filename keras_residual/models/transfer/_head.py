"""From a backbone's output to class probabilities."""

import keras


def make_pooling(pooling, shape, data_format) -> keras.layers.Layer:
    """The layer from the backbone's output to one vector an image."""
    if len(shape) not in (2, 4):
        raise ValueError(
            "`backbone` must put out one feature map, (batch, height, width, channels),"
            f" or one vector an image. Received: a model of output shape {shape}"
        )
    if len(shape) == 2:
        # Pooled by the backbone itself.
        return keras.layers.Activation("linear", name="pooling")
    if pooling is None:
        if None in shape[1:]:
            raise ValueError(
                "`pooling` must be 'avg' or 'max' for images of any size: a flattened "
                "feature map needs an `input_shape`. Received: pooling=None"
            )
        return keras.layers.Flatten(name="pooling")
    layer = {
        "avg": keras.layers.GlobalAveragePooling2D,
        "max": keras.layers.GlobalMaxPooling2D,
    }[pooling]
    return layer(data_format=data_format, name="pooling")


def make_head(features, hidden_units, dropout, num_classes) -> keras.Model:
    """Dense and ReLU, dropout, Dense and softmax."""
    inputs = x = keras.Input((features,), name="features")
    if hidden_units is not None:
        x = keras.layers.Dense(hidden_units, activation="relu", name="hidden")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="dropout")(x)
    # Under mixed precision the probabilities stay in float32.
    x = keras.layers.Dense(
        num_classes,
        activation="softmax",
        dtype=keras.config.dtype_policy().variable_dtype,
        name="classifier",
    )(x)
    return keras.Model(inputs, x, name="head")
