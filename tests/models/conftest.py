"""Small networks, and references that torchvision computes in PyTorch."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="the reference is computed by PyTorch")


@pytest.fixture(scope="session")
def torchvision(torch):
    """torchvision, whose networks are plain PyTorch, but whose import is not.

    Beside another build of PyTorch than its own its operators cannot be loaded, and the
    import then fails unless two of them are declared. No network here has any.
    """
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is the reference, and is not installed")
    operators = None
    try:
        import torchvision
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor a, Tensor b, float threshold) -> Tensor")
        import torchvision
    yield torchvision
    del operators  # they go with this object


@pytest.fixture
def torch_resnet(torch, torchvision):
    """A function from a name to a torchvision network with random weights everywhere.

    A depth alone is the name of a ResNet.
    """

    def build(name, num_classes=1000, **arguments):
        torch.manual_seed(0)
        name = f"resnet{name}" if isinstance(name, int) else name
        network = getattr(torchvision.models, name)(
            weights=None, num_classes=num_classes, **arguments
        )
        last = "bn2" if name in ("resnet18", "resnet34") else "bn3"
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if name.endswith("running_var"):
                    tensor.uniform_(0.5, 2.0)
                elif name.endswith(("running_mean", "bn1.bias", "bn2.bias")):
                    tensor.normal_(0.0, 0.2)
                elif tensor.dim() == 1 and name.endswith(".weight"):
                    # Branches that do not add up to large numbers in deep networks.
                    scale = 0.2 if f"{last}.weight" in name else 1.0
                    tensor.uniform_(0.5 * scale, 1.5 * scale)
                elif name.endswith("bias"):
                    tensor.normal_(0.0, 0.2)
        return network.eval()

    return build


@pytest.fixture
def forward(torch):
    """The outputs of a PyTorch network for images in Keras's order of dimensions."""

    def outputs(network, images):
        with torch.no_grad():
            return network(torch.from_numpy(images.transpose(0, 3, 1, 2))).numpy()

    return outputs


@pytest.fixture
def draw_images():
    """A function from sizes to a batch of two random images."""

    def draw(height, width, channels=3, batch=2):
        generator = np.random.default_rng(height)
        return generator.normal(size=(batch, height, width, channels)).astype("float32")

    return draw


@pytest.fixture(scope="session")
def randomize():
    """Gives every variable of a Keras network another random value."""

    def set_all(model, seed=0):
        generator = np.random.default_rng(seed)
        for variable in model.weights:
            shape = variable.shape
            if variable.name in ("gamma", "moving_variance"):
                # The last normalization of a branch: see `torch_resnet`.
                last = "_3_bn" in variable.path and variable.name == "gamma"
                value = generator.uniform(0.5, 1.5, shape) * (0.2 if last else 1.0)
            elif variable.name == "kernel":
                fan_in = np.prod(shape[:-1])
                value = generator.normal(size=shape) * np.sqrt(2 / fan_in)
            else:
                value = generator.normal(size=shape) * 0.2
            variable.assign(value.astype("float32"))

    return set_all


@pytest.fixture
def values():
    """All values of a model, to see that none changed."""

    def read(model):
        return [np.array(keras.ops.convert_to_numpy(v.value)) for v in model.weights]

    return read


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype("uint8")


@pytest.fixture
def labels():
    return np.arange(16) % 2


@pytest.fixture
def mobile_net():
    """A keras.applications network, small, with new weights."""
    return keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None
    )


@pytest.fixture
def tiny():
    """A backbone of two blocks: where the network is not the subject, it is quick."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, name="block1_conv")(inputs)
    x = keras.layers.BatchNormalization(name="block1_bn")(x)
    x = keras.layers.Activation("relu", name="block1_relu")(x)
    x = keras.layers.Conv2D(4, 3, strides=4, name="block2_conv")(x)
    return keras.Model(inputs, x)


@pytest.fixture
def make_model():
    """A compiled TransferModel on a small residual network."""

    def make(backbone=None, **arguments):
        if backbone is None:
            backbone = ResNet(
                8, variant="cifar", include_top=False, shortcut="projection"
            )
        arguments = {"hidden_units": 8, "preprocessing": "torch", **arguments}
        model = TransferModel(backbone, 2, **arguments)
        model.compile(
            # Half as long to trace and compile as Adam, and with a state as well.
            keras.optimizers.SGD(1e-2, momentum=0.9),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        # TensorFlow traces a step twice where the step creates variables.
        model.optimizer.build(model.trainable_variables)
        return model

    return make
