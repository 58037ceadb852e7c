"""The structure of a residual network, read from the layers of a model."""

import dataclasses

import keras

from keras_residual.layers._convolutions import needs_padding
from keras_residual.layers.plain_block import PlainBlock
from keras_residual.layers.residual_block import ResidualBlock
from keras_residual.models._graph import Graph, functional

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
    groups: int
    dilation: int
    shortcut: str | None  # as `ResidualBlock.built_shortcut`, or pooling; None: plain
    preactivation: bool
    squeeze_excitation: bool = False

    @property
    def block_type(self):
        return {(3, 3): "basic", (1, 3, 1): "bottleneck"}.get(self.kernels)

    @property
    def width(self):
        """The argument `filters` of such a block in this library."""
        return self.filters[-1] // (4 if self.block_type == "bottleneck" else 1)

    @property
    def width_per_group(self):
        if self.block_type != "bottleneck":
            return 64
        return 64 * self.filters[0] // max(self.width * self.groups, 1)

    @property
    def stride_on(self):
        """The kernel that has the stride, such as 3x3, or None."""
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if stride > 1:
                return f"{kernel}x{kernel}"
        return None


@dataclasses.dataclass
class Structure:
    """The parts of a model that distinguish residual networks."""

    model: keras.Model
    stem: keras.layers.Layer | None = None  # the convolution before the first block
    pooled_after: int = 0  # convolutions before the first max pooling, if it is one
    blocks: list[Block] = dataclasses.field(default_factory=list)
    convolutions: list = dataclasses.field(default_factory=list)
    norms: list = dataclasses.field(default_factory=list)
    group_norms: list = dataclasses.field(default_factory=list)
    paddings: set[str] = dataclasses.field(default_factory=set)
    classifier: keras.layers.Dense | None = None

    def add_norm(self, layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            self.norms.append(layer)
        elif isinstance(layer, keras.layers.GroupNormalization):
            self.group_norms.append(layer)

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
            if not stages or stages[-1][0] != block.width:
                stages.append([block.width, 0])
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
            for convolution, norm in layer.convolutions():
                structure.convolutions.append(convolution)
                structure.add_norm(norm)
                if needs_padding(convolution):
                    structure.paddings.add("symmetric")
        elif isinstance(layer, CONVOLUTIONS):
            if not structure.convolutions:
                structure.stem = layer
            structure.convolutions.append(layer)
            if needs_padding(layer):
                structure.paddings.add(_padding(graph, layer))
        elif isinstance(layer, keras.layers.MaxPooling2D):
            structure.pooled_after = structure.pooled_after or len(
                structure.convolutions
            )
        else:
            structure.add_norm(layer)
    if layers and isinstance(layers[-1], keras.layers.Dense):
        structure.classifier = layers[-1]
    return structure


def _block_of_layer(layer):
    residual = isinstance(layer, ResidualBlock)
    branch = [
        convolution
        for convolution, _ in layer.convolutions()
        if not residual or convolution is not layer.projection
    ]
    return _block(
        branch,
        layer.built_shortcut if residual else None,
        layer.preactivation,
        layer.squeeze_excitation is not None,
    )


def _block(branch, shortcut, preactivation, squeeze_excitation=False):
    return Block(
        tuple(convolution.kernel_size[0] for convolution in branch),
        tuple(convolution.strides[0] for convolution in branch),
        tuple(getattr(convolution, "filters", 0) for convolution in branch),
        max(getattr(convolution, "groups", 1) for convolution in branch),
        max(max(convolution.dilation_rate) for convolution in branch),
        shortcut,
        preactivation,
        squeeze_excitation,
    )


def _block_of_addition(graph, name):
    """A list of the block that an `Add` closes, empty if it closes none."""
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
        pools = any(isinstance(x, keras.layers.AveragePooling2D) for x in shortcut)
        kind = "average" if pools else "projection"
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
    """The names from one layer back to the first with none or several inputs."""
    while True:
        yield name
        call = graph.only_call(name)
        if call is None or len(call.sources) != 1:
            return
        (name,) = call.sources


def _convolution_count(layers):
    return sum(isinstance(layer, CONVOLUTIONS) for layer in layers)


def _padding(graph, convolution):
    if convolution.padding == "same":
        return "same"
    call = graph.only_call(convolution.name)
    before = call and len(call.sources) == 1 and graph.only_call(call.sources[0])
    if before and isinstance(before.layer, keras.layers.ZeroPadding2D):
        symmetric = all(start == end for start, end in before.layer.padding)
        return "symmetric" if symmetric else "asymmetric"
    return "none"
