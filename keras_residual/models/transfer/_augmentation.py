"""Augmentation inside the model: layers that run in training and at no other time."""

import keras


@keras.saving.register_keras_serializable("keras_residual")
class TrainingOnly(keras.layers.Layer):
    """Runs layers one after the other in training, and hands images on otherwise.

    Most augmentation layers do so themselves; a layer that does not would change what
    the model predicts.

    Args:
        layers: List of layers.
        **kwargs: Passed to `keras.layers.Layer`.
    """

    def __init__(self, layers, **kwargs):
        # Half precision would round pixels before they are preprocessed.
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.layers = list(layers)

    def build(self, input_shape):
        for layer in self.layers:
            if not layer.built:
                layer.build(input_shape)
        self.built = True

    def call(self, images, training=None):
        if not training:
            return images
        outputs = images
        for layer in self.layers:
            outputs = layer(outputs, training=True)
        return keras.ops.cast(outputs, keras.backend.standardize_dtype(images.dtype))

    def get_config(self):
        layers = [keras.saving.serialize_keras_object(layer) for layer in self.layers]
        return {**super().get_config(), "layers": layers}

    @classmethod
    def from_config(cls, config):
        layers = map(keras.saving.deserialize_keras_object, config.pop("layers"))
        return cls(layers, **config)


def check_augmentation(augmentation) -> list:
    """Returns the layers in a list; raises for what is no layer."""
    if augmentation is None:
        return []
    listed = isinstance(augmentation, (list, tuple))
    layers = list(augmentation) if listed else [augmentation]
    if not all(isinstance(layer, keras.layers.Layer) for layer in layers):
        raise ValueError(
            "`augmentation` must be a keras layer or a list of layers. "
            f"Received: augmentation={augmentation!r}"
        )
    return layers


def augment(images, layers: list):
    """Puts the layers behind images of a functional model; they keep the shape."""
    if not layers:
        return images
    outputs = images
    for layer in layers:
        outputs = layer(outputs)
        shape = getattr(outputs, "shape", None)
        if shape != images.shape:
            raise ValueError(
                "`augmentation` must leave the shape of the images as it is. "
                f"Received: {layer.name}, which makes {shape} of {images.shape}"
            )
    return TrainingOnly(layers, name="augmentation")(images)
