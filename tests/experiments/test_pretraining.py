"""Pretraining of a backbone, and what it does without weights."""

import inspect

import keras
import numpy as np
import pytest
from code_blocks import python_blocks, run_blocks

import keras_residual
from keras_residual.experiments import pretrain_backbone
from keras_residual.experiments.pretraining import DropoutByEpoch, find_weights


@pytest.mark.once
def test_weights_are_found_or_generated(capsys):
    def offline(weights):
        raise ConnectionError(f"no {weights}")

    assert find_weights(len, None, None) == "ImageNet"
    assert find_weights(len, "imagenet", "generated") == "ImageNet"
    assert find_weights(len, "mine.h5", None) == "file"
    assert capsys.readouterr().out == ""
    assert find_weights(offline, None, None) == "generated"
    assert "no imagenet\nInstead, the backbone learns" in capsys.readouterr().out
    assert find_weights(len, None, "generated") == "generated"
    for weights, before in (("mine.h5", None), ("imagenet", None), (None, "ImageNet")):
        with pytest.raises(ConnectionError, match=f"no {weights or 'imagenet'}"):
            find_weights(offline, weights, before)


@pytest.mark.slow
def test_dropout_is_decided_by_the_epoch():
    # As in an EfficientNet: what is left out is a whole branch.
    inputs = keras.Input((8, 8, 3))
    branch = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    branch = keras.layers.Dropout(0.5, noise_shape=(None, 1, 1, 1))(branch)
    backbone = keras.Model(inputs, keras.layers.Add()([inputs, branch]))
    model = keras_residual.TransferModel(
        backbone, 2, mode="scratch", preprocessing="tf", hidden_units=4
    )
    images = np.random.default_rng(0).uniform(0, 255, (16, 8, 8, 3))
    outputs = []
    for epoch in (1, 2, 1):
        dropout = DropoutByEpoch()
        dropout.set_model(model)
        dropout.on_epoch_begin(epoch)
        outputs.append(keras.ops.convert_to_numpy(model(images, training=True)))

    assert np.abs(outputs[0] - outputs[1]).max() > 1e-6
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.once
@pytest.mark.slow
def test_example_runs(capsys):
    run_blocks(python_blocks(inspect.getdoc(pretrain_backbone)), "pretrain_backbone")
    assert "['history.csv', 'backbone.weights.h5']" in capsys.readouterr().out
