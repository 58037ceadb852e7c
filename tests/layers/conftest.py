"""An oracle of the blocks: PyTorch's functions, wired as the papers' figures are."""

import keras
import numpy as np
import pytest

# Groups of group normalization by channels: at most 32, at least two channels each.
GROUPS = {2: 1, 4: 2, 5: 1, 8: 4, 20: 4, 64: 32}


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
            dilation = config["dilation"] if kernel.shape[-1] > 1 else 1
            return functional.conv2d(
                x,
                kernel,
                bias,
                stride,
                padding=dilation * (kernel.shape[-1] // 2),
                dilation=dilation,
                groups=x.shape[1] // kernel.shape[1],
            )

        def normalize(name, x):
            if f"{name}/gamma" not in weights:
                return x
            if config["normalization"] == "group":
                return functional.group_norm(
                    x,
                    GROUPS[x.shape[1]],
                    weights[f"{name}/gamma"],
                    weights[f"{name}/beta"],
                    eps=config["batch_norm_epsilon"],
                )
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
        if config["squeeze_excitation"] is not None:
            pooled = x.mean((2, 3), keepdim=True)
            hidden = functional.relu(convolve("fc1", pooled, 1))
            x = x * torch.sigmoid(convolve("fc2", hidden, 1))
        if residual:
            if "projection/kernel" in weights:
                if config["shortcut"] == "average":
                    # As timm has it: what lies beyond the border does not count.
                    shortcut = functional.avg_pool2d(
                        shortcut, stride, ceil_mode=True, count_include_pad=False
                    )
                    stride = 1
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


@keras.saving.register_keras_serializable(package="keras_residual_tests")
class Given(keras.layers.Layer):
    """Puts out its weight, so that a training changes it by the input's gradient."""

    def build(self, input_shape):
        self.given = self.add_weight(shape=input_shape, name="given")

    def call(self, inputs):
        return self.given * inputs


@pytest.fixture
def trained():
    """Changes of all weights, the inputs first, in one step of gradient descent."""

    def run(function, inputs, **compilation):
        ones = keras.Input(batch_shape=inputs.shape)
        model = keras.Model(ones, function(Given(name="given")(ones)))
        model.get_layer("given").given.assign(inputs)
        weights = np.random.default_rng(2).normal(size=model.output_shape)

        def loss(y_true, y_pred):
            return keras.ops.sum(y_true * y_pred)

        model.compile(keras.optimizers.SGD(1.0), loss, **compilation)
        before = model.get_weights()
        weights = weights.astype("float32")
        images = np.ones_like(inputs)
        model.fit(images, weights, len(inputs), verbose=0, shuffle=False)
        return [old - new for old, new in zip(before, model.get_weights(), strict=True)]

    return run


@pytest.fixture
def operations():
    """Names of the operations that a layer asks its backend for."""

    def names(layer, inputs, **arguments):
        backend = keras.backend.backend()
        layer.build(inputs.shape)
        if backend == "tensorflow":
            import tensorflow as tf

            traced = tf.function(lambda x: layer(x, **arguments))
            graph = traced.get_concrete_function(inputs).graph
            return {operation.type for operation in graph.get_operations()}
        if backend == "jax":
            import jax

            def compute(x):
                return layer.stateless_call(
                    layer.trainable_variables, layer.non_trainable_variables, x
                )

            jaxpr = jax.make_jaxpr(compute)(inputs)
            return {equation.primitive.name for equation in jaxpr.eqns}
        inputs = keras.ops.convert_to_tensor(inputs).requires_grad_()
        found, to_visit = set(), [layer(inputs, **arguments).grad_fn]
        while to_visit:
            node = to_visit.pop()
            if node is not None:
                found.add(node.name())
                to_visit += [following for following, _ in node.next_functions]
        return found

    return names
