"""Augmentation inside the model: layers that run in training and at no other time."""

import keras


@keras.saving.register_keras_serializable("keras_residual")
class TrainingOnly(keras.layers.Layer):
    """Runs layers one after the other in training, and nothing in inference.

    Most augmentation layers do nothing in inference by themselves; another layer would
    change predictions.

    Args:
        layers: List of layers.
        **kwargs: Arguments of `keras.layers.Layer`.
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
    """Returns a list of the layers; raises for other objects."""
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
    """Applies the layers to images of a functional model; raises if shapes change."""
    if not layers:
        return images
    outputs = images
    for layer in layers:
        outputs = layer(outputs)
        shape = getattr(outputs, "shape", None)
        if shape != images.shape:
            raise ValueError(
                "`augmentation` must keep the shape of the images. "
                f"Received: {layer.name}, which turns {images.shape} into {shape}"
            )
    return TrainingOnly(layers, name="augmentation")(images)
