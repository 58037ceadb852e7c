import keras
import numpy as np
import pytest

from keras_residual import PlainBlock, PlainNet, ResidualBlock, ResNet

SMALL = {"input_shape": (32, 32, 3)}


@pytest.mark.once
@pytest.mark.parametrize("variant", ["torchvision", "keras", "paper"])
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_plain_net_is_resnet_without_its_projections(depth, variant):
    plain = PlainNet(depth, 10, variant=variant, **SMALL)
    residual = ResNet(depth, 10, variant=variant, **SMALL)
    projections = sum(
        int(np.prod(weight.shape))
        for weight in residual.weights
        if "projection" in weight.path
    )
    assert plain.count_params() == residual.count_params() - projections
    kinds = [[type(layer).__name__ for layer in m.layers] for m in (plain, residual)]
    assert [k.replace("Residual", "Plain") for k in kinds[1]] == kinds[0]
    assert not any(isinstance(layer, ResidualBlock) for layer in plain.layers)


@pytest.mark.parametrize(
    ("depth", "arguments"),
    [
        (20, {"variant": "cifar"}),
        (20, {"variant": "cifar", "use_batch_norm": False}),
        pytest.param(18, {"variant": "paper", **SMALL}, marks=pytest.mark.once),
        pytest.param(
            34,
            {"variant": "paper", **SMALL},
            marks=[pytest.mark.once, pytest.mark.slow],
        ),
    ],
)
def test_equal_seeds_give_equal_initial_weights(depth, arguments):
    keras.utils.set_random_seed(11)
    plain = PlainNet(depth, 10, **arguments)
    keras.utils.set_random_seed(11)
    residual = ResNet(depth, 10, **arguments)
    pairs = list(zip(plain.weights, residual.weights, strict=True))
    assert len(pairs) > 20
    for control, ours in pairs:
        np.testing.assert_array_equal(np.array(control), np.array(ours))


def test_shortcuts_make_a_difference():
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    plain = PlainNet(8, 10, variant="cifar")
    residual = ResNet(8, 10, variant="cifar")
    residual.set_weights(plain.get_weights())
    difference = residual.predict(images, verbose=0) - plain.predict(images, verbose=0)
    assert np.abs(difference).max() > 1e-3


def test_trains_saves_and_loads(tmp_path):
    images = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32")
    model = PlainNet(8, 4, variant="cifar")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    model.fit(images, np.arange(8) % 4, verbose=0)
    model.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert isinstance(loaded.get_layer("stage1_block1"), PlainBlock)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"`depth` must be one of .*depth=17"):
        PlainNet(17)
    with pytest.raises(TypeError, match="shortcut"):
        PlainNet(18, shortcut="pad")
