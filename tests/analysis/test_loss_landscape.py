"""Losses around a network, against losses that are known without the library."""

import keras
import numpy as np
import pytest

from keras_residual.analysis import loss_landscape
from keras_residual.analysis._directions import filter_normalized_direction
from keras_residual.analysis._landscape_file import LossPoints


def one_weight(weight, trainable=True):
    layer = keras.layers.Dense(1, use_bias=False, trainable=trainable)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.set_weights([np.full((1, 1), weight)])
    return model


ONE = np.ones((5, 1), "float32")


@pytest.mark.parametrize("weight", [2.0, -0.5])
def test_line_of_a_single_weight_is_a_parabola(weight):
    """Its only filter moves by its own size, up or down."""
    landscape = loss_landscape(
        one_weight(weight), ONE, ONE, 5, distance=2.0, dimensions=1, loss="mse"
    )
    np.testing.assert_array_equal(landscape.distances, [-2, -1, 0, 1, 2])
    up = (weight * (1 + landscape.distances) - 1) ** 2
    assert np.allclose(landscape.losses, up, rtol=1e-5) or np.allclose(
        landscape.losses, up[::-1], rtol=1e-5
    )


def test_grid_of_a_single_weight():
    landscape = loss_landscape(one_weight(2.0), ONE, ONE, 3, loss="mse", verbose=0)
    rows, columns = np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij")
    expected = [
        (2.0 * (1 + first * rows + second * columns) - 1) ** 2
        for first in (1, -1)
        for second in (1, -1)
    ]
    assert any(np.allclose(landscape.losses, e, rtol=1e-5) for e in expected)
    assert landscape.centre == 1.0


def small_network(regularizer="l2"):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Dropout(0.5)(inputs)
    x = keras.layers.Conv2D(4, 3, kernel_regularizer=regularizer, name="convolution")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-7, name="normalization")(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    return model


def data(number=10):
    generator = np.random.default_rng(0)
    x = generator.normal(size=(number, 6, 6, 3)).astype("float32")
    return x, generator.integers(0, 3, number)


def all_values(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def test_centre_is_what_evaluate_says_and_the_model_stays_as_it_is():
    model, (x, y) = small_network(), data()
    model.fit(x, y, batch_size=4, verbose=0)
    expected = model.evaluate(x, y, batch_size=4, verbose=0)
    before = all_values(model)

    # 10 images in batches of 4: the last batch counts by its size.
    landscape = loss_landscape(model, x, y, 3, batch_size=4, verbose=0)

    for old, new in zip(before, all_values(model), strict=True):
        np.testing.assert_array_equal(old, new)
    assert landscape.centre == pytest.approx(expected, rel=1e-6)
    assert len(np.unique(landscape.losses)) == 9


def test_scaling_a_convolution_before_a_normalization_changes_nothing(
    random_statistics,
):
    model, (x, y), factor = small_network(regularizer=None), data(), 7.0
    random_statistics(model)
    before = loss_landscape(model, x, y, 3, verbose=0)
    convolution = model.get_layer("convolution")
    convolution.set_weights([factor * w for w in convolution.get_weights()])
    normalization = model.get_layer("normalization")
    normalization.moving_mean.assign(normalization.moving_mean * factor)
    normalization.moving_variance.assign(normalization.moving_variance * factor**2)
    after = loss_landscape(model, x, y, 3, verbose=0)
    np.testing.assert_allclose(after.losses, before.losses, atol=1e-4)
    assert np.ptp(after.losses) > 0.01


def test_statistics_of_the_batch_take_any_factor_out():
    model, (x, y), factor = small_network(regularizer=None), data(), 100.0
    model.get_layer("normalization").epsilon = 1e-12
    before = loss_landscape(model, x, y, 3, batch_norm="batch", verbose=0)
    convolution = model.get_layer("convolution")
    convolution.set_weights([factor * w for w in convolution.get_weights()])
    after = loss_landscape(model, x, y, 3, batch_norm="batch", verbose=0)
    np.testing.assert_allclose(after.losses, before.losses, atol=1e-4)
    assert np.ptp(after.losses) > 0.01
    # The moving statistics of a new network are of nothing that it has seen.
    assert abs(loss_landscape(model, x, y, 3, verbose=0).centre - after.centre) > 1e-3


def test_the_seed_decides_the_directions():
    model, (x, y) = small_network(), data(4)
    first, again, other = (
        loss_landscape(model, x, y, 3, dimensions=1, seed=seed, verbose=0).losses
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first[[0, 2]] != other[[0, 2]]).all()
    assert first[1] == other[1]


def test_frozen_weights_do_not_move():
    model = small_network()
    model.get_layer("convolution").trainable = False
    x, y = data(4)
    # A zero map in front of the dense layer: only the convolution could matter.
    model.get_layer("normalization").gamma.assign(np.zeros(4))
    landscape = loss_landscape(model, x, y, 3, dimensions=1, verbose=0)
    assert np.ptp(landscape.losses) == 0
    with pytest.raises(ValueError, match="`model` must have trainable weights of two"):
        loss_landscape(one_weight(1.0, trainable=False), ONE, ONE, loss="mse")


def test_losses_that_overflow_stay_visible():
    landscape = loss_landscape(
        one_weight(1.0),
        ONE,
        ONE,
        3,
        dimensions=1,
        loss=lambda y, z: keras.ops.exp(1000 * keras.ops.maximum(z - 1, 0)),
        verbose=0,
    )
    assert landscape.centre == 1
    assert sorted(landscape.losses) == [1, 1, np.inf]


# Kernel shape, and the axes that one filter spans.
LAYERS = {
    "Conv2D": (keras.layers.Conv2D(4, 3), (0, 1, 2)),
    "DepthwiseConv2D": (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (0, 1)),
    "Conv2DTranspose": (keras.layers.Conv2DTranspose(4, 3), (0, 1, 3)),
    "Dense": (keras.layers.Dense(4), (0,)),
}


@pytest.mark.once
@pytest.mark.parametrize("name", LAYERS)
def test_filters_of_a_direction_have_the_norms_of_the_network(name):
    layer, axes = LAYERS[name]
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    kernel = model.trainable_variables[0]
    if name == "Conv2D":
        values = keras.ops.convert_to_numpy(kernel).copy()
        values[..., 1] = 0
        kernel.assign(values)
    (direction,) = filter_normalized_direction(
        model, [kernel], np.random.default_rng(0)
    )
    norms = [
        np.sqrt((keras.ops.convert_to_numpy(t) ** 2).sum(axes))
        for t in (direction, kernel)
    ]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)
    assert len(np.unique(norms[1])) > 2


def test_an_interrupted_landscape_goes_on(tmp_path, monkeypatch):
    model, path = one_weight(2.0), tmp_path / "landscape.npz"

    def run(**changes):
        arguments = {"loss": "mse", "filepath": path, "verbose": 0} | changes
        return loss_landscape(model, ONE, ONE, 3, **arguments)

    expected = run(filepath=None)
    added, add = [], LossPoints.add

    def stop_after(number):
        def counted(self, place, loss):
            if len(added) == number:
                raise KeyboardInterrupt
            add(self, place, loss)
            added.append(place)

        monkeypatch.setattr(LossPoints, "add", counted)

    stop_after(4)
    with pytest.raises(KeyboardInterrupt):
        run()
    stop_after(9)
    finished = run()
    assert len(added) == 9
    assert len(set(added)) == 9
    np.testing.assert_array_equal(finished.losses, expected.losses)
    stop_after(0)
    np.testing.assert_array_equal(run().losses, expected.losses)
    # Another landscape has no business in this file.
    for changes in ({"seed": 1}, {"loss": "mae"}, {"distance": 2.0}):
        with pytest.raises(ValueError, match="`filepath` must be a new file, or one"):
            run(**changes)
    model.set_weights([np.ones((1, 1))])
    with pytest.raises(ValueError, match="`filepath` must be a new file, or one"):
        run()


@pytest.mark.once
@pytest.mark.parametrize("content", [b"", b"PK", b"step,a\n1,2\n"])
def test_a_file_of_something_else_is_not_overwritten(content, tmp_path):
    path = tmp_path / "notes.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="`filepath` must be a new file, or one"):
        loss_landscape(one_weight(2.0), ONE, ONE, 3, loss="mse", filepath=path)
    assert path.read_bytes() == content


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 4}, "`steps` must be an odd integer of at least 3"),
        ({"steps": 1}, "`steps` must be an odd integer of at least 3"),
        ({"steps": 2.5}, "`steps` must be a positive integer"),
        ({"distance": 0}, "`distance` must be a number greater than 0"),
        ({"dimensions": 3}, "`dimensions` must be one of 1, 2"),
        ({"batch_norm": "none"}, "`batch_norm` must be one of 'moving', 'batch'"),
        ({"seed": -1}, "`seed` must be an integer of 0 or greater"),
        ({"batch_size": 0}, "`batch_size` must be a positive integer"),
        ({"filepath": "landscape.csv"}, r"`filepath` must end in \.npz"),
        ({"filepath": "missing/landscape.npz"}, "in a folder that exists"),
        ({"loss": None}, "`loss` must be given for a model"),
        ({"y": ONE[:3]}, "`x` and `y` must have the same length"),
        ({"model": keras.Sequential([keras.layers.Dense(1)])}, "`model` must be built"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {
        "model": one_weight(1.0),
        "x": ONE,
        "y": ONE,
        "loss": "mse",
        "verbose": 0,
    } | arguments
    with pytest.raises(ValueError, match=message):
        loss_landscape(**arguments)


def test_progress_counts_the_points(capsys):
    loss_landscape(one_weight(1.0), ONE, ONE, 3, dimensions=1, loss="mse")
    assert "3/3" in capsys.readouterr().out
