"""What the model puts out, and what `classify` and `features` say of photos."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_residual import TransferModel

NAMES = ["cat", "dog", "owl"]


def make(backbone, **arguments):
    arguments = {"preprocessing": "tf", "hidden_units": None, **arguments}
    return TransferModel(backbone, **arguments)


def own_head(model):
    """Weights under which the outputs are `[0, 1, 2] + 0 * features`."""
    width = model.num_classes
    model.head.set_weights(
        [np.zeros_like(model.head.get_weights()[0]), np.arange(width, dtype="float32")]
    )
    return model


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum()


# --- names


def test_class_names_count_and_are_in_the_file(tiny, images, tmp_path):
    model = own_head(make(tiny, class_names=NAMES))
    assert model.num_classes == 3
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.class_names == NAMES

    expected = softmax(np.arange(3.0))
    ranked = loaded.classify(images[:2])
    assert [[name for name, _ in row] for row in ranked] == [["owl", "dog", "cat"]] * 2
    np.testing.assert_allclose(
        [[p for _, p in row] for row in ranked], [expected[::-1]] * 2, rtol=1e-5
    )
    assert loaded.classify(images[0]) == ranked[0]  # one image: its own list
    assert loaded.classify(list(images[:2])) == ranked
    assert isinstance(ranked[0][0][1], float)


@pytest.mark.once
def test_without_names_the_numbers_are_the_names(tiny, images):
    ranked = own_head(make(tiny, num_classes=2)).classify(images[0])
    assert [name for name, _ in ranked] == ["1", "0"]


# --- photos in files


@pytest.mark.parametrize("value_range", [(0, 255), (0, 1)])
def test_a_file_is_read_upright_cut_and_scaled(tiny, value_range, tmp_path):
    """The photo lies on its side, and is wider than the model's square."""
    upright = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype("uint8")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned to the right
    file = tmp_path / "photo.png"
    Image.fromarray(np.rot90(upright)).save(file, exif=exif)
    model = make(tiny, class_names=NAMES, value_range=value_range)
    cut = upright[:, 8:40] * np.float32(value_range[1] / 255)

    np.testing.assert_allclose(
        model.features(file), model.features(cut), rtol=1e-4, atol=1e-4
    )
    expected = model.predict(cut[None], verbose=0)[0]
    ranked = model.classify([str(file), cut])
    for row in ranked:
        found = dict(row)
        np.testing.assert_allclose([found[name] for name in NAMES], expected, rtol=1e-4)
        assert [p for _, p in row] == sorted(found.values(), reverse=True)


def test_features_are_the_cached_ones(make_model, tiny, images, labels):
    model = make_model(tiny)
    cached = model.cache_features(images, labels, verbose=0)
    found = model.features(images, batch_size=5)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, cached.features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.features(images[3]), found[3:4], rtol=1e-4)


def test_images_of_several_sizes(mobile_net_of_any_size, images):
    model = make(mobile_net_of_any_size, num_classes=2)
    small, large = images[0], np.tile(images[1], (2, 1, 1))
    both = model.classify([small, large])
    for row, image in zip(both, (small, large), strict=True):
        alone = model.classify(image)
        np.testing.assert_allclose(
            [p for _, p in row], [p for _, p in alone], rtol=1e-4
        )
    with pytest.raises(ValueError, match="`image_size` must be given"):
        model.classify("photo.jpg")


@pytest.fixture
def mobile_net_of_any_size():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))


@pytest.mark.once
@pytest.mark.parametrize("method", ["classify", "features"])
def test_bad_photos_are_refused(method, tiny, images, tmp_path):
    model = make(tiny, num_classes=2)
    run = getattr(model, method)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    with pytest.raises(ValueError, match=r"broken\.jpg cannot be read"):
        run([broken])
    with pytest.raises(ValueError, match=r"none\.jpg cannot be read"):
        run(tmp_path / "none.jpg")
    with pytest.raises(ValueError, match="these look like 0 to 1"):
        run(images / 255)
    with pytest.raises(ValueError, match=r"at least one\. Received: images=\[\]"):
        run([])
    with pytest.raises(ValueError, match="must be a path, an image of three"):
        run(images[0, 0])
    unchecked = make(tiny, num_classes=2, preprocessing=None, value_range=None)
    with pytest.raises(ValueError, match="`images` must be arrays, not paths"):
        getattr(unchecked, method)(broken)


# --- labels, logits, regression


def train(model, loss, images, labels):
    model.compile("sgd", loss)
    model.fit(images, labels, verbose=0)
    return model


def test_several_labels(tiny, images):
    model = make(tiny, class_names=NAMES, activation="sigmoid")
    labels = np.random.default_rng(0).integers(0, 2, (16, 3))
    own_head(train(model, "binary_crossentropy", images, labels))
    probabilities = dict(model.classify(images[0]))
    expected = 1 / (1 + np.exp(-np.arange(3.0)))
    np.testing.assert_allclose(
        [probabilities[name] for name in NAMES], expected, rtol=1e-5
    )
    for bad in (labels[:, :2], 2 * labels, labels[:, 0]):
        with pytest.raises(ValueError, match="numbers from 0 to 1, 3 for each image"):
            model.fit(images, bad)


@pytest.mark.once
def test_one_label(tiny, images, labels):
    model = make(tiny, num_classes=1, activation="sigmoid")
    own_head(train(model, "binary_crossentropy", images, labels))
    assert model.classify(images[0]) == [("0", 0.5)]


def test_logits_take_a_loss_of_logits(tiny, images, labels):
    model = make(tiny, class_names=NAMES, activation="linear")
    for loss in ("sparse_categorical_crossentropy", "binary_crossentropy"):
        with pytest.raises(ValueError, match="`loss` must have from_logits=True"):
            model.compile("sgd", loss)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    own_head(train(model, loss, images, labels))
    assert model.predict(images[:1], verbose=0).tolist() == [[0, 1, 2]]
    probabilities = dict(model.classify(images[0]))
    np.testing.assert_allclose(
        [probabilities[name] for name in NAMES], softmax(np.arange(3.0)), rtol=1e-5
    )
    with pytest.raises(ValueError, match="class numbers from 0 to 2"):
        model.fit(images, labels + 2)


def test_regression(tiny, images):
    model = make(tiny, num_classes=2, activation="linear")
    targets = np.random.default_rng(0).normal(size=(16, 2))
    train(model, "mse", images, targets)
    # Keras would compare each target with both outputs.
    with pytest.raises(ValueError, match="numbers, 2 for each image"):
        model.fit(images, targets[:, 0])
    with pytest.raises(ValueError, match="`classify` needs probabilities"):
        model.classify(images[0])
    cache = model.cache_features(images, targets, verbose=0)
    model.fit(cache, verbose=0)

    def own(y_true, y_pred):
        return keras.ops.mean((y_true[:, None] - y_pred) ** 2, axis=-1)

    train(model, own, images, targets[:, 0])  # a loss of one's own takes any


# --- a head of one's own


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs


@pytest.mark.slow
def test_own_head(tiny, images, labels, tmp_path):
    head = keras.Sequential(
        [Doubled(), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2, "softmax")]
    )
    model = TransferModel(tiny, preprocessing="tf", head=head)
    assert model.num_classes == 2
    train(model, "sparse_categorical_crossentropy", images, labels)
    features = model.features(images)
    expected = keras.ops.convert_to_numpy(head(features))
    np.testing.assert_allclose(
        model.predict(images, verbose=0), expected, rtol=1e-4, atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert loaded.get_config()["head"]["class_name"] == "Sequential"
    assert len(loaded.classify(images[0])) == 2
    loaded.fit(loaded.cache_features(images, labels, verbose=0), verbose=0)


@pytest.mark.once
@pytest.mark.parametrize("last", [keras.layers.Softmax, keras.layers.Activation])
def test_probabilities_of_an_own_head_are_seen(last, tiny):
    layer = last() if last is keras.layers.Softmax else last("softmax")
    head = keras.Sequential([keras.layers.Dense(2), layer])
    model = TransferModel(tiny, preprocessing="tf", head=head)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match="must not have from_logits=True"):
        model.compile("sgd", loss)


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`num_classes` or `class_names` must be given"),
        ({"class_names": "cat"}, "`class_names` must be a list of different"),
        ({"class_names": ["cat", "cat"]}, "`class_names` must be a list of different"),
        ({"class_names": []}, "`class_names` must be a list of different"),
        ({"class_names": NAMES, "num_classes": 2}, "must have num_classes=2 names"),
        ({"num_classes": 2, "activation": "tanh"}, "`activation` must be one of"),
        ({"num_classes": 2, "head": "dense"}, "`head` must be a keras layer"),
        (
            {"num_classes": 2, "head": keras.layers.Dense(3)},
            r"one row of 2 numbers .* output shape \(None, 3\)",
        ),
        (
            {"head": keras.layers.Dense(2), "dropout": 0.5},
            "must be left out with a `head`",
        ),
        ({"num_classes": 2, "preprocessing": 3}, "an ImagePreprocessing layer"),
    ],
)
def test_arguments_out_of_range(arguments, message, tiny):
    with pytest.raises(ValueError, match=message):
        TransferModel(tiny, **{"preprocessing": "tf", **arguments})
