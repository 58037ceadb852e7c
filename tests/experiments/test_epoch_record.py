"""A training of many epochs: its history, its best network, and where it diverged."""

import keras
import numpy as np
import pytest

from keras_residual import GradientNormCallback
from keras_residual.experiments import Checkpoints
from keras_residual.experiments.devices import Connection
from keras_residual.experiments.epoch_record import EpochRecord

X, Y = np.eye(8, dtype="float32"), np.arange(8) % 2


def make_model(rate=0.1):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    x = keras.layers.Dense(4, name="first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        *(keras.optimizers.SGD(rate), loss),
        metrics=["accuracy"],
        jit_compile=keras.config.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, folder, epochs, norms=None, **options):
    checkpoints = Checkpoints(folder)
    history = checkpoints.restore(model)
    record = EpochRecord(checkpoints, history, batch_size=4, norms=norms, **options)
    callbacks = [record] if norms is None else [record, norms]
    try:
        model.fit(
            *(X, Y, 4),
            initial_epoch=len(history),
            epochs=epochs,
            validation_data=(X, 1 - Y),
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
    except FloatingPointError:
        return history, record.reason()
    return history, ""


@pytest.mark.slow
def test_a_training_that_goes_on_has_the_history_of_one_that_was_not_stopped(
    tmp_path, capsys
):
    whole, _ = fit(make_model(), tmp_path / "whole", 3)
    fit(make_model(), tmp_path / "parts", 1)
    parts, reason = fit(make_model(), tmp_path / "parts", 3)

    assert reason == ""
    clock = {"seconds", "images_per_second"}
    for one, other in zip(whole, parts, strict=True):
        assert {name: one[name] for name in {*one} - clock} == pytest.approx(
            {name: other[name] for name in {*other} - clock}
        )
    assert [row["epoch"] for row in parts] == [1, 2, 3]
    assert parts[0]["learning_rate"] == pytest.approx(0.1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("parts: epoch 3 of 3, loss ")
    assert "; about 0 s left" in lines[-1]


def test_the_best_network_is_that_of_the_largest_metric(tmp_path):
    # What is learnt is wrong for the validation images: the first epochs are best.
    history, _ = fit(make_model(1.0), tmp_path, 6)
    best = max(row["val_accuracy"] for row in history)
    assert history[-1]["val_accuracy"] < best
    model = keras.saving.load_model(tmp_path / "best.keras")
    right = model.predict(X, verbose=0).argmax(1) == 1 - Y
    assert right.mean() == pytest.approx(best)


@pytest.mark.once
def test_a_host_that_does_not_write_writes_nothing(tmp_path):
    other = Connection()
    other.host_index = 1
    history, _ = fit(make_model(), tmp_path, 1, connection=other)
    assert len(history) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    model = make_model()
    model.get_layer("last").bias.assign([np.nan, 0])
    norms = GradientNormCallback(by="layer")
    history, reason = fit(model, tmp_path, 2, norms)
    assert history == []
    assert "not finite in epoch 1, step 1 (update 0)" in reason
    assert "not finite from update 0 on" in reason
    assert "in the layer last" in reason
    model = make_model()
    model.get_layer("last").bias.assign([np.nan, 0])
    assert "--record-every 1" in fit(model, tmp_path, 2)[1]
