"""The layers of a network that do the work, however they are nested."""

import keras


def leaves(network) -> list[keras.layers.Layer]:
    """The layers that do the work, in the order of the forward pass.

    A layer that contains layers, such as a residual block, counts as these, unless it
    has weights of its own.
    """
    found: list[keras.layers.Layer] = []
    for layer in network.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            add_leaves(layer, found)
    return found


def batch_norms(network) -> list[keras.layers.Layer]:
    """The batch normalizations of a network."""
    return [
        layer
        for layer in leaves(network)
        if isinstance(layer, keras.layers.BatchNormalization)
    ]


def add_leaves(layer, found: list[keras.layers.Layer]) -> None:
    """Appends the leaves inside a layer, each once."""
    children = _children(layer)
    weights = {id(weight) for child in children for weight in child.weights}
    if children and all(id(weight) in weights for weight in layer.weights):
        for child in children:
            add_leaves(child, found)
    elif all(layer is not other for other in found):
        found.append(layer)


def all_layers(network) -> list[keras.layers.Layer]:
    """Every layer inside, each once, containers before their content."""
    found: dict[int, keras.layers.Layer] = {}

    def add(layer) -> None:
        if id(layer) not in found:
            found[id(layer)] = layer
            for child in _children(layer):
                add(child)

    for layer in _children(network):
        add(layer)
    return list(found.values())


def _children(layer):
    if isinstance(layer, keras.Model):
        return [
            child
            for child in layer.layers
            if not isinstance(child, keras.layers.InputLayer)
        ]
    children: dict[int, keras.layers.Layer] = {}
    for value in vars(layer).values():
        items = value.values() if isinstance(value, dict) else value
        for item in items if isinstance(value, (dict, list, tuple)) else [value]:
            if isinstance(item, keras.layers.Layer) and item is not layer:
                children[id(item)] = item
    return list(children.values())
