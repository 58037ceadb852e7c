"""An oracle of the blocks: PyTorch's functions, wired as the papers' figures are."""

import keras
import numpy as np
import pytest


@pytest.fixture
def randomize():
    """Gives every weight, moving statistics included, a value of its own."""

    def apply(layer):
        generator = np.random.default_rng(0)
        for weight in layer.weights:
            positive = weight.path.endswith(("gamma", "moving_variance"))
            low = 0.5 if positive else -0.5
            weight.assign(generator.uniform(low, low + 1.0, weight.shape))

    return apply


@pytest.fixture
def reference_block():
    """Computes a block from its configuration and its weights."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    def compute(block, images, *, training, residual):
        config = block.get_config()
        weights = {
            "/".join(weight.path.split("/")[-2:]): torch.tensor(
                keras.ops.convert_to_numpy(weight)
            )
            for weight in block.weights
        }
        activation = getattr(functional, config["activation"])

        def convolve(name, x, stride):
            kernel = weights[f"{name}/kernel"].permute(3, 2, 0, 1)
            bias = weights.get(f"{name}/bias")
            return functional.conv2d(x, kernel, bias, stride, kernel.shape[-1] // 2)

        def normalize(name, x):
            if f"{name}/gamma" not in weights:
                return x
            return functional.batch_norm(
                x,
                weights[f"{name}/moving_mean"],
                weights[f"{name}/moving_variance"],
                weights[f"{name}/gamma"],
                weights[f"{name}/beta"],
                training=training,
                eps=config["batch_norm_epsilon"],
            )

        stride = config["strides"]
        bottleneck = config["block_type"] == "bottleneck"
        strides = [stride, 1]
        if bottleneck:
            on_first = config["stride_on"] == "1x1"
            strides = [stride, 1, 1] if on_first else [1, stride, 1]

        inputs = torch.tensor(images.transpose(0, 3, 1, 2))
        x = shortcut = inputs
        for index, conv_stride in enumerate(strides):
            conv, norm = f"conv{index + 1}", f"bn{index + 1}"
            if config["preactivation"]:
                x = activation(normalize(norm, x))
                if index == 0 and "projection/kernel" in weights:
                    shortcut = x
                x = convolve(conv, x, conv_stride)
            else:
                x = normalize(norm, convolve(conv, x, conv_stride))
                if index + 1 < len(strides):
                    x = activation(x)
        if residual:
            if "projection/kernel" in weights:
                shortcut = convolve("projection", shortcut, stride)
                shortcut = normalize("projection_bn", shortcut)
            else:
                missing = x.shape[1] - shortcut.shape[1]
                before, after = missing // 2, missing - missing // 2
                shortcut = shortcut[:, :, ::stride, ::stride]
                shortcut = functional.pad(shortcut, (0, 0, 0, 0, before, after))
            x = x + shortcut
        if not config["preactivation"]:
            x = activation(x)
        return x.numpy().transpose(0, 2, 3, 1)

    return compute
