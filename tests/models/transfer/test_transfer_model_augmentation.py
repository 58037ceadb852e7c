"""Augmentation inside the model: in training, and at no other time."""

import keras
import numpy as np
import pytest

from keras_residual import Cutout, ImagePreprocessing, TransferModel, describe
from keras_residual.models.transfer._augmentation import TrainingOnly


@keras.saving.register_keras_serializable("tests")
class Black(keras.layers.Layer):
    """Knows nothing of training: it would blacken every photo."""

    def call(self, images):
        return 0 * images


def inside(model, images):
    """Images as they come out of the augmentation in training."""
    layer = model.get_layer("augmentation")
    return keras.ops.convert_to_numpy(layer(images.astype("float32"), training=True))


def make(backbone, augmentation, **arguments):
    arguments = {"preprocessing": "tf", "hidden_units": None, **arguments}
    return TransferModel(backbone, 2, augmentation=augmentation, **arguments)


@pytest.mark.slow
def test_acts_in_training_alone(tiny, images, labels, tmp_path):
    plain = make(tiny, None)
    model = make(tiny, Black())
    model.head.set_weights(plain.head.get_weights())
    np.testing.assert_array_equal(
        model.predict(images, verbose=0), plain.predict(images, verbose=0)
    )
    np.testing.assert_array_equal(model.features(images), plain.features(images))
    bright, dark = (
        keras.ops.convert_to_numpy(model(batch, training=True))
        for batch in (images, 0 * images)
    )
    np.testing.assert_array_equal(bright, dark)
    # Training on black photos: the kernel of the head sees one row of features only.
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    expected = make(tiny, None)
    expected.head.set_weights(plain.head.get_weights())
    expected.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(images, labels, verbose=0)
    expected.fit(0 * images, labels, verbose=0)
    for a, b in zip(model.head.get_weights(), expected.head.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_layers_are_saved_with_the_model(tiny, images, labels, tmp_path):
    layers = [keras.layers.RandomFlip("horizontal", seed=1), Cutout(8, seed=2)]
    model = make(tiny, layers)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, labels, verbose=0)
    changed = inside(model, images)
    assert not np.array_equal(changed, images)
    assert changed.shape == images.shape
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found = loaded.augmentation
    assert [type(layer) for layer in found] == [keras.layers.RandomFlip, Cutout]
    assert found[1].get_config()["size"] == 8
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    loaded.fit(images, labels, verbose=0)
    assert loaded.check_batch_norm() == []


def test_features_are_those_without_it(tiny, images, labels):
    cache = make(tiny, None).cache_features(images, labels, verbose=0)
    model = make(tiny, [keras.layers.RandomFlip()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(cache, verbose=0)  # not refused
    again = model.cache_features(images, labels, verbose=0)
    np.testing.assert_array_equal(again.features, cache.features)


def test_half_precision_does_not_round_pixels(request, images):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make(request.getfixturevalue("tiny"), Cutout(1, probability=0.0))
    np.testing.assert_array_equal(inside(model, images), images)


@pytest.mark.slow
@pytest.mark.once
def test_other_tools_see_the_same_network(mobile_net):
    texts: list[str] = []
    for augmentation in (Cutout(8), None):
        backbone = keras.models.clone_model(mobile_net)
        describe(make(backbone, augmentation), print_fn=texts.append)
    assert texts[0] == texts[1]


def test_preprocessing_may_be_a_layer(tiny, images, tmp_path):
    layer = ImagePreprocessing(value_range=(0, 1), mean=(0.5,) * 3, std=(0.5,) * 3)
    model = make(tiny, None, preprocessing=layer)
    same = make(tiny, None, preprocessing="tf")  # -1 to 1
    np.testing.assert_allclose(
        model.features(images), same.features(images), rtol=1e-4, atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.features(images), model.features(images))


@pytest.mark.once
@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("flip", "`augmentation` must be a keras layer or a list"),
        ([Black(), 3], "`augmentation` must be a keras layer or a list"),
        (keras.layers.CenterCrop(8, 8), "must keep the shape of the images"),
    ],
)
def test_refused(augmentation, message, tiny):
    with pytest.raises(ValueError, match=message):
        make(tiny, augmentation)


def test_wrapper_takes_layers_with_and_without_the_argument():
    layer = TrainingOnly([keras.layers.Rescaling(2.0), keras.layers.Dropout(0.0)])
    ones = np.ones((1, 2, 2, 3), "float32")
    assert keras.ops.convert_to_numpy(layer(ones, training=True)).max() == 2
    assert keras.ops.convert_to_numpy(layer(ones, training=False)).max() == 1
    assert keras.ops.convert_to_numpy(layer(ones)).max() == 1
