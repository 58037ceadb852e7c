"""Weights by name: the table, the download, its hash, and what is said offline."""

import functools
import gc
import hashlib
import http.server
import re
import threading

import keras
import numpy as np
import pytest

from keras_residual import ResNet, export_torch, load_pretrained
from keras_residual.models.weights import _known_weights
from keras_residual.models.weights._known_weights import KNOWN, PublishedFile

# Files and names: what is in a file is read under every backend elsewhere.
pytestmark = pytest.mark.once


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A function that publishes the weights of a network, here, under a name."""
    model = ResNet(8, 4, variant="cifar")
    (tmp_path / "server").mkdir()
    export_torch(model, tmp_path / "server/weights.safetensors")
    content = (tmp_path / "server/weights.safetensors").read_bytes()

    def publish(url=None, digest=None, algorithm="sha256"):
        url = url or (tmp_path / "server").as_uri()
        digest = digest or hashlib.new(algorithm, content).hexdigest()
        file = PublishedFile(f"{url}/weights.safetensors", digest, algorithm)
        monkeypatch.setitem(KNOWN, ("torchvision", "cifar"), {(8, 1, 64): file})
        return model

    return publish


@pytest.fixture
def server(tmp_path):
    """Address and log of a server of the folder."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, message, *arguments):
            requests.append(message % arguments)

    handler = functools.partial(Handler, directory=str(tmp_path / "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", requests
        running.shutdown()
        thread.join()


def equal(model, other):
    for old, new in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_downloads_once_and_checks_the_hash(algorithm, server, published, home):
    url, requests = server
    model = published(url, algorithm=algorithm)
    loaded = ResNet(8, 4, variant="cifar", weights="torchvision")
    equal(model, loaded)
    assert len(requests) == 1
    assert [p.name for p in (home / "models").iterdir()] == ["weights.safetensors"]
    assert load_pretrained(ResNet(8, 4, variant="cifar"), "torchvision") == []
    assert len(requests) == 1


def test_the_first_digits_of_a_hash_are_enough(published, home):
    model = published()
    whole = KNOWN["torchvision", "cifar"][8, 1, 64].digest
    model = published(digest=whole[:8])
    equal(model, ResNet(8, 4, variant="cifar", weights="torchvision"))


@pytest.mark.parametrize("digest", ["00000000", "0" * 64])
def test_another_hash_is_refused_and_nothing_kept(digest, published, home):
    published(digest=digest)
    with pytest.raises(ValueError, match=f"but {digest} is published.* was removed"):
        ResNet(8, 4, variant="cifar", weights="torchvision")
    assert list((home / "models").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_replaced(published, home):
    model = published()
    (home / "models").mkdir(parents=True)
    (home / "models/weights.safetensors").write_bytes(b"half a file")
    equal(model, ResNet(8, 4, variant="cifar", weights="torchvision"))


# Keras 3.15.1 leaves the answer 404 open (2026-11-28): whether Python warns of its
# socket depends on what it collects first.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_offline_says_where_to_put_the_file(published, home, server, tmp_path):
    url, _ = server
    model = published(url + "/nowhere")
    target = home / "models/weights.safetensors"
    with pytest.raises(ConnectionError) as caught:
        ResNet(8, 4, variant="cifar", weights="torchvision")
    message = str(caught.value)
    assert f"{url}/nowhere/weights.safetensors could not be downloaded" in message
    assert f"save the file as {target}" in message
    assert list((home / "models").iterdir()) == []
    del caught
    gc.collect()

    target.write_bytes(b"another file")
    with pytest.raises(ConnectionError, match="there now is another one: its hash is"):
        ResNet(8, 4, variant="cifar", weights="torchvision")
    # What the message says helps.
    target.write_bytes((tmp_path / "server/weights.safetensors").read_bytes())
    equal(model, ResNet(8, 4, variant="cifar", weights="torchvision"))


def test_a_download_that_breaks_off_leaves_nothing(published, home, monkeypatch):
    published()

    def break_off(name, *, cache_dir, cache_subdir, **_):
        (home / "models").mkdir(parents=True)
        (home / "models" / name).write_bytes(b"half")
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", break_off)
    with pytest.raises(ConnectionError, match="URL fetch failure"):
        ResNet(8, 4, variant="cifar", weights="torchvision")
    assert not (home / "models/weights.safetensors").exists()


def test_the_cache_of_keras_is_the_default(monkeypatch, tmp_path, published):
    model = published()
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setattr(_known_weights.Path, "home", lambda: tmp_path)
    equal(model, ResNet(8, 4, variant="cifar", weights="torchvision"))
    assert (tmp_path / ".keras/models/weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.once
def test_the_table_is_torchvisions(torchvision):
    names = {
        (50, 32, 4): "resnext50_32x4d",
        (101, 32, 8): "resnext101_32x8d",
        (101, 64, 4): "resnext101_64x4d",
        (50, 1, 128): "wide_resnet50_2",
        (101, 1, 128): "wide_resnet101_2",
        **{(depth, 1, 64): f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    }
    for name, version in (("torchvision", 1), ("torchvision:v2", 2)):
        for size, file in KNOWN[name, "torchvision"].items():
            weights = torchvision.models.get_model_weights(names[size])
            # The only weights of ResNeXt-101 64x4d are made by the second recipe.
            found = list(weights)[-1] if size == (101, 64, 4) else None
            found = found or weights[f"IMAGENET1K_V{version}"]
            assert found.url == file.url


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"groups": 32, "width_per_group": 8},
            r"depth 101, groups=32, width_per_group=8.*Rec.*groups=32, width_per_group",
        ),
        ({"widen_factor": 2}, "must be None or the path of a file .* that exists. Rec"),
        ({"preactivation": True}, "path of a file of weights that exists. Received"),
    ],
)
def test_weights_of_another_width_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        ResNet(50, weights="torchvision", **arguments)


def test_every_digest_is_published_with_the_file():
    for files in KNOWN.values():
        for file in files.values():
            if file.algorithm == "sha256":
                assert re.search(r"-([0-9a-f]{8})\.pth$", file.url)[1] == file.digest
            else:
                assert re.fullmatch("[0-9a-f]{32}", file.digest)


def test_every_name_is_in_the_guide(root):
    guide = (root / "docs/guides/pretrained.md").read_text()
    for (name, _), files in KNOWN.items():
        assert f'`"{name}"`' in guide
        for file in files.values():
            assert file.name in guide


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"weights": "imagenet", "variant": "cifar", "depth": 20},
            "depth 50, 101, 152",
        ),
        (
            {"weights": "imagenet", "variant": "keras"},
            "Received: weights='imagenet', d",
        ),
        ({"weights": "torchvision:v2"}, "is for depth 50, 101, 152 with variant='torc"),
        ({"weights": "timm:resnet50.a1_in1k"}, "is for depth 50 with"),
        ({"weights": "timm:resnet18.b9"}, r"or 'timm:resnet18.a1_in1k'.*18.b9'$"),
        ({"weights": "nowhere.pth"}, r"must be None or the path .*'nowhere.pth'$"),
        ({"weights": ["torchvision"]}, r"Received: weights=\['torchvision'\]"),
        ({"weights": "a\0b"}, "Received: weights='a"),
    ],
)
def test_unknown_sources_are_refused_before_anything_is_built(
    arguments, words, monkeypatch
):
    monkeypatch.setattr(keras, "Input", None)
    with pytest.raises(ValueError, match=words):
        ResNet(**{"depth": 18, **arguments})


def test_load_pretrained_names_its_own_argument():
    model = ResNet(8, 4, variant="cifar")
    with pytest.raises(ValueError, match=r"`source` must be the path .*source=None$"):
        load_pretrained(model, None)
