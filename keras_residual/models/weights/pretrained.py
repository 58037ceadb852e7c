"""Weights from elsewhere into networks of this library, and back to PyTorch."""

import logging
import os

import keras
import numpy as np

from keras_residual._atomic_file import atomic_file
from keras_residual.layers._checks import check_file
from keras_residual.models.weights._checkpoint_files import (
    import_safetensors,
    read_tensors,
)
from keras_residual.models.weights._known_weights import (
    PublishedFile,
    download,
    find_source,
)
from keras_residual.models.weights._matching import match
from keras_residual.models.weights._network import read_network
from keras_residual.models.weights._weight_names import CIFAR, RESNET_D, TORCHVISION

_LOGGER = logging.getLogger("keras_residual")


def load_pretrained(model: keras.Model, source: str | os.PathLike) -> list[str]:
    """Loads weights of torchvision, timm, keras.applications or this library.

    Loading is strict: it uses every tensor of the file and sets every weight of the
    model, or it raises an error that lists the names and shapes that differ and leaves
    the model unchanged. Two differences are allowed. Each is logged as a warning of the
    logger `"keras_residual"` and returned:

    - the file has another number of classes, or no classifier, and the model keeps its
      own; or the model has none (`include_top=False`) and that of the file is ignored;
    - the model has other than three input channels, and the first kernel is adapted as
      in timm: summed for one channel, otherwise repeated and scaled by `3 / channels`.

    PyTorch's counters `num_batches_tracked` are ignored. This library's own files are
    compared by names and shapes, which some variants share: load a file into the
    network that was saved.

    | file | from | fits |
    |---|---|---|
    | `.pth`, `.pt`, `.th`, `.bin`, `.tar` | PyTorch, which is needed | see below |
    | `.safetensors` | PyTorch; needs the extra `pretrained`, not PyTorch | see below |
    | `.h5` | keras.applications: `save_weights` and the older format | `"keras"` |
    | `.weights.h5`, `.keras` | networks of this library | the same network |

    PyTorch's files may hold the state_dict alone or under `"state_dict"` or `"model"`,
    and its names may begin with `"module."`. Files of torchvision and timm fit
    `variant="torchvision"`, also with `groups`, `width_per_group` and
    `squeeze_excitation`; timm's `resnet50d` and the like fit `variant="resnet_d"`;
    files of akamaster/pytorch_resnet_cifar10 fit `variant="cifar"`. Nothing in a file
    is executed.

    Args:
        model: What [`ResNet`][keras_residual.ResNet] returned.
            [`PlainNet`][keras_residual.PlainNet] takes this library's files only.
        source: Path of a file, or a name whose file is downloaded once into Keras's
            cache and checked against its published hash: `"torchvision"`,
            `"torchvision:v2"`, `"timm:resnet18.a1_in1k"` and others, or `"imagenet"`
            for the file of keras.applications or torchvision, depending on the variant.
            The guide on pretrained weights lists all of them.

    Returns:
        One sentence for each difference; an empty list if there is none.

    Raises:
        ValueError: If `model` is another network, the source is unknown, or the file
            cannot be read or does not fit the model.
        ImportError: If the file needs a package that is not installed.
        ConnectionError: If a download fails; the message says where to put the file.

    Example:
        ```python
        from keras_residual import ResNet, export_torch, load_pretrained

        trained = ResNet(18, input_shape=(64, 64, 3))
        export_torch(trained, "resnet18.safetensors")

        model = ResNet(18, num_classes=10, input_shape=(64, 64, 3))
        print(load_pretrained(model, "resnet18.safetensors"))
        # ['the classifier is new: the file has 1000 classes, the model 10']
        ```

    Reference:
        Wightman et al., "ResNet strikes back", 2021 (timm's weights).
        <https://arxiv.org/abs/2110.00476>. He et al., "Deep Residual Learning for Image
        Recognition", CVPR 2016. <https://arxiv.org/abs/1512.03385>
    """
    network = read_network(model)
    file = find_source(
        "source",
        source,
        size=network.known.size,
        variant=network.variant,
        published=network.residual,
    )
    path = download(file) if isinstance(file, PublishedFile) else file
    assignments, notes = match(network, read_tensors(path), path)
    for variable, value in assignments:
        variable.assign(value)
    if notes:
        _LOGGER.warning("%s from %s: %s", network.name, source, "; ".join(notes))
    return notes


def export_torch(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes the weights as a PyTorch state_dict, which torchvision loads strictly.

    The names and layouts are those of torchvision (ResNet, ResNeXt and Wide ResNet),
    for `variant="resnet_d"` those of timm, and for `variant="cifar"` those of
    akamaster/pytorch_resnet_cifar10. A network without classifier
    (`include_top=False`) lacks its two tensors. `num_batches_tracked` is zero; PyTorch
    uses it only for batch normalization without a momentum. The numbers are float32, so
    [`load_pretrained`][keras_residual.load_pretrained] restores the same weights bit
    for bit.

    Args:
        model: What [`ResNet`][keras_residual.ResNet] returned, of
            `variant="torchvision"`, `"resnet_d"` or `"cifar"`: the other variants have
            no counterpart in these libraries.
        path: Path of the file, ending in `.safetensors`. An existing file is
            replaced once the new one is complete.

    Raises:
        ValueError: If the path has another ending, its folder does not exist, or the
            model has no counterpart.
        ImportError: If safetensors is not installed (extra `pretrained`).

    Example:
        ```python
        from keras_residual import ResNet, export_torch

        export_torch(ResNet(20, 10, variant="cifar"), "resnet20.safetensors")
        # In PyTorch, for a network of torchvision:
        # model.load_state_dict(safetensors.torch.load_file("resnet18.safetensors"))
        ```

    Reference:
        <https://docs.pytorch.org/vision/stable/models/resnet.html>
    """
    target = check_file("path", path, (".safetensors",))
    network = read_network(model)
    layouts = {layout.variant: layout for layout in (TORCHVISION, RESNET_D, CIFAR)}
    layout = layouts.get(network.variant)
    differences = _differences_of_outputs(network)
    if layout is None or not network.residual or differences:
        raise ValueError(
            "`model` must be a ResNet whose outputs are those of "
            f"variant={', '.join(map(repr, layouts))}. "
            f"Received: the model {network.name!r}, which computes the same as "
            f"{network}" + (f", but: {'; '.join(differences)}" if differences else "")
        )
    safetensors = import_safetensors(target)
    tensors = {}
    for key, array in network.arrays().items():
        name = layout.name(key)
        tensors[name] = np.ascontiguousarray(layout.from_keras(array))
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tensors[counter] = np.zeros((), "int64")
    # Readers of other libraries look for the format.
    with atomic_file(target) as temporary:
        safetensors.numpy.save_file(tensors, temporary, metadata={"format": "pt"})


def _differences_of_outputs(network):
    """How the network computes other outputs than the published one, in words."""
    differences = dict(network.known.differences)
    differences.pop("momentum", None)
    # Both shortcuts of akamaster's networks, options A and B, have their names.
    if network.variant == "cifar" and "average" not in network.known.shortcuts:
        differences.pop("shortcuts", None)
    return list(differences.values())
