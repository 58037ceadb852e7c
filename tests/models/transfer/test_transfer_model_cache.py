import keras
import numpy as np
import pytest


def fit(model, *data):
    model.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)


def test_training_on_features_is_training_on_images(make_model, tiny, images, labels):
    keras.utils.set_random_seed(3)
    slow = make_model(tiny)
    fast = make_model(keras.models.clone_model(tiny))
    fast.set_weights(slow.get_weights())
    cache = fast.cache_features(images, labels, batch_size=5)
    assert cache.features.shape == (16, 4)
    assert len(cache) == 16
    fit(slow, images, labels)
    fit(fast, cache)
    for a, b in zip(slow.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        fast.predict(images, verbose=0), slow.predict(images, verbose=0), atol=1e-4
    )
    expected = fast.evaluate(images, labels, verbose=0)
    np.testing.assert_allclose(
        fast.evaluate(cache, verbose=0), expected, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        fast.predict(cache, verbose=0), fast.predict(images, verbose=0), atol=1e-4
    )
    fit(fast, images, labels)  # and images again
    history = fast.fit(
        cache, validation_data=cache, epochs=2, batch_size=8, verbose=0
    ).history
    assert "val_loss" in history
    assert int(fast.optimizer.iterations) == 3 * 2 * 2


@pytest.mark.slow
def test_features_in_half_precision(images, labels, make_model, request, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model(request.getfixturevalue("tiny"))
    for arguments in ({}, {"filepath": tmp_path / "features.h5"}):
        cache = model.cache_features(images, labels, verbose=0, **arguments)
        assert cache.features.dtype == "float32"
        fit(model, cache)
    np.testing.assert_allclose(
        model.evaluate(cache, verbose=0),
        model.evaluate(images, labels, verbose=0),
        rtol=1e-2,
    )


def test_copies_read_the_data_again(make_model, tiny, images, labels):
    class Brighter(keras.utils.PyDataset):
        """Gives brighter images at each reading, as random augmentation would."""

        readings = 0

        def __len__(self):
            return 2

        def __getitem__(self, index):
            self.readings += 1
            half = slice(8 * index, 8 * index + 8)
            return np.clip(images[half] + 20.0 * self.readings, 0, 255), labels[half]

    model = make_model(tiny)
    cache = model.cache_features(Brighter(), copies=3)
    assert cache.features.shape == (48, 4)
    np.testing.assert_array_equal(cache.labels, np.tile(labels, 3))
    assert not np.array_equal(cache.features[:16], cache.features[16:32])
    once = model.cache_features(images, labels)
    twice = model.cache_features(images, labels, copies=2)
    np.testing.assert_array_equal(twice.features[16:], once.features)


def test_other_preprocessing_is_another_cache(make_model, tiny, images, labels):
    model = make_model(tiny, preprocessing=None)
    cache = model.cache_features(images, labels)
    fit(model, cache)
    other = make_model(model.backbone, preprocessing="tf")
    with pytest.raises(ValueError, match="must be features of this model's backbone"):
        other.fit(cache)


def test_never_stale(make_model, tiny, images, labels):
    other = keras.models.clone_model(tiny)
    model = make_model(tiny)
    cache = model.cache_features(images, labels)
    with pytest.raises(ValueError, match="must be features of this model's backbone"):
        make_model(other).fit(cache)  # other weights
    model.unfreeze(1, "conv")
    for use in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="The backbone must be frozen"):
            use(cache)
    with pytest.raises(ValueError, match="The backbone must be frozen"):
        model.cache_features(images, labels)
    fit(model, images, labels)
    model.freeze()
    with pytest.raises(ValueError, match="Call `cache_features` again"):
        model.fit(cache)
    with pytest.raises(ValueError, match="Call `cache_features` again"):
        model.fit(images, labels, validation_data=cache)


def test_bad_data(make_model, tiny, images, labels):
    model = make_model(tiny)
    with pytest.raises(ValueError, match="look like 0 to 1"):
        model.cache_features(images / 255, labels)
    with pytest.raises(ValueError, match="`copies` must be a positive integer"):
        model.cache_features(images, labels, copies=0)
    with pytest.raises(ValueError, match="pairs of images and labels"):
        model.cache_features(images)
    with pytest.raises(ValueError, match=r"must hold images\. Received: no batch"):
        model.cache_features([])
    with pytest.raises(ValueError, match="be read again"):
        model.cache_features((pair for pair in [(images, labels)]), copies=2)
    with pytest.raises(ValueError, match="`y` must be left out"):
        model.fit(model.cache_features(images, labels), labels)


# --- weights of images and of classes


def head_after(model, *data, **arguments):
    model.fit(*data, batch_size=8, shuffle=False, verbose=0, **arguments)
    return model.head.get_weights()


@pytest.mark.slow
def test_weights_count_as_on_images(make_model, tiny, images, labels):
    weights = np.linspace(0, 3, 16)
    model = make_model(tiny)
    start = model.get_weights()
    expected = head_after(model, images, labels, sample_weight=weights)
    loss, _ = model.evaluate(images, labels, sample_weight=weights, verbose=0)
    cache = model.cache_features(images, labels, sample_weight=weights, verbose=0)
    assert model.evaluate(cache, verbose=0)[0] == pytest.approx(loss, rel=1e-3)
    model.set_weights(start)
    for variable in model.optimizer.variables[2:]:  # past step count and rate
        variable.assign(keras.ops.zeros_like(variable.value))
    history = model.fit(
        cache, validation_data=cache, batch_size=8, shuffle=False, verbose=0
    )
    for a, b in zip(model.head.get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert history.history["val_loss"][0] == pytest.approx(loss, rel=1e-3)
    with pytest.raises(ValueError, match="`sample_weight` must be left out"):
        model.fit(cache, sample_weight=weights)


@pytest.mark.once
def test_weights_are_in_the_file(make_model, tiny, images, labels, tmp_path):
    weights = np.linspace(0, 3, 16)
    path = tmp_path / "features.h5"
    model = make_model(tiny)
    for given in (weights, weights + 1, None):  # computed anew each time
        cache = model.cache_features(
            images, labels, sample_weight=given, filepath=path, verbose=0
        )
        read = model.cache_features(None, filepath=path)
        for found in (cache, read):
            np.testing.assert_array_equal(found.sample_weights, given)


def test_data_sets_give_weights_as_the_third(make_model, tiny, images, labels):
    weights = np.linspace(0, 1, 16)
    batches = [
        (images[part], labels[part], weights[part]) for part in (slice(8), slice(8, 16))
    ]
    model = make_model(tiny)
    cache = model.cache_features(iter(batches), verbose=0)
    np.testing.assert_array_equal(cache.sample_weights, weights)
    part = cache.part(slice(3, 5))
    np.testing.assert_array_equal(part.sample_weights, weights[3:5])
    np.testing.assert_array_equal(part.labels, labels[3:5])
    with pytest.raises(ValueError, match="weights with each batch or with none"):
        model.cache_features(iter([batches[0], batches[1][:2]]), verbose=0)
    with pytest.raises(ValueError, match="`sample_weight` must have one value for"):
        model.cache_features(images, labels, sample_weight=weights[:3])
    with pytest.raises(ValueError, match="`labels` must have one value for each image"):
        model.cache_features(images, labels[:3])


@pytest.mark.once
def test_classes_have_weights_as_on_images(make_model, tiny, images, labels):
    model = make_model(tiny)
    cache = model.cache_features(images, labels, verbose=0)
    before = model.head.get_weights()[-1]
    # With SGD the bias moves by the mean of p - y of the images of class 1.
    p = model.predict(images, batch_size=16, verbose=0)[labels == 1]
    model.fit(cache, class_weight={0: 0.0, 1: 2.0}, batch_size=16, verbose=0)
    expected = before - 0.01 * 2 * (p - [0, 1]).sum(0) / 16
    np.testing.assert_allclose(
        model.head.get_weights()[-1], expected, rtol=1e-3, atol=1e-6
    )
