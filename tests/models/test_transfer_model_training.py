"""Learning-rate decay by block, training in two phases, the learning-rate finder."""

import inspect

import keras
import numpy as np
import pytest

from keras_residual import GradientNormCallback, TransferModel

# Found by reflection: a new class of Keras is tested, or fails here.
OPTIMIZERS = {
    name: optimizer
    for name, optimizer in vars(keras.optimizers).items()
    if inspect.isclass(optimizer)
    and issubclass(optimizer, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
}
VARIANTS = {
    **{name: (name, {}) for name in OPTIMIZERS},
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "centred": ("RMSprop", {"momentum": 0.9, "centered": True}),
    "amsgrad": ("Adam", {"amsgrad": True}),
    "decayed": ("AdamW", {"weight_decay": 0.5}),
    "clipped": ("SGD", {"global_clipnorm": 0.1}),
    "schedule": (
        "Adam",
        {
            "learning_rate": keras.optimizers.schedules.ExponentialDecay(
                0.05, decay_steps=1, decay_rate=0.5
            )
        },
    ),
}

PENALTY = 0.5


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


def make_tiny(**arguments):
    """Two blocks and a head: a pointwise convolution each, and one Dense layer."""
    keras.utils.set_random_seed(1)
    penalty = keras.regularizers.L2(PENALTY)
    inputs = x = keras.Input((2, 2, 3))
    for name in ("block1_conv", "block2_conv"):
        x = keras.layers.Conv2D(4, 1, kernel_regularizer=penalty, name=name)(x)
    arguments = {"hidden_units": None, "preprocessing": None, **arguments}
    return TransferModel(keras.Model(inputs, x), 2, value_range=None, **arguments)


def tiny_data(size=8):
    generator = np.random.default_rng(2)
    images = generator.normal(size=(size, 2, 2, 3)).astype("float32")
    return images, np.arange(size) % 2


def train(model, images, labels, **arguments):
    arguments = {"batch_size": 8, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images, labels, **arguments)


def gradients(variables, step):
    generator = np.random.default_rng(step)
    return [
        keras.ops.convert_to_tensor(generator.normal(size=v.shape).astype("float32"))
        for v in variables
    ]


def apply(model, step, count=1):
    for number in range(count):
        variables = model.trainable_variables
        model.optimizer.apply(gradients(variables, 10 * step + number), variables)


def second_step(optimizer, decay):
    """Weights before and after a step, which follows one without any decay."""
    count = optimizer.gradient_accumulation_steps or 1
    model = make_tiny()
    model.unfreeze("all")
    model.compile(optimizer, "sparse_categorical_crossentropy")
    apply(model, 1, count)
    model.unfreeze("all", learning_rate_decay=decay)
    before = values(model.trainable_variables)
    apply(model, 2, count)
    return before, values(model.trainable_variables), model


# Two variables a block: the blocks are two and one away from the head.
MULTIPLIERS = [0.25, 0.25, 0.5, 0.5, 1.0, 1.0]


def assert_scaled(plain, slowed):
    for old, new, start, after, multiplier in zip(
        *plain[:2], *slowed[:2], MULTIPLIERS, strict=True
    ):
        np.testing.assert_array_equal(old, start)  # from the same state
        assert np.abs(new - old).max() > 1e-5
        np.testing.assert_allclose(
            after - start, multiplier * (new - old), rtol=1e-4, atol=3e-7
        )


@pytest.mark.parametrize("name", VARIANTS)
def test_decay_scales_the_update_of_every_optimizer(name):
    class_name, arguments = VARIANTS[name]
    arguments = {"learning_rate": 0.05, "name": "given", **arguments}
    plain = second_step(OPTIMIZERS[class_name](**arguments), 1.0)
    slowed = second_step(OPTIMIZERS[class_name](**arguments), 0.5)
    assert_scaled(plain, slowed)
    optimizer = slowed[2].optimizer
    assert type(optimizer).__name__ == class_name
    assert isinstance(optimizer, OPTIMIZERS[class_name])
    assert optimizer.get_config() == plain[2].optimizer.get_config()


def test_decay_scales_the_update_of_several_optimizers():
    def make():
        by_path = {"block1.*": keras.optimizers.Adam(0.05)}
        return keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.05), by_path)
        )

    assert_scaled(second_step(make(), 1.0), second_step(make(), 0.5))


def nothing(y_true, y_pred):
    """A loss without gradient, so that the weights feel their penalty alone."""
    return 0.0 * keras.ops.sum(y_pred, axis=-1)


def closed_form(weight, multiplier, penalty, steps, start=None, **settings):
    """SGD on `penalty * weight ** 2`, number by number."""
    rate, velocity, average = 0.1, 0.0, None
    for _ in range(steps):
        velocity = settings.get("momentum", 0) * velocity - rate * 2 * penalty * weight
        decayed = rate * settings.get("weight_decay", 0) * weight
        weight = weight + multiplier * (velocity - decayed)
        average = weight if average is None else 0.5 * average + 0.5 * weight
    return average if settings.get("use_ema") else weight


@pytest.mark.parametrize("loss_scale", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9, "weight_decay": 0.5},
        {"use_ema": True, "ema_momentum": 0.5, "weight_decay": 0.5},
        {"gradient_accumulation_steps": 2, "weight_decay": 0.5},
    ],
    ids=["plain", "momentum", "average", "accumulation"],
)
def test_closed_form_of_decayed_sgd_in_fit(settings, loss_scale):
    model = make_tiny()
    optimizer = keras.optimizers.SGD(0.1, **settings)
    if loss_scale:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, nothing)
    epochs = 3 * settings.get("gradient_accumulation_steps", 1)
    for decay in (0.5, 1.0):  # nothing but the decay changes in between
        model.unfreeze("all", learning_rate_decay=decay)
        before = values(model.trainable_variables)
        state = values(model.optimizer.variables)
        if decay == 1.0 and set(settings) & {"momentum", "use_ema"}:
            break  # these go on from a state
        train(model, *tiny_data(), epochs=epochs)
        for old, new, power, penalty in zip(
            before,
            values(model.trainable_variables),
            (2, 2, 1, 1, 0, 0),
            (PENALTY, 0, PENALTY, 0, 0, 0),
            strict=True,
        ):
            expected = closed_form(old, decay**power, penalty, 3, **settings)
            np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-7)
    assert len(state) > 0
