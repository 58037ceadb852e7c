"""The backbone as one layer, in inference mode unless it is trained from scratch."""

import keras

from keras_residual._leaves import leaves


@keras.saving.register_keras_serializable("keras_residual")
class Backbone(keras.layers.Layer):
    """Runs a network and keeps its batch normalization in inference mode.

    In a functional model the outer model's `training` replaces the `training=False` of
    a call of a nested model. In the `call` of a layer it does not.

    Args:
        network: The `keras.Model`.
        train_batch_norm: Whether the network follows the mode of the outer model.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, network, train_batch_norm, **kwargs):
        super().__init__(**kwargs)
        self.network = network
        self.train_batch_norm = train_batch_norm

    def build(self, input_shape):
        if not self.network.built:
            self.network.build(input_shape)
        self.built = True

    def call(self, images, training=None):
        return self.network(images, training=bool(training) and self.train_batch_norm)

    def compute_output_shape(self, input_shape):
        return self.network.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "network": keras.saving.serialize_keras_object(self.network),
            "train_batch_norm": self.train_batch_norm,
            "trains": [layer.trainable for layer in leaves(self.network)],
        }

    @classmethod
    def from_config(cls, config):
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        # The config of a layer does not say which of the layers inside it train.
        trains = config.pop("trains")
        for layer, trainable in zip(leaves(network), trains, strict=True):
            layer.trainable = trainable
        return cls(network, **config)
