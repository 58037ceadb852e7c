"""Files that are damaged, hostile or something else: one clear error, nothing done."""

import os
import pickle
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_residual import ResNet, export_torch, load_pretrained
from keras_residual.models.weights._checkpoint_files import read_tensors

# Each of these examples builds a network, or reads one.
fewer_examples = settings(max_examples=settings.default.max_examples * 2 // 5)


class Hostile:
    """Unpickling it makes a folder: the sign that code of a file has run."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture(scope="module")
def model():
    return ResNet(8, 4, variant="cifar")


@pytest.fixture
def refused(model, values):
    """Checks that a file is refused with these words, and the model is as it was."""

    def check(path, words):
        before = values(model)
        with pytest.raises(ValueError, match=words) as caught:
            load_pretrained(model, path)
        assert str(path) in str(caught.value)
        for old, new in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(old, new)

    return check


@pytest.fixture(scope="module")
def good(model, tmp_path_factory):
    """The model in every format that is read."""
    folder = tmp_path_factory.mktemp("good")
    export_torch(model, folder / "good.safetensors")
    model.save_weights(folder / "good.weights.h5")
    model.save(folder / "good.keras")
    torch = pytest.importorskip("torch", reason="writes files of PyTorch")
    load_file = pytest.importorskip("safetensors.torch").load_file
    state = load_file(folder / "good.safetensors")
    torch.save(state, folder / "good.pth")
    torch.save(state, folder / "good.th", _use_new_zipfile_serialization=False)
    return folder


FORMATS = ["good.safetensors", "good.pth", "good.th", "good.weights.h5", "good.keras"]


@pytest.mark.parametrize("file", FORMATS)
def test_every_format_brings_the_same_weights(file, good, model, values):
    other = ResNet(8, 4, variant="cifar")
    assert load_pretrained(other, good / file) == []
    for old, new in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("file", ["model.weights.h5", "model.keras"])
def test_another_order_of_variables(file, refused, model, tmp_path, monkeypatch):
    """As a later Keras may save them: gamma and beta have one shape."""

    def save(norm, store):
        for number, name in enumerate(("beta", "gamma", "moving_mean")):
            store[str(number)] = getattr(norm, name)
        store["3"] = norm.moving_variance

    monkeypatch.setattr(keras.layers.BatchNormalization, "save_own_variables", save)
    if file == "model.keras":
        model.save(tmp_path / file)
    else:
        model.save_weights(tmp_path / file)
    refused(tmp_path / file, "as beta, gamma, .* reads gamma, beta, ")


def test_means_in_the_place_of_variances(refused, model, random_statistics, tmp_path):
    other = random_statistics(ResNet(8, 4, variant="cifar"))
    path = tmp_path / "other.weights.h5"
    other.save_weights(path)
    with h5py.File(path, "r+") as file:
        (group,) = [
            node["vars"]
            for node in file["layers"].values()
            if node["vars"].attrs.get("name") == "stem_bn"
        ]
        mean, variance = group["2"][:], group["3"][:]
        group["2"][:], group["3"][:] = variance, mean
    refused(path, "stem_bn/moving_variance: negative variances in the file")


@pytest.mark.parametrize("file", FORMATS)
def test_empty(file, refused, tmp_path):
    (tmp_path / file).touch()
    refused(tmp_path / file, "it is empty")


@pytest.mark.once
@pytest.mark.parametrize("file", FORMATS)
@fewer_examples
@given(share=st.floats(0, 0.999))
def test_truncated(file, share, good, refused, tmp_path):
    content = (good / file).read_bytes()
    (tmp_path / file).write_bytes(content[: int(share * len(content))])
    refused(tmp_path / file, "it is (empty|damaged or incomplete)")


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("file", FORMATS)
def test_truncated_anywhere(file, good, tmp_path):
    """In the signature, in what describes the tensors, in them, at the very end."""
    content = (good / file).read_bytes()
    middle = np.linspace(0, len(content), 300, dtype=int, endpoint=False)
    for length in {*range(1000), *middle, *range(len(content) - 100, len(content))}:
        (tmp_path / file).write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"it is (empty|damaged or incomplete)"):
            read_tensors(tmp_path / file)


# Not HDF5: its library can read a damaged file for ever.
@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("file", ["good.safetensors", "good.pth", "good.th"])
@fewer_examples
@given(
    places=st.lists(
        st.tuples(st.booleans(), st.integers(0, 6000), st.integers(0, 255)),
        min_size=1,
        max_size=20,
    )
)
def test_damaged(file, places, good, values, tmp_path):
    content = bytearray((good / file).read_bytes())
    for from_end, place, byte in places:
        content[-place - 1 if from_end else place] = byte
    (tmp_path / file).write_bytes(content)
    model = ResNet(8, 4, variant="cifar")
    before = values(model)
    try:
        load_pretrained(model, tmp_path / file)
    except ValueError:
        for old, new in zip(before, values(model), strict=True):
            np.testing.assert_array_equal(old, new)


@pytest.mark.once
@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("other", [*FORMATS, "page.html"])
def test_wrong_type(file, other, good, refused, tmp_path):
    if other == file or {file, other} == {"good.pth", "good.th"}:
        return
    page = b"\n<!DOCTYPE html><html><body>Not found</body></html>"
    content = page if other == "page.html" else (good / other).read_bytes()
    (tmp_path / file).write_bytes(content)
    # Keras and PyTorch both write zip archives.
    refused(tmp_path / file, "it is (a web page|not an? .* file|damaged or incomplete)")


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "nested.pth", "plain.pth"])
def test_hostile_pickle_is_not_executed(file, torch, refused, tmp_path):
    hostile = Hostile(tmp_path / "executed")
    if file == "plain.pth":
        (tmp_path / file).write_bytes(pickle.dumps(hostile))
    else:
        torch.save(
            {"state_dict": {"conv1.weight": torch.ones(1)}, "epoch": hostile}
            if file == "nested.pth"
            else hostile,
            tmp_path / file,
            _use_new_zipfile_serialization=file != "legacy.pth",
        )
    refused(tmp_path / file, "holds more than tensors")
    assert not (tmp_path / "executed").exists()
    # The file does what it is meant to do where it is trusted.
    if file == "plain.pth":
        pickle.loads((tmp_path / file).read_bytes())
    else:
        torch.load(tmp_path / file, weights_only=False)
    assert (tmp_path / "executed").is_dir()


def test_whole_module_is_refused(torch, refused, tmp_path):
    torch.save(torch.nn.Conv2d(3, 16, 3), tmp_path / "module.pth")
    refused(tmp_path / "module.pth", r"save model.state_dict\(\) alone")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "it holds a list, not a state_dict"),
        ({1: 2}, "it holds a dict, not a state_dict"),
        ({}, "it holds no tensors"),
        ({"state_dict": {}}, "it holds no tensors"),
        ({"conv1.weight": 1.5}, "'conv1.weight' is a float, not a tensor"),
    ],
)
def test_what_is_no_state_dict(content, words, torch, refused, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", words)


def test_tensors_that_claim_more_than_they_hold(torch, refused, tmp_path):
    torch.save({"conv1.weight": torch.zeros(1).expand(10**13)}, tmp_path / "huge.pth")
    refused(tmp_path / "huge.pth", "claims more numbers than it stores")
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1_conv"]
        file.create_dataset("conv1_conv/kernel:0", (10**6, 10**6), chunks=(64, 64))
    refused(tmp_path / "huge.h5", "it declares more data than it holds")


@pytest.mark.parametrize("length", [10**12, 2**63, 2**64 - 1])
def test_huge_safetensors_header(length, refused, tmp_path):
    header = length.to_bytes(8, "little") + b'{"conv1.weight":'
    (tmp_path / "huge.safetensors").write_bytes(header)
    refused(tmp_path / "huge.safetensors", "header")


@pytest.mark.parametrize("file", ["bomb.pth", "bomb.keras"])
def test_compressed_archives_cannot_grow(file, refused, tmp_path):
    with zipfile.ZipFile(tmp_path / file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    refused(tmp_path / file, "it declares more data than it holds")


def test_hdf5_leads_to_no_other_file(refused, tmp_path, good):
    (tmp_path / "secret").write_bytes(bytes(4 * 16))
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1_bn"]
        file.create_dataset(
            "conv1_bn/gamma:0", (16,), "float32", external=str(tmp_path / "secret")
        )
    refused(tmp_path / "external.h5", "points to another file")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((16,), "float32")
        layout[:] = h5py.VirtualSource(str(good / "good.weights.h5"), "a", (16,))
        file.create_virtual_dataset("conv1_bn/gamma:0", layout)
    refused(tmp_path / "virtual.h5", "points to another file")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(good / "good.weights.h5"), "layers")
    refused(tmp_path / "link.h5", "it holds no tensors")


def test_hdf5_holds_numbers_only(refused, tmp_path):
    with h5py.File(tmp_path / "records.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1_bn"]
        kind = h5py.vlen_dtype(np.dtype("float32"))
        file.create_dataset("conv1_bn/gamma:0", (4,), kind)
    refused(tmp_path / "records.h5", "holds other data than numbers")
    with h5py.File(tmp_path / "root.weights.h5", "w") as file:
        file["alone"] = np.zeros(3, "float32")
    refused(tmp_path / "root.weights.h5", "'alone' belongs to no named layer")


def test_files_without_layer_names_are_refused(good, refused, tmp_path):
    (tmp_path / "old.weights.h5").write_bytes((good / "good.weights.h5").read_bytes())
    with h5py.File(tmp_path / "old.weights.h5", "a") as file:
        del file["layers/conv2d/vars"].attrs["name"]
    refused(tmp_path / "old.weights.h5", "belongs to no named layer")


def test_pytorch_of_2016(refused, tmp_path):
    (tmp_path / "old.pth.tar").write_bytes(bytes(257) + b"ustar" + bytes(250))
    refused(tmp_path / "old.pth.tar", "format from before 2018")


def test_unknown_type_in_safetensors(refused, tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"a": np.ones(3, "uint8")}, tmp_path / "bytes.safetensors")
    refused(tmp_path / "bytes.safetensors", "'a' has the type U8")


def test_unknown_suffix(refused, tmp_path):
    (tmp_path / "weights.npz").write_bytes(b"PK")
    refused(tmp_path / "weights.npz", r"must end in .pth, .*\.keras")


def test_safetensors_need_no_pytorch(good, model, values, monkeypatch):
    if keras.backend.backend() == "torch":
        pytest.skip("PyTorch is the backend")
    monkeypatch.setitem(sys.modules, "torch", None)
    other = ResNet(8, 4, variant="cifar", weights=good / "good.safetensors")
    for old, new in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(old, new)


def test_without_pytorch_and_safetensors_it_says_what_to_install(
    good, model, monkeypatch
):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(
        ImportError, match=r"pip install 'keras-residual\[pretrained\]'"
    ):
        load_pretrained(model, good / "good.safetensors")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"good.pth is .* pip install torch"):
        load_pretrained(model, good / "good.pth")
    with pytest.raises(ImportError, match=r"pip install torch"):
        ResNet(18, weights="torchvision")


def test_legacy_files_of_this_library(model, values, tmp_path):
    model.save(tmp_path / "legacy.h5")
    other = ResNet(8, 4, variant="cifar", weights=tmp_path / "legacy.h5")
    for old, new in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16", "float64"])
@pytest.mark.parametrize("file", ["own.weights.h5", "own.keras", "own.safetensors"])
def test_own_files_of_other_types_come_back_exactly(file, policy, values, tmp_path):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless it is told to")
    keras.config.set_dtype_policy(policy)
    model = ResNet(8, 4, variant="cifar", drop_path_rate=0.1)
    if file.endswith(".safetensors"):
        if policy == "float64":
            pytest.skip("exported as float32")
        export_torch(model, tmp_path / file)
    else:
        (model.save if file.endswith("keras") else model.save_weights)(tmp_path / file)
    other = ResNet(8, 4, variant="cifar", drop_path_rate=0.1)
    load_pretrained(other, tmp_path / file)
    for old, new in zip(values(model), values(other), strict=True):
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
