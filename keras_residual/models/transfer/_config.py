"""From a `TransferModel` to its configuration, and back."""

import contextlib

import keras

from keras_residual._leaves import leaves

_LAYERS = ("backbone", "head", "preprocessing", "augmentation")
_PLAIN = (
    *("num_classes", "class_names", "mode", "hidden_units", "dropout", "activation"),
    *("pooling", "value_range", "train_batch_norm", "name", "data_format"),
)


def config_of(model) -> dict:
    """All arguments of the model, what trains, and Keras's settings at that time."""
    head = model.head.layers[-1] if model.own_head else None
    layers = (model.backbone, head, model.preprocessing, model.augmentation)
    return {
        **{
            name: keras.saving.serialize_keras_object(layer)
            for name, layer in zip(_LAYERS, layers, strict=True)
        },
        **{name: getattr(model, name) for name in _PLAIN},
        "input_shape": model.input_shape[1:],
        "dtype": keras.saving.serialize_keras_object(model.dtype_policy),
        "trains": [layer.trainable for layer in _trainable_layers(model)],
        "learning_rate_decay": model._learning_rate_decay,
        "optimizer_state": model.compiled and model.optimizer.built,
    }


def model_of(cls, config: dict):
    """A new model of the class; nothing is downloaded."""
    config = dict(config)
    trains = config.pop("trains")
    decay = config.pop("learning_rate_decay")
    had_optimizer_state = config.pop("optimizer_state")
    for name in _LAYERS:
        if isinstance(config.get(name), (dict, list)):
            config[name] = keras.saving.deserialize_keras_object(config[name])
    if config["mode"] == "fine_tuning":
        config["unfreeze"] = "all"  # what trains is set below, layer by layer
    with _settings(config.pop("dtype", None), config.pop("data_format", None)):
        model = cls(**config)
    model._learning_rate_decay = decay
    model._had_optimizer_state = had_optimizer_state
    for layer, trainable in zip(_trainable_layers(model), trains, strict=True):
        layer.trainable = trainable
    return model


def _trainable_layers(model):
    return [*leaves(model.backbone), *leaves(model.head)]


@contextlib.contextmanager
def _settings(dtype, data_format):
    """Scope of the Keras settings of a saved model."""
    before = keras.config.dtype_policy(), keras.config.image_data_format()
    if dtype is not None:
        keras.config.set_dtype_policy(keras.saving.deserialize_keras_object(dtype))
    if data_format is not None:
        keras.config.set_image_data_format(data_format)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[1])
