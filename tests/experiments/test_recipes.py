"""Recipes of long trainings, against PyTorch, closed forms and Keras."""

import keras
import numpy as np
import pytest

from keras_residual.experiments import RefusedError, parse_settings
from keras_residual.experiments.recipes import (
    PUBLISHED,
    Recipe,
    compile_by_recipe,
    make_schedule,
)

STEPS = 4  # of an epoch


@pytest.fixture
def complete(monkeypatch, tmp_path):
    """A function from a recipe and options to the settings of a run."""
    monkeypatch.chdir(tmp_path)

    def complete(recipe, *options):
        default = Recipe(recipe=recipe, **PUBLISHED.get(recipe, {}))
        found = parse_settings({"default": default}, "test.py", "", options)
        return {**found.identity(), "steps_per_epoch": STEPS}

    return complete


def rates(settings):
    schedule = make_schedule(settings)
    steps = range(settings["epochs"] * STEPS)
    return np.array([float(keras.ops.convert_to_numpy(schedule(s))) for s in steps])


def test_steps_are_a_tenth_after_each_third(complete):
    found = rates(complete("he2015", "--epochs", "9"))
    # The border itself still has the rate before it.
    assert found[[0, 12, 13, 24, 25, 35]] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_warm_up_is_linear_and_the_rest_a_cosine(complete):
    found = rates(complete("modern", "--epochs", "15"))
    steps = np.arange(60)
    cosine = 0.2 * (1 + np.cos(np.pi * (steps - 20) / 40))
    expected = np.where(steps < 20, 0.4 * steps / 20, cosine)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "rate", "momentum", "nesterov"),
    [
        ("source", 0.001, 0, False),
        ("source --batch-size 1024", 0.001, 0, False),
        ("source --optimizer sgd", 0.1 * 32 / 256, 0.9, False),
        ("he2015", 0.1, 0.9, False),
        ("he2015 --batch-size 1024", 0.4, 0.9, False),
        ("he2015 --learning-rate 0.3 --momentum 0", 0.3, 0, False),
        # Another optimizer than the recipe's has the rate that it needs.
        ("he2015 --optimizer adam", 0.001, 0, False),
        ("modern", 0.4, 0.9, True),
        ("modern --batch-size 256 --no-nesterov", 0.1, 0.9, False),
        ("modern --optimizer adam", 0.001, 0, False),
    ],
)
def test_rate_and_momentum_are_those_of_the_optimizer(
    complete, command, rate, momentum, nesterov
):
    found = complete(*command.split())
    assert found["learning_rate"] == pytest.approx(rate)
    assert (found["momentum"], found["nesterov"]) == (momentum, nesterov)


@pytest.mark.once
@pytest.mark.parametrize("option", ["--momentum 0.9", "--nesterov"])
def test_momentum_is_not_adams(complete, option):
    with pytest.raises(RefusedError, match="is for the optimizer sgd"):
        complete("source", *option.split())


@pytest.mark.slow
def test_weight_decay_is_as_strong_as_in_pytorch(complete):
    torch = pytest.importorskip("torch")
    options = ["--weight-decay", "0.01", "--epochs", "75"]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3)])
    compile_by_recipe(model, complete("he2015", *options))
    weight = model.trainable_variables[0]
    weight.assign(np.ones((1, 3)))
    theirs = torch.nn.Parameter(torch.ones(1, 3))
    reference = torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(90):  # of one rate
        model.optimizer.apply([keras.ops.zeros((1, 3)), keras.ops.zeros(3)])
        theirs.grad = torch.zeros(1, 3)
        reference.step()
    # Apart from the first steps, in which momentum sums up.
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(weight), theirs.detach().numpy(), rtol=0.1
    )


@pytest.mark.parametrize(
    ("name", "decays"), [("he2015", "all"), ("modern", "kernels"), ("source", "none")]
)
def test_what_decays(complete, name, decays):
    """The gradients are zero: what shrinks has decay."""
    layers = keras.layers
    model = keras.Sequential(
        [
            *(keras.Input((4, 4, 1)), layers.Conv2D(2, 3, use_bias=False)),
            *(layers.BatchNormalization(), layers.Flatten(), layers.Dense(2)),
        ]
    )
    settings = complete(name, "--epochs", "6")
    compile_by_recipe(model, settings)
    assert model.loss.label_smoothing == settings["label_smoothing"]
    optimizer = model.optimizer
    for weight in model.trainable_variables:
        weight.assign(np.ones(weight.shape))
    for _ in range(2):  # the first step of a warm-up has the rate 0
        optimizer.apply([keras.ops.zeros(w.shape) for w in model.trainable_variables])
    shrunk = {
        len(weight.shape) > 1
        for weight in model.trainable_variables
        if keras.ops.convert_to_numpy(weight).max() < 1
    }
    assert shrunk == {"all": {True, False}, "kernels": {True}, "none": set()}[decays]
