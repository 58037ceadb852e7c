"""The backbone as one layer, in inference mode unless it is trained from scratch."""

import keras
import numpy as np

from keras_residual.models._backbone_parts import batch_norms, leaves


@keras.saving.register_keras_serializable("keras_residual")
class Backbone(keras.layers.Layer):
    """Runs a network and keeps its batch normalization in inference mode.

    In a functional model `training=False` at the call of a nested model does not last:
    the outer model's value wins. In the `call` of a layer it does.

    Args:
        network: The `keras.Model`.
        train_batch_norm: Whether the network follows the mode of the outer model.
        **kwargs: Passed to `keras.layers.Layer`.
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


def moved_statistics(model, network, images) -> list[str]:
    """Names of a network's batch normalizations that a pass in training mode changes.

    The model is left as it was.
    """
    norms = batch_norms(network)
    # Seeds of dropout advance as well.
    state = [(v, _value(v)) for v in model.non_trainable_variables]
    before = [[_value(w) for w in norm.weights] for norm in norms]
    model(images, training=True)
    moved = [
        norm.name
        for norm, values in zip(norms, before, strict=True)
        if any(
            not np.array_equal(value, _value(weight))
            for value, weight in zip(values, norm.weights, strict=True)
        )
    ]
    for variable, value in state:
        variable.assign(value)
    return moved


def _value(variable):
    # A copy: on the CPU a backend may hand out its own memory.
    return np.array(keras.ops.convert_to_numpy(variable))
