"""What kind of residual network a model is, read from its layers."""

import dataclasses

import keras

from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models._graph import Graph, functional
from keras_residual.models._variants import IMAGENET_DEPTHS, VARIANTS

CONVOLUTIONS = (
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A residual block, or a block of a plain network."""

    kernels: tuple[int, ...]  # sides of the branch's kernels, input first
    strides: tuple[int, ...]
    filters: tuple[int, ...]
    shortcut: str | None  # identity, projection, pad, pooling; None: a plain block
    preactivation: bool

    @property
    def block_type(self):
        return {(3, 3): "basic", (1, 3, 1): "bottleneck"}.get(self.kernels)

    @property
    def stride_on(self):
        """The kernel that has the stride, such as 3x3, or None."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if stride > 1:
                return f"{kernel}x{kernel}"
        return None


@dataclasses.dataclass
class Structure:
    """What the layers of a model say about it."""

    model: keras.Model
    stem: keras.layers.Layer | None = None  # the convolution before the first block
    stem_pooling: bool = False
    blocks: list[Block] = dataclasses.field(default_factory=list)
    convolutions: list = dataclasses.field(default_factory=list)
    norms: list = dataclasses.field(default_factory=list)
    paddings: set[str] = dataclasses.field(default_factory=set)
    classifier: keras.layers.Dense | None = None

    @property
    def norm_settings(self):
        return sorted({(norm.momentum, norm.epsilon) for norm in self.norms})

    @property
    def biases(self):
        return {convolution.use_bias for convolution in self.convolutions}

    @property
    def stages(self):
        """Width and number of blocks of each stage."""
        stages: list[list[int]] = []
        for block in self.blocks:
            if not stages or stages[-1][0] != block.filters[0]:
                stages.append([block.filters[0], 0])
            stages[-1][1] += 1
        return stages


def read_structure(model):
    """Reads a functional model, or the one inside it that has the convolutions."""
    graph = Graph(model)
    structure = Structure(model)
    layers = [calls[0].layer for calls in graph.calls.values() if calls]
    for name, calls in graph.calls.items():
        for call in calls:
            if isinstance(call.layer, PlainBlock):
                structure.blocks.append(_block_of_layer(call.layer))
            elif isinstance(call.layer, keras.layers.Add) and len(call.sources) == 2:
                structure.blocks += _block_of_addition(graph, name)
    if not structure.blocks:
        models = (functional(x) for x in layers if isinstance(x, keras.Model))
        nested = [read_structure(inner) for inner in models if inner is not None]
        networks = [inner for inner in nested if inner.convolutions]
        if len(networks) == 1:
            # A model without convolutions after the network is its head.
            networks[0].classifier = nested[-1].classifier
            return networks[0]
    for layer in layers:
        if isinstance(layer, PlainBlock):
            for convolution, norm in layer._convolutions():
                structure.convolutions.append(convolution)
                structure.norms += [norm] if norm is not None else []
                if _pads(convolution):
                    structure.paddings.add("symmetric")
        elif isinstance(layer, CONVOLUTIONS):
            if not structure.convolutions:
                structure.stem = layer
            structure.convolutions.append(layer)
            if _pads(layer):
                structure.paddings.add(_padding(graph, layer))
        elif isinstance(layer, keras.layers.BatchNormalization):
            structure.norms.append(layer)
        elif isinstance(layer, keras.layers.MaxPooling2D):
            structure.stem_pooling |= len(structure.convolutions) == 1
    if layers and isinstance(layers[-1], keras.layers.Dense):
        structure.classifier = layers[-1]
    return structure


def recognise(structure):
    """Returns (name, variants, differences) of the nearest known network, or None.

    Several variants are as near where they differ in what the network does not have.
    The number of classes and the activation of the classifier are no difference.
    """
    blocks = structure.blocks
    if not blocks or structure.stem is None:
        return None
    types = {block.block_type for block in blocks}
    plain = {block.shortcut is None for block in blocks}
    if len(types) > 1 or None in types or len(plain) > 1:
        return None
    (block_type,) = types
    widths = tuple(width for width, _ in structure.stages)
    counts = tuple(count for _, count in structure.stages)
    candidates = []
    for variant, settings in VARIANTS.items():
        if widths != settings.widths or _depth(variant, block_type, counts) is None:
            continue
        differences = list(_differences(structure, settings, block_type))
        candidates.append((len(differences), variant, differences))
    if not candidates:
        return None
    _, variant, differences = min(candidates, key=lambda candidate: candidate[0])
    variants = [other for _, other, same in candidates if same == differences]
    kind = "PlainNet" if plain == {True} else "ResNet"
    depth = _depth(variant, block_type, counts)
    return f"{kind}-{depth}", variants, differences


def _depth(variant, block_type, counts):
    if variant == "cifar":
        even = block_type == "basic" and len(set(counts)) == 1
        return 6 * counts[0] + 2 if even else None
    for depth, known in IMAGENET_DEPTHS.items():
        if known == (block_type, counts):
            return depth
    return None


def _differences(structure, settings, block_type):
    blocks = structure.blocks
    small = settings.image_size == 32
    stem = structure.stem
    shape = (stem.kernel_size[0], stem.strides[0], structure.stem_pooling)
    expected = (3, 1, False) if small else (7, 2, True)
    if shape != expected:
        yield "another stem"
    stride_on = {block.stride_on for block in blocks} - {None}
    known = settings.stride_on if block_type == "bottleneck" else "3x3"
    if stride_on != {known}:
        yield f"stride on {_words(stride_on)} in place of {known}"
    if structure.paddings - {"symmetric"}:
        yield f"padding {_words(structure.paddings)} in place of symmetric"
    if any(block.preactivation for block in blocks):
        yield "preactivated blocks"
    shortcuts = {block.shortcut for block in blocks} - {None}
    resizing = settings.shortcuts[block_type == "bottleneck"]
    resizing = {"auto": "projection"}.get(resizing, resizing)
    if shortcuts and shortcuts != {"identity", resizing}:
        yield f"shortcuts {_words(shortcuts)} in place of identity, {resizing}"
    if not structure.norms:
        yield "no batch normalization"
    for index, name in enumerate(("momentum", "epsilon")):
        values = {setting[index] for setting in structure.norm_settings}
        value = getattr(settings, f"batch_norm_{name}")
        if values - {value}:
            yield f"batch normalization {name} {_words(values)} in place of {value}"
    use_bias = settings.use_bias
    if use_bias is None:
        use_bias = not structure.norms
    if structure.biases != {use_bias}:
        yield "convolutions without biases" if use_bias else "convolution biases"


def _words(values):
    return ", ".join(str(value) for value in sorted(values, key=str))


def _block_of_layer(layer):
    shortcut = None
    if isinstance(layer, ResidualBlock):
        shortcut = "identity"
        if layer.projection is not None:
            shortcut = "projection"
        elif layer.shortcut == "pad" and _changes(layer):
            shortcut = "pad"
    branch = [
        convolution
        for convolution, _ in layer._convolutions()
        if convolution is not getattr(layer, "projection", None)
    ]
    return _block(branch, shortcut, layer.preactivation)


def _changes(layer):
    return layer.strides > 1 or any(layer._channel_padding)


def _block(branch, shortcut, preactivation):
    return Block(
        tuple(convolution.kernel_size[0] for convolution in branch),
        tuple(convolution.strides[0] for convolution in branch),
        tuple(getattr(convolution, "filters", 0) for convolution in branch),
        shortcut,
        preactivation,
    )


def _block_of_addition(graph, name):
    """The block that an `Add` closes, as a list: none if it closes none."""
    first, second = (
        list(_chain(graph, source)) for source in graph.calls[name][0].sources
    )
    common = next((source for source in first if source in second), None)
    if common is None:
        return []
    paths = []
    for chain in (first, second):
        names = chain[: chain.index(common)][::-1]
        paths.append([graph.calls[source][0].layer for source in names])
    branch, shortcut = sorted(paths, key=_convolution_count, reverse=True)
    kind = "identity"
    if _convolution_count(shortcut):
        kind = "projection"
    elif any(isinstance(layer, keras.layers.MaxPooling2D) for layer in shortcut):
        kind = "pooling"
    elif shortcut:
        kind = "other"
    convolutions = [layer for layer in branch if isinstance(layer, CONVOLUTIONS)]
    if not convolutions:
        return []
    norms = [
        layer for layer in branch if isinstance(layer, keras.layers.BatchNormalization)
    ]
    last = branch.index(convolutions[-1])
    preactivation = bool(norms) and all(branch.index(norm) < last for norm in norms)
    return [_block(convolutions, kind, preactivation)]


def _chain(graph, name):
    """The names from one layer back to the first that has not exactly one input."""
    while True:
        yield name
        call = graph.only_call(name)
        if call is None or len(call.sources) != 1:
            return
        (name,) = call.sources


def _convolution_count(layers):
    return sum(isinstance(layer, CONVOLUTIONS) for layer in layers)


def _pads(convolution):
    return max(convolution.strides) > 1 and max(convolution.kernel_size) > 1


def _padding(graph, convolution):
    if convolution.padding == "same":
        return "same"
    call = graph.only_call(convolution.name)
    before = call and len(call.sources) == 1 and graph.only_call(call.sources[0])
    if before and isinstance(before.layer, keras.layers.ZeroPadding2D):
        symmetric = all(start == end for start, end in before.layer.padding)
        return "symmetric" if symmetric else "asymmetric"
    return "none"
