"""What a trained classifier is measured by, against hand-computed values."""

import keras
import numpy as np
import pandas as pd
import pytest

from keras_residual.experiments import RefusedError
from keras_residual.experiments.long_training import summary
from keras_residual.experiments.measuring import accuracies, classify, measure_file

pytestmark = pytest.mark.once


class Pixels:
    """The logits of an image are its three channels."""

    def predict_on_batch(self, images):
        assert len(images) == 2, "batches of one shape are compiled once"
        return images[:, 0, 0].astype("float32")


def test_predictions_and_accuracies_by_hand():
    images = np.zeros((3, 1, 1, 3), "uint8")
    images[:, 0, 0] = np.array([[3, 2, 0], [0, 5, 5], [1, 0, 4]])
    labels = np.array([0, 2, 1])
    batches = [(images[:2], labels[:2]), (images[2:], labels[2:])]

    found, pictures = classify(Pixels(), batches, places=[0, 2])

    np.testing.assert_array_equal(pictures, images[[0, 2]])
    # Of equal probabilities the first class.
    assert found["predicted_1"].tolist() == [0, 1, 2]
    assert found["predicted_2"].tolist() == [1, 2, 0]
    powers = np.exp(images[:, 0, 0].astype(float))
    shares = powers / powers.sum(1, keepdims=True)
    np.testing.assert_allclose(found["confidence"], shares.max(1))
    own = shares[np.arange(3), labels]
    np.testing.assert_allclose(found["label_probability"], own)
    measured = accuracies(found)
    assert measured["top1"] == pytest.approx(1 / 3)
    assert measured["top5"] == 1
    assert measured["loss"] == pytest.approx(-np.log(own).mean())
    lost = accuracies(found.assign(label_probability=[0.5, np.nan, 0.5]))
    assert pd.Series(lost).isna().all()
    assert lost.keys() == measured.keys()


def test_a_network_for_other_classes_is_not_evaluated(tmp_path):
    file = tmp_path / "network.keras"
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    keras.Model(inputs, keras.layers.Dense(3)(x)).save(file)
    with pytest.raises(RefusedError, match="classes 3, not 2"):
        measure_file(file, (4, 4, 3), 2, [])
    with pytest.raises(RefusedError, match="images of shape 4, 4, 3, not 8, 8, 3"):
        measure_file(file, (8, 8, 3), 3, [])
    file.write_bytes(b"no network")
    with pytest.raises(RefusedError, match="cannot be read"):
        measure_file(file, (4, 4, 3), 3, [])


def test_the_results_of_a_training_follow_from_its_epochs():
    history = [
        {"epoch": 1, "val_top1": 0.5, "seconds": 2.0, "images_per_second": 10.0},
        {"epoch": 2, "val_top1": 0.7, "seconds": 1.0, "images_per_second": 30.0},
        {"epoch": 3, "val_top1": 0.6, "seconds": 1.5, "images_per_second": 20.0},
    ]
    found = summary(history, "")
    assert found == {
        **{"seconds": 4.5, "top1": 0.6, "best_top1": 0.7, "best_epoch": 2},
        "images_per_second": 20.0,
    }
    lost = summary([], "the loss is not finite")
    assert lost["diverged"]
    assert lost["top1"] is None
