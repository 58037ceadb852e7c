"""Seeded batches, splits and scales that trainings share."""

import numpy as np
import pytest

from keras_residual.experiments.training import ShuffledBatches, split, standardized

pytestmark = pytest.mark.once


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
