import keras
import numpy as np
import pytest

from keras_residual import TransferModel


@pytest.fixture
def passes(monkeypatch):
    """How many batches went through a network."""
    counted = []
    original = keras.Model.predict_on_batch

    def predict_on_batch(self, images):
        counted.append(len(images))
        return original(self, images)

    monkeypatch.setattr(keras.Model, "predict_on_batch", predict_on_batch)
    return counted


def network(seed, strides=2, activation="relu", name=None):
    """Cheap to run; built again, its layers have other names."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 3, strides, activation=activation, name=name)(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(5, 1)(x))


def build(seed=0, **arguments):
    arguments = {"hidden_units": None, "preprocessing": "tf", **arguments}
    model = TransferModel(network(seed), 2, **arguments)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


class Shuffled(keras.utils.PyDataset):
    """Other batches in another order at each reading, and one label with each image."""

    def __init__(self, images, labels, noise=0):
        super().__init__()
        self.images, self.labels, self.noise = images, labels, noise
        self.generator = np.random.default_rng(1)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 0:
            self.order = self.generator.permutation(len(self.images)).reshape(4, -1)
        rows = self.order[index]
        noise = self.generator.integers(0, self.noise + 1)
        return self.images[rows] // 2 + noise, self.labels[rows]


@pytest.mark.slow
def test_a_file_saves_the_pass_and_gives_the_same(passes, images, labels, tmp_path):
    path = tmp_path / "features.h5"
    expected = build().cache_features(images, labels, verbose=0)
    del passes[:]
    model = build()
    first = model.cache_features(
        images, labels, filepath=path, batch_size=5, copies=2, verbose=0
    )
    assert passes == 2 * [5, 5, 5, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["features.h5"]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for again in (model, build(), loaded):
        cache = again.cache_features(images, labels, filepath=path, copies=2)
        np.testing.assert_array_equal(cache.features, first.features)
        again.fit(cache, validation_data=cache, batch_size=8, verbose=0)
    assert len(passes) == 8
    np.testing.assert_allclose(cache.features[16:], expected.features, rtol=1e-5)
    np.testing.assert_array_equal(cache.labels, np.tile(labels, 2))
    assert isinstance(cache.features, np.memmap)


@pytest.mark.parametrize(
    "change", ["pixel", "label", "order", "copies", "weights", "preprocessing", "dtype"]
)
def test_never_stale(change, passes, images, labels, tmp_path, caplog):
    path, model, copies = tmp_path / "features.h5", build(), 1
    model.cache_features(images, labels, filepath=path, verbose=0)
    if change == "pixel":
        images[3, 4, 5, 2] ^= 1
    elif change == "label":
        labels[15] = 0
    elif change == "order":
        images, labels = images[::-1], labels[::-1]
    elif change == "copies":
        copies = 2
    elif change == "weights":
        model.backbone.layers[-1].bias.assign(np.ones(5))
    elif change == "preprocessing":
        model = build(preprocessing="torch")
    else:
        images = images.astype("float32")
    del passes[:]
    cache = model.cache_features(
        images, labels, filepath=path, copies=copies, verbose=0
    )
    assert passes == [16] * copies
    assert "computing them again" in caplog.text
    fresh = model.cache_features(images, labels, copies=copies, verbose=0)
    np.testing.assert_array_equal(cache.features, fresh.features)
    np.testing.assert_array_equal(cache.labels, fresh.labels)
    del passes[:]
    model.cache_features(images, labels, filepath=path, copies=copies, verbose=0)
    assert passes == []


@pytest.mark.parametrize(
    "change", [{"strides": 1}, {"activation": "tanh", "name": "tanh"}]
)
def test_equal_weights_in_another_network(change, images, labels, tmp_path, caplog):
    path = tmp_path / "features.h5"
    model = TransferModel(network(0, name="relu"), 2, preprocessing="tf")
    cache = model.cache_features(images, labels, filepath=path, verbose=0)
    other = TransferModel(network(0, **change), 2, preprocessing="tf")
    for ours, theirs in zip(
        other.backbone.get_weights(), model.backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    other.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="must be features of this model's backbone"):
        other.fit(cache)
    other.cache_features(images, labels, filepath=path, verbose=0)
    assert "another backbone" in caplog.text


def test_shuffled_data_are_the_same_and_augmented_are_not(
    passes, images, labels, tmp_path, caplog
):
    path, model = tmp_path / "features.h5", build()
    first = model.cache_features(Shuffled(images, labels), filepath=path, verbose=0)
    del passes[:]
    data = Shuffled(images, labels)
    for _ in range(2):
        again = model.cache_features(data, filepath=path, verbose=0)
        np.testing.assert_array_equal(again.features, first.features)
    assert passes == []
    # The same images and the same labels, in other pairs.
    model.cache_features(Shuffled(images, labels[::-1]), filepath=path, verbose=0)
    assert len(passes) == 4
    random = Shuffled(images, labels, noise=99)
    kept = model.cache_features(random, filepath=path, copies=2, verbose=0)
    caplog.clear()
    other = model.cache_features(random, filepath=path, copies=2, verbose=0)
    assert "random at each reading" in caplog.text
    assert not np.array_equal(kept.features, other.features)
    # Who says so gets the file as it is, for the right model only.
    taken = model.cache_features(None, filepath=path)
    np.testing.assert_array_equal(taken.features, other.features)
    with pytest.raises(ValueError, match="must be features of this model's backbone"):
        build(seed=1).cache_features(None, filepath=path)


def flip(content, position):
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content, _: b"image,label\n", "signature"),
        (lambda content, _: b"", ""),
        (lambda content, _: content[: len(content) // 2], ""),
        (lambda content, _: flip(content, content.index(b"made_by") + 12), "checksum"),
        (lambda content, part: flip(content, content.index(part) + 4), "checksum"),
        (None, "no cached features"),
    ],
    ids=["text", "empty", "half", "origin", "features", "weights"],
)
def test_damaged_and_foreign_files_stay(damage, reason, images, labels, tmp_path):
    path, model = tmp_path / "features.weights.h5", build()
    if damage is None:
        model.save_weights(path)
    else:
        cache = model.cache_features(images, labels, filepath=path, verbose=0)
        features = cache.features.tobytes()
        path.write_bytes(damage(path.read_bytes(), features))
    before = path.read_bytes()
    for data in ((images, labels), (None,)):
        with pytest.raises(ValueError, match=f"`filepath` must be a new.*{reason}"):
            model.cache_features(*data, filepath=path, verbose=0)
    assert path.read_bytes() == before


def test_interrupted(images, labels, tmp_path):
    class Breaking(Shuffled):
        def __getitem__(self, index):
            if index == 3:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    path, model = tmp_path / "features.h5", build()
    with pytest.raises(KeyboardInterrupt):
        model.cache_features(Breaking(images, labels), filepath=path, verbose=0)
    assert list(tmp_path.iterdir()) == []
    model.cache_features(images, labels, filepath=path, verbose=0)
    before = path.read_bytes()
    other = build(seed=1)
    with pytest.raises(KeyboardInterrupt):
        other.cache_features(Breaking(images, labels), filepath=path, verbose=0)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_progress(images, labels, capsys):
    build().cache_features(images, labels, copies=3, batch_size=8)
    assert "6/6" in capsys.readouterr().out
    build().cache_features(images, labels, verbose=0)
    assert capsys.readouterr().out == ""


def test_bad_arguments(images, labels, tmp_path):
    model, path = build(), tmp_path / "features.h5"
    for filepath, message in [
        (tmp_path / "features.npz", r"end in \.h5"),
        (7, "a path"),
        (tmp_path / "nowhere" / "features.h5", "in a folder that exists"),
    ]:
        with pytest.raises(ValueError, match=f"`filepath` must .*{message}"):
            model.cache_features(images, labels, filepath=filepath)
    with pytest.raises(ValueError, match="`verbose` must be one of 0, 1"):
        model.cache_features(images, labels, verbose=2)
    for arguments in ({}, {"filepath": path}):
        with pytest.raises(ValueError, match="`dataset` must be images or a data set"):
            model.cache_features(None, **arguments)
    with pytest.raises(ValueError, match=r"be read again .* or `filepath` is given"):
        model.cache_features((pair for pair in [(images, labels)]), filepath=path)
    with pytest.raises(ValueError, match=r"must hold images\. Received: no batch"):
        model.cache_features([], filepath=path)
    assert not path.exists()


def test_data_that_never_end(images, labels):
    class Endless(Shuffled):
        num_batches = None

    with pytest.raises(ValueError, match="`dataset` must come to an end"):
        build().cache_features(Endless(images, labels))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4).repeat()
        with pytest.raises(ValueError, match="`dataset` must come to an end"):
            build().cache_features(data)
