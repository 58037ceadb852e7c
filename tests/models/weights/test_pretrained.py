"""Strict loading, the two differences that are meant, and the way back."""

import logging

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_residual import PlainNet, ResNet, export_torch, load_pretrained

# Each of these examples builds a network, or reads one.
fewer_examples = settings(max_examples=settings.default.max_examples * 2 // 5)

numpy_files = pytest.importorskip("safetensors.numpy", reason="reads and writes files")


def small(num_classes=4, **arguments):
    return ResNet(8, num_classes, variant="cifar", **arguments)


@pytest.fixture(scope="module")
def network():
    """A small CIFAR network, which nobody changes."""
    return small(shortcut="projection")


@pytest.fixture
def state(network_file):
    """The tensors of a small CIFAR network, every one of them random."""
    return numpy_files.load_file(network_file)


@pytest.fixture(scope="module")
def network_file(tmp_path_factory, randomize):
    path = tmp_path_factory.mktemp("network") / "state.safetensors"
    model = small(shortcut="projection")
    randomize(model)
    export_torch(model, path)
    return path


@pytest.fixture
def refused(network, tmp_path, values):
    """Checks that changed tensors are refused with these words, and nothing is set."""

    def check(tensors, words, model=None):
        model = model or network
        before = values(model)
        numpy_files.save_file(tensors, tmp_path / "changed.safetensors")
        with pytest.raises(ValueError, match=words) as caught:
            load_pretrained(model, tmp_path / "changed.safetensors")
        for old, new in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(old, new)
        return str(caught.value)

    return check


@pytest.fixture(scope="module")
def loaded():
    """A network for one file after the other."""
    return small(shortcut="projection")


@pytest.mark.slow
@fewer_examples
@given(
    nesting=st.lists(st.sampled_from(["state_dict", "model"]), max_size=2),
    prefix=st.sampled_from(["", "module.", "module.module."]),
    type_name=st.sampled_from(["float16", "float32", "float64", "bfloat16"]),
    zipped=st.booleans(),
    counters=st.booleans(),
    suffix=st.sampled_from([".pth", ".pt", ".th", ".bin", ".pth.tar", ".PTH"]),
)
def test_however_a_checkpoint_is_wrapped(
    nesting,
    prefix,
    type_name,
    zipped,
    counters,
    suffix,
    torch,
    state,
    loaded,
    randomize,
    tmp_path,
):
    tensors = {
        prefix + name: torch.from_numpy(array)
        if array.dtype == "int64"
        else torch.from_numpy(array).to(getattr(torch, type_name))
        for name, array in state.items()
        if counters or not name.endswith("num_batches_tracked")
    }
    content = tensors
    for key in nesting:
        content = {"epoch": 3, key: content, "best_prec1": 0.9}
    path = tmp_path / f"wrapped{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    randomize(loaded, seed=1)
    assert load_pretrained(loaded, path) == []
    kernel = tensors[f"{prefix}layer2.0.shortcut.0.weight"].float().numpy()
    block = loaded.get_layer("stage2_block1")
    np.testing.assert_array_equal(
        block.projection.get_weights()[0], kernel.transpose(2, 3, 1, 0)
    )
    variance = tensors[f"{prefix}layer2.0.shortcut.1.running_var"].float().numpy()
    np.testing.assert_array_equal(block.projection_norm.get_weights()[3], variance)


@fewer_examples
@given(data=st.data())
def test_every_weight_must_be_there(data, state, refused):
    names = [n for n in state if not n.endswith("num_batches_tracked")]
    lost = data.draw(st.sampled_from(sorted(names)))
    rest = {name: array for name, array in state.items() if name != lost}
    if lost == "conv1.weight":
        refused(rest, "holds no residual network that this")
    else:
        refused(rest, f"In the model, not in the file: {lost}$")


@pytest.mark.slow
@pytest.mark.once
@fewer_examples
@given(
    name=st.from_regex(r"(layer[1-4]\.\d\.|extra\.)[a-z]{1,8}", fullmatch=True),
    shape=st.lists(st.integers(0, 3), max_size=4),
)
def test_every_tensor_must_be_used(name, shape, state, refused):
    more = {**state, name: np.ones(shape, "float32")}
    refused(more, f"In the file, not in the model: {name}$")


@fewer_examples
@given(data=st.data())
def test_shapes_must_be_equal(data, state, refused):
    names = [n for n, array in state.items() if array.ndim]
    changed = data.draw(st.sampled_from(sorted(names)))
    shape = state[changed].shape
    other = (shape[0] + 1, *shape[1:])
    message = refused({**state, changed: np.ones(other, "float32")}, "does not fit")
    assert f"{changed}: {other} in the file, {shape} in the model" in message


def test_all_problems_are_listed_at_once(state, refused):
    del state["bn1.bias"], state["layer1.0.conv1.weight"]
    state["layer9.weight"] = np.ones(3, "float32")
    state["layer2.0.conv1.weight"] = np.ones((32, 16, 5, 5), "float32")
    state["layer2.0.bn1.weight"] = np.ones(32, "int64")
    message = refused(state, "the model is unchanged")
    assert "not in the file: bn1.bias, layer1.0.conv1.weight" in message
    assert "not in the model: layer9.weight" in message
    assert "(32, 16, 5, 5) in the file, (32, 16, 3, 3) in the model" in message
    assert "layer2.0.bn1.weight: numbers of type int64 in the file" in message


def test_prefix_must_not_hide_a_tensor(state, refused):
    state["module.conv1.weight"] = state["conv1.weight"]
    refused(state, r"the tensor 'conv1.weight' with and without 'module.'")


def test_other_networks_are_refused(refused):
    refused({"features.0.weight": np.ones((64, 3, 3, 3), "float32")}, "features.0.weig")


@pytest.mark.parametrize("half", ["linear.weight", "linear.bias"])
def test_half_a_classifier_is_no_classifier(half, state, refused):
    del state[half]
    refused(state, f"In the model, not in the file: {half}$")
    refused(state, "linear", small(10, shortcut="projection"))


def test_other_classes_keep_the_backbone(state, tmp_path, values, caplog):
    numpy_files.save_file(state, tmp_path / "four.safetensors")
    model = small(7, shortcut="projection")
    head = model.get_layer("classifier").get_weights()
    whole = small(4, shortcut="projection", weights=tmp_path / "four.safetensors")
    with caplog.at_level(logging.WARNING, "keras_residual"):
        notes = load_pretrained(model, tmp_path / "four.safetensors")
    assert notes == ["the classifier is new: the file has 4 classes, the model 7"]
    assert notes[0] in caplog.text
    for old, new in zip(head, model.get_layer("classifier").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(values(whole)[:-2], values(model)[:-2], strict=True):
        np.testing.assert_array_equal(old, new)


def test_no_classifier_in_the_file_or_in_the_model(state, tmp_path, values):
    numpy_files.save_file(state, tmp_path / "whole.safetensors")
    model = small(include_top=False, shortcut="projection")
    notes = load_pretrained(model, tmp_path / "whole.safetensors")
    assert notes == ["the classifier of the file is left out: the model has none"]
    export_torch(model, tmp_path / "trunk.safetensors")
    trunk = numpy_files.load_file(tmp_path / "trunk.safetensors")
    assert set(state) - set(trunk) == {"linear.weight", "linear.bias"}

    again = small(include_top=False, shortcut="projection")
    assert load_pretrained(again, tmp_path / "trunk.safetensors") == []
    topped = small(3, shortcut="projection")
    notes = load_pretrained(topped, tmp_path / "trunk.safetensors")
    assert notes == ["the classifier is new: the file has none"]
    for old, new in zip(values(again), values(topped)[:-2], strict=True):
        np.testing.assert_array_equal(old, new)


def test_one_channel_sees_grey_as_three_saw_it(state, tmp_path, draw_images):
    numpy_files.save_file(state, tmp_path / "rgb.safetensors")
    rgb = small(shortcut="projection", weights=tmp_path / "rgb.safetensors")
    grey = small(shortcut="projection", input_shape=(32, 32, 1))
    notes = load_pretrained(grey, tmp_path / "rgb.safetensors")
    assert notes == ["the first kernel's three input channels are summed into one"]
    batch = draw_images(32, 32, 1)
    np.testing.assert_allclose(
        grey.predict(batch, verbose=0),
        rgb.predict(batch.repeat(3, axis=-1), verbose=0),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("channels", [2, 4, 7])
def test_other_channels_follow_timm(channels, torch, state, tmp_path):
    numpy_files.save_file(state, tmp_path / "rgb.safetensors")
    model = small(shortcut="projection", input_shape=(32, 32, channels))
    (note,) = load_pretrained(model, tmp_path / "rgb.safetensors")
    assert note.endswith(f"are repeated for {channels} and scaled by 3/{channels}")
    # The rule of timm's `adapt_input_conv`, in PyTorch.
    kernel = torch.from_numpy(state["conv1.weight"])
    expected = kernel.repeat(1, 3, 1, 1)[:, :channels] * (3 / channels)
    np.testing.assert_allclose(
        model.get_layer("stem_conv").get_weights()[0],
        expected.numpy().transpose(2, 3, 1, 0),
        rtol=1e-6,
    )


def test_channels_are_adapted_from_three_only(state, refused):
    state["conv1.weight"] = np.ones((16, 4, 3, 3), "float32")
    words = r"conv1.weight: \(16, 4, 3, 3\) in the file, \(16, 3, 3, 3\) in the model"
    refused(state, words)
    refused(
        state, r"\(16, 1, 3, 3\)", small(shortcut="projection", input_shape=(9, 9, 1))
    )


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: ResNet(18), r"ResNet\(8, variant='cifar'\)\. .*variant='torchvis"),
        (lambda: PlainNet(8, 4, variant="cifar"), r"as PlainNet\(8, variant='cifar'"),
        (lambda: small(), "In the file, not in the model: layer1.0.shortcut.0.weight"),
        (lambda: ResNet(14, 4, variant="cifar"), "of 8 layers, does not fit"),
    ],
)
def test_the_model_must_be_the_network_of_the_file(build, words, state, refused):
    refused(state, words, build())


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "variant"),
    [
        # Equal names and shapes, other outputs: only the stride tells them apart.
        pytest.param(
            {"depth": 50, "variant": "paper"},
            "paper",
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        pytest.param(
            {"depth": 50, "variant": "keras"},
            "keras",
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
        ({"depth": 18, "variant": "paper"}, "paper"),
        ({"depth": 18, "shortcut": "pad"}, "paper"),
    ],
)
def test_weights_of_torchvision_need_their_variant(
    arguments, variant, torch_resnet, torch, tmp_path
):
    torch.save(torch_resnet(arguments["depth"]).state_dict(), tmp_path / "weights.pth")
    shape = {"input_shape": (32, 32, 3)}
    with pytest.raises(
        ValueError, match=rf"variant='torchvision'\)\. .*variant='{variant}'\)"
    ):
        ResNet(**arguments, **shape, weights=tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=f"which computes the same .*variant='{variant}'"
    ):
        export_torch(ResNet(**arguments, **shape), tmp_path / "weights.safetensors")
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.slow
@pytest.mark.once
def test_paper_with_projections_is_torchvisions(torch_resnet, torch, tmp_path):
    torch.save(torch_resnet(18).state_dict(), tmp_path / "weights.pth")
    model = ResNet(18, variant="paper", shortcut="projection", input_shape=(32, 32, 3))
    # Stage 1 does not change the shape, and still has projections.
    with pytest.raises(ValueError, match=r"not in the file: layer1.0.downsample.0"):
        load_pretrained(model, tmp_path / "weights.pth")


@pytest.mark.parametrize("model", [None, "model", keras.Sequential()])
def test_only_networks_of_this_library(model):
    for function in (load_pretrained, export_torch):
        with pytest.raises(ValueError, match="`model` must be what ResNet or PlainNet"):
            function(model, "weights.safetensors")


def test_models_with_more_layers_are_refused():
    network = small()
    model = keras.Sequential([network, keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="not a model around it"):
        load_pretrained(model, "weights.safetensors")


def test_own_files_of_plain_networks(tmp_path, values):
    model = PlainNet(8, 4, variant="cifar")
    model.save_weights(tmp_path / "plain.weights.h5")
    again = PlainNet(8, 4, variant="cifar", weights=tmp_path / "plain.weights.h5")
    for old, new in zip(values(model), values(again), strict=True):
        np.testing.assert_array_equal(old, new)
    # Option A has no parameters: the residual twin takes the same file.
    assert load_pretrained(small(), tmp_path / "plain.weights.h5") == []
    with pytest.raises(ValueError, match=r"None or the path .*weights='torchvision'$"):
        PlainNet(18, weights="torchvision")


@pytest.mark.slow
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.once)])
def test_export_loads_strictly_into_torchvision(
    depth, torchvision, torch_resnet, forward, draw_images, values, tmp_path
):
    model = ResNet(depth, 5, input_shape=(65, 65, 3))
    export_torch(model, tmp_path / "weights.safetensors")
    load_file = pytest.importorskip("safetensors.torch").load_file
    network = torch_resnet(depth, num_classes=5)
    state = load_file(tmp_path / "weights.safetensors")
    assert set(state) == set(network.state_dict())
    network.load_state_dict(state, strict=True)
    batch = draw_images(65, 65)
    np.testing.assert_allclose(
        forward(network, batch), model.predict(batch, verbose=0), rtol=1e-4, atol=1e-4
    )
    again = ResNet(depth, 5, weights=tmp_path / "weights.safetensors")
    for old, new in zip(values(model), values(again), strict=True):
        np.testing.assert_array_equal(old, new)


def test_export_has_the_names_of_akamaster(torch, shared_data, tmp_path):
    path = shared_data("weights") / "resnet20-12fca82f.th"
    content = torch.load(path, map_location="cpu", weights_only=True)
    original = content["state_dict"]
    export_torch(
        ResNet(20, 10, variant="cifar", weights=path), tmp_path / "a.safetensors"
    )
    exported = numpy_files.load_file(tmp_path / "a.safetensors")
    for name, tensor in original.items():
        array = exported.pop(name.removeprefix("module."))
        np.testing.assert_array_equal(array, tensor.numpy())
    assert all(name.endswith("num_batches_tracked") for name in exported)


def test_export_says_that_it_is_of_pytorch(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    export_torch(small(), tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_export_replaces_a_file_only_by_a_whole_one(tmp_path, monkeypatch):
    target = tmp_path / "a.safetensors"
    target.write_bytes(b"what was there")

    def fail(tensors, path, **_):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(numpy_files, "save_file", fail)
    with pytest.raises(OSError, match="No space"):
        export_torch(small(), target)
    assert target.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("model", "path", "words"),
    [
        (small, "a.pth", r"`path` must end in .safetensors. Received: path='a.pth'"),
        (lambda: PlainNet(8, 4, variant="cifar"), "a.safetensors", "must be a ResNet"),
        (
            lambda: small(use_batch_norm=False),
            "a.safetensors",
            "no batch normalization",
        ),
        (lambda: small(normalization="group"), "a.safetensors", "but: group normaliz"),
        (
            lambda: ResNet(18, input_shape=(32, 32, 3), shortcut="projection"),
            "a.safetensors",
            "shortcuts projection in place of identity, projection",
        ),
    ],
)
def test_what_cannot_be_exported(model, path, words):
    with pytest.raises(ValueError, match=words):
        export_torch(model(), path)
