"""Seeded batches, splits and scales that trainings share."""

import random
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_residual.experiments import RefusedError, training
from keras_residual.experiments.training import (
    ShuffledBatches,
    split,
    spread,
    standardized,
)

pytestmark = pytest.mark.once


def test_without_tensorflow_the_seeds_are_those_of_keras(monkeypatch):
    def drawn():
        layer = keras.layers.Dense(4)
        layer.build((None, 3))
        numbers = random.random(), np.random.rand()
        kept = keras.layers.Dropout(0.5)(np.ones(20, "float32"), training=True)
        for values in (layer.kernel, kept):
            numbers += tuple(keras.ops.convert_to_numpy(values).ravel().tolist())
        return numbers

    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    expected = drawn()
    monkeypatch.setattr(training, "sys", SimpleNamespace(modules={}))
    training.begin_training(3)
    assert drawn() == expected
    assert drawn() != expected


def test_predictions_of_a_training_that_diverged_have_no_accuracy():
    def outputs(*rows):
        model = SimpleNamespace(predict=lambda *_, **__: np.array(rows))
        return training.predictions(model, None, np.array([0, 1]), np.array([7, 5]))

    accuracy, frame = outputs([0.9, 0.1], [0.8, 0.2])
    assert accuracy == 0.5
    assert frame.to_dict("list") == {
        "image": [7, 5],
        "label": [0, 1],
        "probability_0": [0.9, 0.8],
        "probability_1": [0.1, 0.2],
    }
    assert np.isnan(outputs([np.nan, np.nan], [0.2, 0.8])[0])


def test_batch_size_follows_the_share():
    size = training.batch_size_for

    assert [size(share, 32) for share in (1, 0.5, 0.25, 0.1)] == [32, 16, 8, 8]
    assert [size(share, 4) for share in (1, 0.5)] == [4, 4]


def test_shares_that_take_the_same_images():
    labels = np.arange(40) % 2
    training.check_shares(labels, (0.1, 0.5, 1.0))
    with pytest.raises(RefusedError, match=r"but 0.001, 0.01, 0.5 give 2, 2, 12"):
        training.check_shares(labels, (0.001, 0.01, 0.5))


def test_each_epoch_has_another_order_that_the_seed_decides():
    images, labels = np.arange(10), np.arange(10)

    def epochs(seed):
        batches = ShuffledBatches(images, labels, batch_size=4, seed=seed)
        seen = []
        for _ in range(3):
            seen.append([batches[index][0].tolist() for index in range(len(batches))])
            batches.on_epoch_end()
        return seen

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert len({str(epoch) for epoch in first}) == 3
    for epoch in first:
        numbers = [number for batch in epoch for number in batch]
        assert [len(batch) for batch in epoch] == [4, 4]
        assert len(set(numbers)) == 8


def test_split_by_seed():
    train, validation = split(10, 0.8, seed=0)

    assert (len(train), len(validation)) == (8, 2)
    assert sorted([*train, *validation]) == list(range(10))
    assert split(10, 0.8, seed=0)[1].tolist() == validation.tolist()
    assert len({str(sorted(split(10, 0.8, seed=seed)[1])) for seed in range(20)}) > 5


def test_places_from_the_first_to_the_last():
    assert spread(9, 3).tolist() == [0, 4, 8]
    assert spread(2, 12).tolist() == [0, 1]


def test_standardized_by_the_training_images_alone():
    generator = np.random.default_rng(0)
    train = generator.normal([1, 2, 3], [4, 5, 6], (50, 8, 8, 3))

    ours, other = standardized(train, train + np.array([4, 10, 18]))

    np.testing.assert_allclose(ours.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(ours.std((0, 1, 2)), 1, atol=1e-5)
    np.testing.assert_allclose(other.mean((0, 1, 2)), [1, 2, 3], atol=0.1)


def test_a_constant_channel_does_not_divide_by_zero():
    train, _ = standardized(np.ones((2, 4, 4, 3)), np.ones((1, 4, 4, 3)))

    assert (train == 0).all()
