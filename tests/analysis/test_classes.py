"""Confusion matrices and the most wrong images, on examples counted by hand."""

import numpy as np
import pytest

from keras_residual.analysis import confusion_matrix, most_wrong

pytestmark = pytest.mark.once

LABELS = [0, 0, 0, 1, 1, 2]


def test_true_classes_are_rows():
    matrix = confusion_matrix(LABELS, [0, 1, 1, 1, 0, 2])
    np.testing.assert_array_equal(matrix, [[1, 2, 0], [1, 1, 0], [0, 0, 1]])


def test_probabilities_count_by_their_largest():
    probabilities = np.full((6, 4), 0.1)
    probabilities[range(6), [0, 1, 1, 1, 0, 2]] = 0.7
    matrix = confusion_matrix(LABELS, probabilities)
    np.testing.assert_array_equal(
        matrix, [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    )


def test_number_of_classes():
    assert confusion_matrix([0], [0], num_classes=3).shape == (3, 3)
    # Bytes would overflow: 200 * 201 + 200.
    assert confusion_matrix(np.uint8([200]), np.uint8([200]))[200, 200] == 1


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "message"),
    [
        ([0.5], [0], None, "`labels` must be integers"),
        ([-1], [0], None, "`labels` must be integers"),
        ([[0]], [0], None, "`labels` must be integers"),
        ([0], ["a"], None, "`predictions` must be integers"),
        ([0, 1], [0], None, "`labels` and `predictions` must be of the same images"),
        (np.zeros(0, int), np.zeros(0, int), None, "must be of the same images"),
        ([0], [2], 2, "`num_classes` must be more than the largest class, 2"),
        ([0], [0], 2.5, "`num_classes` must be a positive integer"),
    ],
)
def test_bad_classes(labels, predictions, classes, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, classes)


PROBABILITIES = np.array(
    [
        [0.1, 0.2, 0.7],  # right
        [0.2, 0.3, 0.5],  # wrong, 0.3 for the true class
        [0.45, 0.05, 0.5],  # wrong, 0.05
        [0.9, 0.05, 0.05],  # wrong, 0.05, later
        [0.6, 0.0, 0.4],  # wrong, 0.4
    ]
)
TRUE = [2, 1, 1, 2, 2]


def test_least_probability_for_the_true_class_comes_first():
    assert most_wrong(TRUE, PROBABILITIES).tolist() == [2, 3, 1, 4]
    assert most_wrong(TRUE, PROBABILITIES, 2).tolist() == [2, 3]
    assert most_wrong([2], PROBABILITIES[:1]).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"number": 0}, "`number` must be a positive integer"),
        ({"labels": [0, 1]}, "`labels` must be 5 integers from 0 to 2"),
        ({"labels": [0, 1, 2, 3, 0]}, "`labels` must be 5 integers from 0 to 2"),
        ({"labels": [0.0] * 5}, "`labels` must be 5 integers from 0 to 2"),
        ({"probabilities": PROBABILITIES * 3}, "`probabilities` must have the shape"),
        ({"probabilities": [0.5] * 5}, "`probabilities` must have the shape"),
    ],
)
def test_bad_predictions(change, message):
    arguments = {"labels": TRUE, "probabilities": PROBABILITIES} | change
    with pytest.raises(ValueError, match=message):
        most_wrong(**arguments)
