"""Learning-rate decay by block, training in two phases, the learning-rate finder."""

import inspect

import keras
import numpy as np
import pytest

from keras_residual import GradientNormCallback, TransferModel
from keras_residual.models.transfer import _learning_rate_range

needs_several_optimizers = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="since Keras 3.15"
)
# Found by reflection: a new class of Keras is tested, or fails here.
OPTIMIZERS = {
    name: optimizer
    for name, optimizer in vars(keras.optimizers).items()
    if inspect.isclass(optimizer)
    and issubclass(optimizer, keras.optimizers.Optimizer)
    and name not in ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
}
if keras.backend.backend() == "tensorflow" and keras.version() < "3.13":
    # Keras 3.12's fails in any `fit`: it asks TensorFlow's variables for their path.
    OPTIMIZERS.pop("Muon", None)
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
# One whose step is scaled, one whose decay is apart, one with a rule of its own.
QUICK = ("momentum", "decayed", "Adadelta", "clipped")

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


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in VARIANTS
    ],
)
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


# Ftrl makes weights from its own state alone, at any rate; a schedule has no one rate.
@pytest.mark.parametrize("name", sorted(set(VARIANTS) - {"Ftrl", "schedule"}))
def test_decay_is_a_lower_learning_rate_over_several_steps(name):
    class_name, arguments = VARIANTS[name]
    models = []
    for rate, decay in ((0.05, 0.5), (0.05 * 0.25, 1.0)):
        model = make_tiny()
        model.unfreeze("all", learning_rate_decay=decay)
        arguments = {**arguments, "learning_rate": rate}
        model.compile(OPTIMIZERS[class_name](**arguments), nothing)
        for step in range(4):
            apply(model, step)
        models.append(values(model.trainable_variables))
    for decayed, lower in zip(models[0][:2], models[1][:2], strict=True):
        np.testing.assert_allclose(decayed, lower, rtol=1e-4, atol=1e-6)


@needs_several_optimizers
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


def closed_form(weight, multiplier, penalty, steps, **settings):
    """SGD on `penalty * weight ** 2`, number by number."""
    rate, velocity, average = 0.1, 0.0, None
    for _ in range(steps):
        velocity = settings.get("momentum", 0) * velocity - rate * 2 * penalty * weight
        decayed = rate * settings.get("weight_decay", 0) * weight
        weight = weight + multiplier * (velocity - decayed)
        average = weight if average is None else 0.5 * average + 0.5 * weight
    return average if settings.get("use_ema") else weight


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "loss_scale"),
    [
        ({}, False),
        ({"momentum": 0.9, "weight_decay": 0.5}, True),
        ({"use_ema": True, "ema_momentum": 0.5, "weight_decay": 0.5}, False),
        ({"gradient_accumulation_steps": 2, "weight_decay": 0.5}, True),
    ],
    ids=["plain", "momentum scaled", "average", "accumulation scaled"],
)
def test_closed_form_of_decayed_sgd_in_fit(settings, loss_scale):
    model = make_tiny()
    optimizer = keras.optimizers.SGD(0.1, **settings)
    if loss_scale:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer, nothing)
    epochs = 3 * settings.get("gradient_accumulation_steps", 1)
    has_state = set(settings) & {"momentum", "use_ema"}
    # Nothing but the decay changes, so that nothing compiled before may be used again.
    for decay in (0.5,) if has_state else (0.5, 1.0):
        model.unfreeze("all", learning_rate_decay=decay)
        before = values(model.trainable_variables)
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


@pytest.mark.slow
def test_decay_is_in_the_table_and_in_the_file(tmp_path):
    images, labels = tiny_data()
    model = make_tiny()
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.unfreeze("all", learning_rate_decay=0.5)
    table = model.trainable_table()
    assert [(row["block"], row["learning_rate_multiplier"]) for row in table] == [
        ("block1", 0.25),
        ("block2", 0.5),
        ("head", 1.0),
    ]
    train(model, images, labels, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.trainable_table() == table
    assert type(loaded.optimizer) is type(model.optimizer)
    for each in (model, loaded):
        each.optimizer.learning_rate = 0.01
        train(each, images, labels, epochs=2)
    for a, b in zip(values(model.variables), values(loaded.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    loaded.unfreeze(1, "block", learning_rate_decay=0.1)
    multipliers = [row["learning_rate_multiplier"] for row in loaded.trainable_table()]
    assert multipliers == [0.0, 0.1, 1.0]
    loaded.freeze()
    loaded.unfreeze("all")  # without decay, unless it is asked for
    multipliers = [row["learning_rate_multiplier"] for row in loaded.trainable_table()]
    assert multipliers == [1.0, 1.0, 1.0]


def test_compiling_with_the_same_optimizer_does_not_slow_down_twice():
    model = make_tiny()
    model.unfreeze("all", learning_rate_decay=0.5)
    optimizer = keras.optimizers.SGD(0.05)
    for _ in range(2):
        model.compile(optimizer, "sparse_categorical_crossentropy")
    before = values(model.trainable_variables)
    apply(model, 1)
    after = values(model.trainable_variables)
    np.testing.assert_allclose(
        after[0] - before[0],
        -0.25 * 0.05 * values(gradients(model.trainable_variables, 10))[0],
        rtol=1e-4,
        atol=1e-7,
    )


@pytest.mark.slow
def test_gradient_norms_are_those_without_decay():
    recorded = []
    for decay in (1.0, 0.5):
        model = make_tiny()
        model.unfreeze("all", learning_rate_decay=decay)
        model.compile("sgd", "sparse_categorical_crossentropy")
        callback = GradientNormCallback(ratios=True)
        train(model, *tiny_data(), callbacks=[callback])
        recorded.append(callback)
    plain, slowed = recorded
    np.testing.assert_array_equal(plain.norms, slowed.norms)
    kernels = [0, 2, 4]  # the biases are zero before their first update
    np.testing.assert_allclose(
        slowed.update_ratios[:, kernels],
        plain.update_ratios[:, kernels] * np.array(MULTIPLIERS)[kernels],
        rtol=1e-3,
    )


@pytest.mark.parametrize("decay", [0, 1.5, -0.5, "half", True, None])
def test_decay_out_of_range(decay):
    model = make_tiny()
    with pytest.raises(ValueError, match="`learning_rate_decay` must be a number"):
        model.unfreeze("all", learning_rate_decay=decay)
    assert not model.backbone.trainable_variables  # nothing was changed


# --- two phases


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        images, labels = tiny_data()
        part = slice(4 * index, 4 * index + 4)
        return images[part], labels[part]


class Observer(keras.callbacks.Callback):
    """What trains, and how fast, at the beginning of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.kernels = []

    def on_epoch_begin(self, epoch, logs=None):
        model = self.model
        rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        self.seen.append((epoch, len(model.trainable_variables), round(rate, 8)))
        self.kernels.append(values(model.backbone.weights)[2])


def compiled(**arguments):
    model = make_tiny(**arguments)
    model.compile(
        keras.optimizers.Adam(0.05),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


@pytest.mark.parametrize(
    ("kind", "cache"),
    [
        ("arrays", False),
        pytest.param("data set", True, marks=pytest.mark.slow),
    ],
)
def test_two_phases_are_two_fits(kind, cache):
    data = tiny_data() if kind == "arrays" else (Batches(),)
    validation = data if kind == "arrays" else data[0]
    arguments = {"validation_data": validation, "shuffle": False, "verbose": 0}
    if kind == "arrays":
        arguments["batch_size"] = 4

    by_hand = compiled()
    head = by_hand.fit(*data, epochs=2, **arguments)
    by_hand.unfreeze(1, "block", learning_rate_decay=0.5)
    by_hand.optimizer.learning_rate = 0.005
    tail = by_hand.fit(*data, epochs=5, initial_epoch=2, **arguments)

    model = compiled()
    model.unfreeze("all")  # the head comes first all the same
    observer = Observer()
    history = model.fit_two_phase(
        *data,
        epochs=(2, 3),
        unfreeze=1,
        unfreeze_unit="block",
        learning_rate_decay=0.5,
        cache=cache,
        callbacks=[observer],
        **arguments,
    )
    assert observer.seen == [
        (0, 2, 0.05),
        (1, 2, 0.05),
        (2, 4, 0.005),
        (3, 4, 0.005),
        (4, 4, 0.005),
    ]
    np.testing.assert_array_equal(observer.kernels[0], observer.kernels[2])
    assert np.abs(observer.kernels[4] - observer.kernels[2]).max() > 1e-5
    for a, b in zip(values(model.variables), values(by_hand.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert history.epoch == [0, 1, 2, 3, 4]
    assert history.tail_epoch == 2
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    expected = head.history["val_loss"] + tail.history["val_loss"]
    np.testing.assert_allclose(history.history["val_loss"], expected, rtol=1e-4)
    assert model.history is history
    assert model.trainable_table()[1]["learning_rate_multiplier"] == 0.5


@pytest.mark.slow
def test_epochs_count_on_where_the_head_stopped_early():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = compiled()
    history = model.fit_two_phase(
        *tiny_data(), epochs=(9, 9), unfreeze=1, callbacks=[Stop()], verbose=0
    )
    assert history.epoch == list(range(len(history.epoch)))
    assert history.tail_epoch == 1
    assert len(history.history["loss"]) == len(history.epoch) == 2


class Killed(Exception):
    pass


class Events(keras.callbacks.Callback):
    """Stops the head after an epoch, or everything before one."""

    def __init__(self, stop=None, kill=None):
        super().__init__()
        self.stop = stop
        self.kill = kill

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.kill:
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.stop:
            self.model.stop_training = True


@pytest.mark.parametrize(
    ("head_epochs", "stop", "kill"),
    [
        pytest.param(2, None, 1, marks=pytest.mark.slow, id="head"),
        pytest.param(2, None, 2, marks=pytest.mark.slow, id="before the tail"),
        pytest.param(2, None, 4, id="tail"),
        pytest.param(9, 1, 4, marks=pytest.mark.slow, id="tail of a stopped head"),
    ],
)
def test_two_phases_go_on_where_they_were_killed(head_epochs, stop, kill, tmp_path):
    def train(kill=None):
        model = compiled()
        callbacks = [
            keras.callbacks.BackupAndRestore(tmp_path / "backup"),
            Events(stop, kill),
        ]
        history = model.fit_two_phase(
            *tiny_data(),
            epochs=(head_epochs, 3),
            unfreeze=1,
            callbacks=callbacks,
            batch_size=4,
            shuffle=False,
            verbose=0,
        )
        return model, history

    expected, _ = train()
    with pytest.raises(Killed):
        train(kill)
    model, history = train()

    # The backup of the head is gone once the tail begins.
    assert history.epoch == list(range(0 if kill == 2 else kill, 5))
    assert history.tail_epoch == 2
    assert int(model.optimizer.iterations) == 5 * 2
    for a, b in zip(
        values([*model.variables, *model.optimizer.variables]),
        values([*expected.variables, *expected.optimizer.variables]),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not (tmp_path / "backup").exists()


@pytest.mark.slow
def test_unfreezing_gradually_goes_on_where_it_was_killed(tmp_path):
    def train(kill=None):
        model, observer = compiled(), Observer()
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        history = model.fit_two_phase(
            *tiny_data(),
            epochs=(1, 1, 2),
            unfreeze=(1, "all"),
            unfreeze_unit="block",
            callbacks=[backup, observer, Events(kill=kill)],
            batch_size=4,
            shuffle=False,
            verbose=0,
        )
        return model, history, observer.seen

    expected, history, seen = train()
    # Kernel and bias of the head, of one block, and of both.
    assert seen == [(0, 2, 0.05), (1, 4, 0.005), (2, 6, 0.005), (3, 6, 0.005)]
    assert history.epoch == [0, 1, 2, 3]
    assert (history.tail_epoch, history.phase_epochs) == (1, [1, 2])
    with pytest.raises(Killed):
        train(kill=3)
    model, history, seen = train()
    assert seen == [(3, 6, 0.005)]
    assert (history.tail_epoch, history.phase_epochs) == (1, [1, 2])
    for a, b in zip(values(model.variables), values(expected.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(
            keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
        ),
        pytest.param(
            lambda: keras.optimizers.MultiOptimizer(
                keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
            ),
            marks=needs_several_optimizers,
        ),
    ],
    ids=["schedule", "several"],
)
def test_two_phases_without_number_for_a_rate(optimizer):
    model = make_tiny()
    model.compile(optimizer(), "sparse_categorical_crossentropy")
    for method in (model.fit_two_phase, model.find_learning_rate):
        with pytest.raises(ValueError, match="sets the learning rate: it must be"):
            method(*tiny_data())


def test_two_phases_of_a_model_that_is_not_compiled():
    model = make_tiny()
    for method in (model.fit_two_phase, model.find_learning_rate):
        with pytest.raises(ValueError, match="must be compiled with an optimizer"):
            method(*tiny_data())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 3}, "`epochs` must be two positive integers"),
        ({"epochs": (1, 2, 3)}, "`epochs` must be two positive integers"),
        ({"epochs": (1, 0)}, "`epochs` must be a positive integer"),
        ({"unfreeze": (1, 2)}, "`epochs` must be 3 positive integers"),
        ({"unfreeze": []}, "`epochs` must be two positive integers"),
        ({"unfreeze": [1, 99], "epochs": (1, 1, 1)}, "`unfreeze` must be at most 2"),
        ({"unfreeze": 99}, "`unfreeze` must be at most 2"),
        ({"unfreeze_unit": "row"}, "`unfreeze_unit` must be one of"),
        ({"learning_rate": 0}, "`learning_rate` must be a number greater than 0"),
        ({"learning_rate_decay": 2}, "`learning_rate_decay` must be"),
        ({"initial_epoch": 1}, "`initial_epoch` must be left out"),
        ({"cache": True, "validation_split": 0.5}, "`validation_split` must be left"),
        (
            {"cache": True, "validation_data": (*tiny_data(), np.ones(8), 0)},
            "`validation_data` must be a pair",
        ),
        ({"validation_data": (pair for pair in [tiny_data()])}, "more than once"),
        ({"x": (pair for pair in [tiny_data()]), "y": None}, "more than once"),
    ],
)
def test_two_phases_refuse_before_they_train(arguments, message):
    model = compiled()
    images, labels = tiny_data()
    before = values(model.variables)
    arguments = {"x": images, "y": labels, "unfreeze": 1, "verbose": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        model.fit_two_phase(**arguments)
    for a, b in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_phases_need_trained_weights_and_images():
    model = compiled(mode="scratch")
    with pytest.raises(ValueError, match="must not be 'scratch' for `fit_two_phase`"):
        model.fit_two_phase(*tiny_data(), unfreeze=1)
    model = compiled()
    features = model.cache_features(*tiny_data())
    with pytest.raises(ValueError, match="`x` must be images"):
        model.fit_two_phase(features, unfreeze=1)


# --- learning-rate finder


def everything(model):
    return values([*model.variables, *model.optimizer.variables])


@pytest.mark.parametrize(
    "optimizer", ["adam", pytest.param("loss_scale", marks=pytest.mark.slow)]
)
def test_finder_leaves_no_trace(optimizer):
    """Neither in the values nor, with dropout, in the training that follows."""
    images, labels = tiny_data()
    models = []
    for searches in (False, True):
        model = make_tiny(dropout=0.5)
        inner = keras.optimizers.Adam(0.05)
        if optimizer == "loss_scale":
            inner = keras.optimizers.LossScaleOptimizer(inner)
        model.compile(inner, "sparse_categorical_crossentropy")
        train(model, images, labels)
        if searches:
            history = model.history
            before = everything(model)
            found = model.find_learning_rate(images, labels, steps=12, batch_size=8)
            assert len(found.rates) == 12
            for a, b in zip(before, everything(model), strict=True):
                np.testing.assert_array_equal(a, b)
            assert model.history is history
        train(model, images, labels, epochs=2)
        models.append(model)
    for a, b in zip(*map(everything, models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_finder_measures_the_loss_at_each_rate():
    """Against a loop by hand over single batches."""
    images, labels = tiny_data()
    model = compiled()
    found = model.find_learning_rate(
        images, labels, low=1e-4, high=0.1, steps=10, batch_size=8
    )
    np.testing.assert_allclose(found.rates, 1e-4 * 10 ** (np.arange(10) / 3))
    other = compiled()
    losses = []
    for rate in found.rates:
        other.optimizer.learning_rate = rate
        losses.append(other.evaluate(images, labels, verbose=0)[0])
        other.train_on_batch(images, labels)
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)


@pytest.mark.slow
def test_finder_stops_where_training_diverges():
    """In closed form: each step multiplies the weights by 1 - 2 * rate * PENALTY."""
    model = make_tiny()
    model.compile(keras.optimizers.SGD(1.0), nothing)
    model.unfreeze("all")
    start = PENALTY * sum((w**2).sum() for w in values(model.trainable_variables)[:4])
    found = model.find_learning_rate(*tiny_data(), low=1e-3, high=1e3, steps=60)
    rates = np.geomspace(1e-3, 1e3, 60)
    factors = (1 - 2 * rates * PENALTY) ** 2
    losses = start * np.concatenate([[1], np.cumprod(factors)[:-1]])
    size = len(found.losses)
    np.testing.assert_allclose(found.rates, rates[:size])
    np.testing.assert_allclose(found.losses, losses[:size], rtol=1e-3)
    times = found.smoothed_losses / np.minimum.accumulate(found.smoothed_losses)
    assert times[-1] > 4 >= times[:-1].max()
    assert found.suggestion < 1 < found.rates[-1]


def test_suggestion_is_the_steepest_descent():
    """Of a loss that falls by a logistic curve in the logarithm of the rate."""
    rates = np.geomspace(1e-6, 1.0, 5000)
    position = np.log10(rates)
    falling = _learning_rate_range._found(rates, 1 / (1 + 10 ** (3 * (position + 3))))
    assert abs(np.log10(falling.suggestion) + 3) < 0.05  # the average lags behind
    valley = _learning_rate_range._found(rates, (position + 2) ** 2)
    # The parabola is steepest in the first window after the steps that are left out.
    assert abs(np.log10(valley.suggestion) + 4.8) < 0.05
    # A blow-up, whose recovery falls faster than anything before.
    bump = 20 * np.exp(-(((position + 1) / 0.2) ** 2))
    recovered = _learning_rate_range._found(
        rates, 1 / (1 + 10 ** (3 * (position + 3))) + bump
    )
    assert abs(np.log10(recovered.suggestion) + 3) < 0.05
    # Two bad batches, early, among a hundred.
    few = np.geomspace(1e-7, 1.0, 100)
    noisy = 1 / (1 + 10 ** (np.log10(few) + 3))
    noisy[12:14] += 1.5
    assert abs(np.log10(_learning_rate_range._found(few, noisy).suggestion) + 3) < 0.7
    rising = _learning_rate_range._found(rates, position + 7)
    assert rising.suggestion is None
    constant = _learning_rate_range._found(rates[:50], np.full(50, 3.0))
    np.testing.assert_allclose(constant.smoothed_losses, 3.0)


@pytest.mark.slow
def test_finder_takes_data_sets_and_features():
    model = compiled()
    found = model.find_learning_rate(Batches(), low=1e-12, high=1e-11, steps=10)
    losses = [model.evaluate(*Batches()[i], verbose=0)[0] for i in (0, 1)]
    assert abs(losses[0] - losses[1]) > 1e-3  # of each batch, not of both
    np.testing.assert_allclose(found.losses, losses * 5, rtol=1e-4)
    features = model.cache_features(*tiny_data())
    found = model.find_learning_rate(features, steps=10, batch_size=3)
    assert len(found.losses) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 0}, "`low` must be a number greater than 0"),
        ({"high": float("inf")}, "`high` must be a number greater than 0"),
        ({"low": 1.0}, "`low` must be less than `high`"),
        ({"steps": 9}, "`steps` must be at least 10"),
        ({"steps": 1.5}, "`steps` must be a positive integer"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"x": (pair for pair in []), "y": None}, "more than once"),
        ({"y": np.zeros(9)}, "`y` must have a label for each image"),
    ],
)
def test_finder_arguments(arguments, message):
    images, labels = tiny_data()
    with pytest.raises(ValueError, match=message):
        compiled().find_learning_rate(**{"x": images, "y": labels, **arguments})
