"""The graph of a functional model, read from its configuration."""

import collections
import dataclasses

import keras

from keras_residual.models._backbone import Backbone


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer or of an operation in the graph of a model."""

    layer: keras.layers.Layer
    sources: tuple[str, ...]  # names of the layers that the inputs come from
    shapes: tuple[tuple[int | None, ...], ...]  # of the inputs, with the batch
    keywords: dict


class Graph:
    """Calls by the name of their layer, in the order of the model's layers.

    `uses` counts, for each name, how often its output is an input of another layer or
    an output of the model.
    """

    def __init__(self, model):
        config = model.get_config()
        operations = {operation.name: operation for operation in model.operations}
        self.calls: dict[str, list[Call]] = {}
        self.uses: collections.Counter[str] = collections.Counter()
        for layer in config["layers"]:
            self.calls[layer["name"]] = calls = []
            for node in layer["inbound_nodes"]:
                tensors = list(_tensors([node["args"], node["kwargs"]]))
                sources = tuple(tensor["keras_history"][0] for tensor in tensors)
                shapes = tuple(tuple(tensor["shape"]) for tensor in tensors)
                self.uses.update(sources)
                calls.append(
                    Call(operations[layer["name"]], sources, shapes, node["kwargs"])
                )
        self.outputs = list(_histories(config["output_layers"]))
        self.uses.update(self.outputs)

    def only_call(self, name):
        """The call of a layer that is called once, or None."""
        calls = self.calls.get(name, [])
        return calls[0] if len(calls) == 1 else None


def functional(model):
    """Returns a functional model of the same layers, or None if there is none."""
    if isinstance(model, keras.Sequential):
        if not model.built:
            return None
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not hasattr(model, "operations") or _has_own_call(model):
        return None
    # Neither the class of the model nor its compilation matters here.
    plain = keras.Model(model.input, model.output, name=model.name)
    if not any(isinstance(layer, Backbone) for layer in plain.layers):
        return plain
    return keras.models.clone_model(
        plain,
        clone_function=lambda layer: (
            layer.network if isinstance(layer, Backbone) else layer
        ),
    )


def _has_own_call(model):
    """Whether a class of the user decides what the model computes.

    The `call` of a TransferModel runs its layers.
    """
    return any(
        "call" in vars(cls)
        and cls.__module__.split(".")[0] not in ("keras", "keras_residual")
        for cls in type(model).__mro__
    )


def _tensors(arguments):
    if isinstance(arguments, dict):
        if arguments.get("class_name") == "__keras_tensor__":
            yield arguments["config"]
            return
        arguments = list(arguments.values())
    if isinstance(arguments, (list, tuple)):
        for argument in arguments:
            yield from _tensors(argument)


def _histories(outputs):
    """Names of layers in a structure whose leaves are [name, call, output]."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if outputs and isinstance(outputs[0], str):
        yield outputs[0]
        return
    for output in outputs:
        yield from _histories(output)
