"""The same numbers as the libraries that weights come from."""

import h5py
import keras
import numpy as np
import pytest

from keras_residual import ResNet, export_torch, load_pretrained
from keras_residual.datasets._strips import read_strips

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def outputs(model, batch):
    """Not `predict`: compiling a deep network takes longer than running it once."""
    return keras.ops.convert_to_numpy(model(batch, training=False))


@pytest.mark.parametrize(
    ("depth", "sizes"),
    [
        (18, [(65, 97), (224, 224)]),
        pytest.param(34, [(64, 97)], marks=[pytest.mark.once, pytest.mark.slow]),
        pytest.param(50, [(64, 64), (65, 97)], marks=pytest.mark.slow),
        pytest.param(101, [(65, 65)], marks=[pytest.mark.once, pytest.mark.slow]),
    ],
)
def test_outputs_are_those_of_torchvision(
    depth, sizes, torch, torch_resnet, forward, draw_images, tmp_path
):
    reference = torch_resnet(depth)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = ResNet(depth, input_shape=(None, None, 3))
    assert load_pretrained(model, tmp_path / "weights.pth") == []
    for height, width in sizes:
        batch = draw_images(height, width)
        expected = forward(reference, batch)
        assert expected.std() > 0.05  # outputs that depend on the images
        np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnext50_32x4d", {"groups": 32, "width_per_group": 4}),
        pytest.param(
            "wide_resnet50_2", {"width_per_group": 128}, marks=pytest.mark.once
        ),
    ],
)
def test_wide_and_grouped_networks_are_those_of_torchvision(
    name, arguments, torch, torch_resnet, forward, draw_images, tmp_path
):
    reference = torch_resnet(name)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = ResNet(50, input_shape=(None, None, 3), **arguments)
    assert load_pretrained(model, tmp_path / "weights.pth") == []
    batch = draw_images(64, 97)
    expected = forward(reference, batch)
    assert expected.std() > 0.05
    np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)
    # ... and back, strictly.
    export_torch(model, tmp_path / "back.safetensors")
    torch_files = pytest.importorskip("safetensors.torch")
    again = torch_files.load_file(tmp_path / "back.safetensors")
    reference.load_state_dict(again, strict=True)
    np.testing.assert_allclose(forward(reference, batch), expected, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("output_stride", "dilated"),
    [
        (8, [False, True, True]),
        pytest.param(16, [False, False, True], marks=pytest.mark.once),
    ],
)
def test_dilated_networks_are_those_of_torchvision(
    output_stride, dilated, torch, torch_resnet, forward, draw_images, tmp_path
):
    reference = torch_resnet(50, replace_stride_with_dilation=dilated)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = ResNet(
        50,
        input_shape=(None, None, 3),
        output_stride=output_stride,
        weights=tmp_path / "weights.pth",
    )
    batch = draw_images(65, 97)
    expected = forward(reference, batch)
    assert expected.std() > 0.05
    np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth", "arguments"),
    [
        ("resnet50d", 50, {"variant": "resnet_d"}),
        pytest.param("resnet18d", 18, {"variant": "resnet_d"}, marks=pytest.mark.once),
        ("seresnet50", 50, {"squeeze_excitation": 16}),
    ],
)
def test_outputs_are_those_of_timm(
    name, depth, arguments, torch, forward, draw_images, tmp_path
):
    timm = pytest.importorskip("timm")
    model = ResNet(depth, 10, input_shape=(None, None, 3), **arguments)
    reference = timm.create_model(name, num_classes=10).eval()
    random_statistics_of(reference, torch)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    assert load_pretrained(model, tmp_path / "weights.pth") == []
    # Odd sizes too: the average over two pixels meets a border of one.
    for sizes in ((64, 96), (71, 97)):
        batch = draw_images(*sizes)
        expected = forward(reference, batch)
        assert expected.std() > 0.01
        np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)


def random_statistics_of(network, torch):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif name.endswith(("running_mean", "bias")):
                tensor.normal_(0.0, 0.2)
            elif tensor.dim() == 1 and name.endswith(".weight"):
                tensor.uniform_(0.2, 0.6)


@pytest.mark.slow
def test_features_are_those_of_torchvision(torch, torch_resnet, draw_images, tmp_path):
    reference = torch_resnet(18)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = ResNet(
        18,
        include_top=False,
        input_shape=(3, 70, 50),
        data_format="channels_first",
        weights=tmp_path / "weights.pth",
    )
    batch = draw_images(70, 50).transpose(0, 3, 1, 2)
    with torch.no_grad():
        trunk = torch.nn.Sequential(*list(reference.children())[:-2])
        expected = trunk(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)


@pytest.mark.parametrize(
    "depth", [18, pytest.param(50, marks=[pytest.mark.once, pytest.mark.slow])]
)
def test_a_training_step_moves_the_statistics_as_in_torchvision(
    depth, torch, torch_resnet, draw_images, tmp_path
):
    reference = torch_resnet(depth)
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    model = ResNet(depth, input_shape=(65, 65, 3), weights=tmp_path / "weights.pth")
    before = {k: v.numpy().copy() for k, v in reference.state_dict().items()}

    # PyTorch's running variance is the unbiased one, Keras's the biased one.
    counts = {}
    for name, layer in reference.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(
                lambda _, inputs, __, name=name: counts.update(
                    {name: inputs[0].numel() // inputs[0].shape[1]}
                )
            )
    batch = draw_images(65, 65)
    reference.train()
    with torch.no_grad():
        expected = reference(torch.from_numpy(batch.transpose(0, 3, 1, 2))).numpy()
    trained = keras.ops.convert_to_numpy(model(batch, training=True))
    np.testing.assert_allclose(trained, expected, rtol=1e-3, atol=1e-3)

    export_torch(model, tmp_path / "after.safetensors")
    after = pytest.importorskip("safetensors.numpy").load_file(
        tmp_path / "after.safetensors"
    )
    moved = 0
    for name, tensor in reference.state_dict().items():
        if name.endswith("running_mean"):
            np.testing.assert_allclose(after[name], tensor.numpy(), **CLOSE)
            moved += np.abs(after[name] - before[name]).max() > 1e-3
        elif name.endswith("running_var"):
            n = counts[name.removesuffix(".running_var")]
            kept = 0.9 * before[name]
            unbiased = kept + (after[name] - kept) * n / (n - 1)
            np.testing.assert_allclose(unbiased, tensor.numpy(), **CLOSE)
    assert moved == len(counts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "file", ["model.weights.h5", pytest.param("legacy.h5", marks=pytest.mark.once)]
)
def test_outputs_are_those_of_keras_applications_50(
    file, randomize, draw_images, tmp_path
):
    reference = keras.applications.ResNet50(weights=None, input_shape=(64, 96, 3))
    randomize(reference)
    if file == "model.weights.h5":
        reference.save_weights(tmp_path / file)
    else:
        with h5py.File(tmp_path / file, "w") as content:
            write_legacy(reference, content)
    model = ResNet(50, variant="keras", input_shape=(64, 96, 3))
    assert load_pretrained(model, tmp_path / file) == []
    batch = 10 * draw_images(64, 96)
    expected = outputs(reference, batch)
    assert expected.std() > 1e-4
    np.testing.assert_allclose(outputs(model, batch), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("depth", [101, 152])
def test_outputs_are_those_of_keras_applications(
    depth, randomize, draw_images, tmp_path
):
    reference = getattr(keras.applications, f"ResNet{depth}")(
        weights=None,
        classes=10,
        input_shape=(65, 65, 3),
        classifier_activation=None,
    )
    randomize(reference)
    reference.save_weights(tmp_path / "reference.weights.h5")
    model = ResNet(
        depth,
        10,
        variant="keras",
        input_shape=(65, 65, 3),
        classifier_activation="linear",
        weights=tmp_path / "reference.weights.h5",
    )
    batch = draw_images(65, 65)
    expected = outputs(reference, batch)
    assert expected.std() > 0.05
    np.testing.assert_allclose(outputs(model, batch), expected, **CLOSE)


def write_legacy(model, group):
    """The layout of the files that keras.applications downloads.

    Its classifier is called "probs", as in the version of 2019 that wrote them.
    """
    rename = {"predictions": "probs"}
    layers = [rename.get(layer.name, layer.name) for layer in model.layers]
    group.attrs["layer_names"] = [name.encode() for name in layers]
    group.attrs["backend"] = b"tensorflow"
    group.attrs["keras_version"] = b"2.2.4"
    for name, layer in zip(layers, model.layers, strict=True):
        inner = group.create_group(name)
        names = [f"{name}/{weight.name}:0" for weight in layer.weights]
        inner.attrs["weight_names"] = [n.encode() for n in names]
        for weight_name, weight in zip(names, layer.weights, strict=True):
            inner[weight_name] = keras.ops.convert_to_numpy(weight.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "depth", "right"),
    # Published: 91.73 and 92.63 %.
    [
        ("resnet20-12fca82f.th", 20, 9173),
        pytest.param("resnet32-d509ac18.th", 32, 9263, marks=pytest.mark.once),
    ],
)
def test_accuracy_on_cifar10_is_the_published_one(
    file, depth, right, torch, shared_data
):
    path = shared_data("weights") / file
    images, labels = read_strips(shared_data("cifar10"), "test", tile=32)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = ((images / 255 - mean) / deviation).astype("float32")
    model = ResNet(depth, 10, variant="cifar", weights=path)
    logits = model.predict(images, batch_size=500, verbose=0)
    assert len(images) == 10_000
    assert (logits.argmax(axis=1) == labels).sum() == right
