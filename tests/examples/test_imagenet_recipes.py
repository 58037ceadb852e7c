"""Recipes of the ImageNet comparison, against PyTorch, closed forms and Keras."""

import keras
import numpy as np
import pytest

from keras_residual.experiments import RefusedError

STEPS = 4  # of an epoch


@pytest.fixture
def recipes(load):
    return load("_imagenet_recipes")


@pytest.fixture
def networks(load):
    return load("_imagenet_networks")


def rates(networks, recipe):
    schedule = networks.make_schedule(recipe, STEPS)
    steps = range(recipe.epochs * STEPS)
    return np.array([float(keras.ops.convert_to_numpy(schedule(s))) for s in steps])


def test_steps_are_a_tenth_after_each_third(recipes, networks):
    recipe = recipes.complete("he2015", {"epochs": 9, "batch_size": 256})
    found = rates(networks, recipe)
    # The border itself still has the rate before it.
    assert found[[0, 12, 13, 24, 25, 35]] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


def test_warm_up_is_linear_and_the_rest_a_cosine(recipes, networks):
    recipe = recipes.complete("modern", {"epochs": 15})
    found = rates(networks, recipe)
    steps = np.arange(60)
    cosine = 0.2 * (1 + np.cos(np.pi * (steps - 20) / 40))
    expected = np.where(steps < 20, 0.4 * steps / 20, cosine)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("he2015", {"batch_size": 1024}, 0.4),
        ("he2015", {"batch_size": 1024, "learning_rate": 0.3}, 0.3),
        ("modern", {"batch_size": 256}, 0.1),
        ("source", {"batch_size": 1024}, 0.001),
        # Another optimizer than the recipe's has the rate that it needs.
        ("he2015", {"optimizer": "adam"}, 0.001),
        ("source", {"optimizer": "sgd"}, 0.1 * 32 / 256),
    ],
)
def test_the_rate_of_sgd_grows_with_the_batch(recipes, name, given, expected):
    assert recipes.complete(name, given).learning_rate == pytest.approx(expected)


def test_momentum_is_not_adams(recipes):
    assert recipes.complete("he2015", {"optimizer": "adam"}).momentum == 0
    assert not recipes.complete("modern", {"optimizer": "adam"}).nesterov
    assert recipes.complete("source", {"optimizer": "sgd"}).momentum == 0.9
    with pytest.raises(RefusedError, match="--momentum: is for the optimizer sgd"):
        recipes.complete("source", {"momentum": 0.9})


@pytest.mark.slow
def test_weight_decay_is_as_strong_as_in_pytorch(recipes, networks):
    torch = pytest.importorskip("torch")
    recipe = recipes.complete("he2015", {"weight_decay": 0.01, "epochs": 75})
    weight = keras.Variable(np.ones(3, "float32"))
    optimizer = networks.make_optimizer(recipe, STEPS)
    optimizer.build([weight])
    theirs = torch.nn.Parameter(torch.ones(3))
    reference = torch.optim.SGD([theirs], 0.1, momentum=0.9, weight_decay=0.01)
    for _ in range(90):  # of one rate
        optimizer.apply([keras.ops.zeros(3)])
        theirs.grad = torch.zeros(3)
        reference.step()
    # Apart from the first steps, in which momentum sums up.
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(weight), theirs.detach().numpy(), rtol=0.1
    )


def test_smoothing_is_that_of_keras_on_one_hot_targets(networks):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(6, 4)).astype("float32")
    labels = generator.integers(0, 4, 6)
    reference = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1
    )
    expected = reference(np.eye(4, dtype="float32")[labels], logits)
    loss = networks.SmoothedCrossentropy(0.1)
    assert float(loss(labels, logits)) == pytest.approx(float(expected), rel=1e-5)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.label_smoothing == 0.1


SETTINGS = {
    **{"image_size": 32, "depth": 20, "variant": "cifar", "cutout_size": 16},
    "classes": list("abcdef"),
}


@pytest.mark.parametrize(
    ("name", "decays"), [("he2015", "all"), ("modern", "kernels"), ("source", "none")]
)
def test_what_decays(recipes, networks, name, decays):
    """The gradients are zero: what shrinks has decay."""
    recipe = recipes.complete(name, {"epochs": 6})
    model = networks.build_network("resnet", SETTINGS, seed=0)
    networks.compile_network(model, recipe, STEPS)
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
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize(
    ("depth", "variant", "extra"),
    [
        (20, "cifar", 0),
        pytest.param(18, "torchvision", 3, marks=pytest.mark.slow),
    ],
)
def test_networks_are_each_others_controls(networks, depth, variant, extra):
    settings = {**SETTINGS, "depth": depth, "variant": variant}
    models = [
        networks.build_network(name, settings, seed=1)
        for name in ("plain", "resnet", "resnet-cutout")
    ]
    plain, resnet, cutout = (
        {weight.path: weight for weight in model.weights} for model in models
    )
    # Each projection: a kernel and four weights of batch normalization.
    assert len(resnet) - len(plain.keys() & resnet.keys()) == 5 * extra
    for path, weight in resnet.items():
        values = keras.ops.convert_to_numpy(weight)
        for others in (plain, cutout):
            if path in others and "seed_generator" not in path:
                other = keras.ops.convert_to_numpy(others[path])
                np.testing.assert_array_equal(values, other)
    images = np.full((2, 32, 32, 3), 200, "uint8")
    without = [model.predict_on_batch(images) for model in models]
    np.testing.assert_array_equal(without[1], without[2])  # no patch in inference
    assert np.abs(without[0] - without[1]).max() > 0


def test_logits_are_float32_under_mixed_precision(networks):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = networks.build_network("resnet", SETTINGS, seed=0)
    assert model.output.dtype == "float32"
    assert model.layers[-2].compute_dtype == "bfloat16"
