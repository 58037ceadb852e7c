"""Update-to-weight ratios, against weights that another callback sees."""

from itertools import pairwise

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback


def norm(values):
    return np.linalg.norm(np.asarray(values, "float64"))


def changes(weights):
    """Norms of the updates and of the weights before them, `(steps, variables)`."""
    updates = [
        [norm(new - old) for new, old in zip(after, before, strict=True)]
        for before, after in pairwise(weights)
    ]
    return np.array(updates), np.array([[norm(w) for w in ws] for ws in weights[:-1]])


@pytest.mark.parametrize("arguments", [{}, {"jit_compile": False}])
def test_ratios_of_sgd_equal_the_formula(
    linear_model, linear_replay, linear_data, arguments
):
    x, y, batches = linear_data(steps=5)
    model = linear_model(**arguments)
    model.set_weights([w + 0.5 for w in model.get_weights()])
    replay = linear_replay(model)
    expected, norms = [], []
    for batch in batches:
        weights = np.array([norm(replay.kernel), norm(replay.bias)])
        norms.append(replay.norms([batch])[0])
        expected.append(0.1 * norms[-1] / weights)
    callback = GradientNormCallback(ratios=True)

    fit(model, x, y, callback)

    assert callback.update_ratios.dtype == "float32"
    np.testing.assert_allclose(callback.update_ratios, expected, rtol=1e-4)
    np.testing.assert_allclose(callback.norms, norms, rtol=1e-5)


@pytest.mark.parametrize(
    ("by", "every"),
    [
        ("variable", 1),
        ("layer", 3),
        pytest.param("variable", 3, marks=pytest.mark.slow),
        pytest.param("layer", 1, marks=pytest.mark.slow),
    ],
)
def test_ratios_are_of_the_whole_update(
    convolutional_model, image_data, weight_recorder, every, by
):
    x, y = image_data(steps=5)
    model = convolutional_model(
        keras.optimizers.AdamW(0.01, weight_decay=0.1, global_clipnorm=0.1)
    )
    # Away from zero, so that every variable has a ratio.
    model.set_weights([w + 0.1 for w in model.get_weights()])
    callback = GradientNormCallback(every, by, ratios=True)

    fit(model, x, y, weight_recorder, callback, batch_size=8)

    weights = [*weight_recorder.weights, model.get_weights()]
    # The moving statistics, third and second from the end of the normalization.
    trained = [0, 1, 2, 5, 6]
    updates, before = changes([[ws[i] for i in trained] for ws in weights])
    if by == "layer":
        starts = [0, 1, 3]
        updates = np.sqrt(np.add.reduceat(updates**2, starts, axis=1))
        before = np.sqrt(np.add.reduceat(before**2, starts, axis=1))
    np.testing.assert_allclose(
        callback.update_ratios, (updates / before)[::every], rtol=1e-3
    )


def test_ratio_with_gradient_accumulation(linear_model, linear_data, weight_recorder):
    x, y, _ = linear_data(steps=4)
    model = linear_model(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    callback = GradientNormCallback(ratios=True, layers="*", by="layer")

    fit(model, x, y, weight_recorder, callback)

    weights = [weight_recorder.weights[0], weight_recorder.weights[2]]
    weights.append(model.get_weights())
    updates, before = changes(weights)
    expected = [[norm(u) / norm(w)] for u, w in zip(updates, before, strict=True)]
    np.testing.assert_allclose(callback.update_ratios, expected, rtol=1e-5)


def test_ratio_in_half_precision(image_data, convolutional_model, weight_recorder):
    keras.config.set_dtype_policy("mixed_float16")
    x, y = image_data(steps=2)
    model = convolutional_model()
    callback = GradientNormCallback(ratios=True)

    fit(model, x, y, weight_recorder, callback, batch_size=8)

    updates, before = changes([*weight_recorder.weights, model.get_weights()])
    kernel = (updates / np.maximum(before, 1e-9))[:, 0]
    np.testing.assert_allclose(callback.update_ratios[:, 0], kernel, rtol=1e-3)


def test_weights_of_zero(linear_model, linear_data):
    x, y, _ = linear_data(steps=2)
    callback, still = (GradientNormCallback(ratios=True) for _ in range(2))

    fit(linear_model(), x, y, callback)
    fit(linear_model(keras.optimizers.SGD(0.0)), x, y, still)

    # Biases begin at zero.
    assert np.isposinf(callback.update_ratios[0, 1])
    assert np.isfinite(callback.update_ratios[1]).all()
    np.testing.assert_array_equal(still.update_ratios, [[0, np.nan]] * 2)


def test_without_ratios(linear_model, linear_data):
    x, y, _ = linear_data(steps=2)
    callback = GradientNormCallback()
    fit(linear_model(), x, y, callback)
    assert callback.update_ratios is None


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_ratios_in_files(linear_model, linear_data, tmp_path, suffix):
    x, y, _ = linear_data(steps=4)
    path = tmp_path / "while_training.csv"
    callback = GradientNormCallback(every=2, filepath=path, ratios=True)
    memory = GradientNormCallback(every=2, ratios=True)
    model = linear_model()
    fit(model, x, y, callback, memory)
    saved = tmp_path / f"saved{suffix}"
    memory.save(saved)

    for loaded in (callback, *map(GradientNormCallback.load, (path, saved))):
        assert loaded.names == memory.names
        np.testing.assert_array_equal(loaded.steps, [0, 2])
        np.testing.assert_array_equal(loaded.norms, memory.norms)
        np.testing.assert_array_equal(loaded.update_ratios, memory.update_ratios)
    names = [f"update_ratio/{name}" for name in memory.names]
    assert path.read_text().splitlines()[0].split(",") == [
        "step",
        *memory.names,
        *names,
    ]
    frame = memory.to_frame()
    assert frame.columns.tolist() == [*memory.names, *names]
    np.testing.assert_array_equal(frame[names], memory.update_ratios)
    # A loaded record goes on.
    loaded = GradientNormCallback.load(saved)
    fit(model, x, y, loaded)
    assert loaded.update_ratios.shape == (6, 2)


@pytest.mark.parametrize("ratios", [None, 1, "yes"])
def test_bad_ratios(ratios):
    with pytest.raises(ValueError, match=r"`ratios` must be True or False.*Received"):
        GradientNormCallback(ratios=ratios)
