"""Norms after clipping, the global norm, and what is told of each record."""

import itertools

import keras
import numpy as np
import pytest
from training import fit

from keras_residual.callbacks import GradientNormCallback
from keras_residual.callbacks._records import PREFIXES, Rows, write_file

CLIPPING = {
    "none": {},
    "clipnorm": {"clipnorm": 0.5},
    "global_clipnorm": {"global_clipnorm": 0.7},
    "clipvalue": {"clipvalue": 0.2},
}


def clipped(gradients, clipnorm=None, global_clipnorm=None, clipvalue=None):
    """What each way of clipping does, by its definition."""
    if clipvalue:
        return [np.clip(g, -clipvalue, clipvalue) for g in gradients]
    norms = [np.linalg.norm(g) for g in gradients]
    if global_clipnorm:
        total = np.linalg.norm(norms)
        return [g * min(1, global_clipnorm / total) for g in gradients]
    limits = [min(1, clipnorm / n) if clipnorm else 1 for n in norms]
    return [g * limit for g, limit in zip(gradients, limits, strict=True)]


@pytest.mark.parametrize("name", CLIPPING)
def test_norms_before_and_after_clipping(
    name, linear_model, linear_replay, linear_data
):
    x, y, batches = linear_data(steps=4)
    model = linear_model(keras.optimizers.SGD(0.1, **CLIPPING[name]))
    replay = linear_replay(model)
    before, after = [], []
    for batch in batches:
        gradients = replay.gradients(*batch)
        applied = clipped(gradients, **CLIPPING[name])
        before.append([np.linalg.norm(g) for g in gradients])
        after.append([np.linalg.norm(g) for g in applied])
        replay.apply(applied)
    callback = GradientNormCallback(clipped=True)

    fit(model, x, y, callback)

    np.testing.assert_allclose(callback.norms, before, rtol=1e-5)
    np.testing.assert_allclose(callback.clipped_norms, after, rtol=1e-5)
    assert np.allclose(before, after) == (name == "none")


@pytest.mark.slow
def test_global_clipping_looks_beyond_the_measured_layers(image_data):
    """And a mean over accumulated batches is what is clipped."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, name="first"),
            keras.layers.Dense(3, name="last"),
        ]
    )
    optimizer = keras.optimizers.SGD(
        0.0, global_clipnorm=0.1, gradient_accumulation_steps=2
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    x, y = image_data(steps=4)
    everything = GradientNormCallback(clipped=True, global_norm=True)
    part = GradientNormCallback(layers="last", clipped=True)
    fit(model, x, y, everything, batch_size=8)
    fit(model, x, y, part, batch_size=8)
    assert everything.names[-1] == "global_norm"
    totals = np.linalg.norm(everything.norms[:, :-1], axis=1)
    np.testing.assert_allclose(everything.norms[:, -1], totals, rtol=1e-5)
    np.testing.assert_allclose(everything.clipped_norms[:, -1], 0.1, rtol=1e-5)
    assert (totals > 0.2).all()
    np.testing.assert_allclose(
        part.clipped_norms, everything.clipped_norms[:, 2:4], rtol=1e-5
    )


def test_all_columns_of_a_file_come_back(linear_model, linear_data, tmp_path):
    x, y, _ = linear_data(steps=6)
    path = tmp_path / "norms.csv"
    kinds = {"clipped": True, "micro_batches": True, "ratios": True}
    callback = GradientNormCallback(
        filepath=path, by="layer", global_norm=True, **kinds
    )
    optimizer = keras.optimizers.SGD(0.1, clipnorm=0.1, gradient_accumulation_steps=2)
    fit(linear_model(optimizer), x, y, callback)
    columns = callback.to_frame().columns.tolist()
    names = callback.names
    assert names[-1] == "global_norm"
    assert columns == [
        *names,
        *(f"clipped_norm/{name}" for name in names),
        *(f"micro_batch_norm/{name}" for name in names),
        *(f"update_ratio/{name}" for name in names),
    ]
    callback.save(tmp_path / "norms.npz")
    for file in (path, tmp_path / "norms.npz"):
        loaded = GradientNormCallback.load(file)
        assert loaded.names == names
        for attribute in ("steps", "norms", *PREFIXES):
            np.testing.assert_array_equal(
                getattr(loaded, attribute), getattr(callback, attribute)
            )


@pytest.mark.once
@pytest.mark.parametrize("number", [1, 2, 3])
def test_some_kinds_alone_come_back(number, tmp_path):
    for kinds in itertools.combinations(PREFIXES, number):
        more = {kind: np.full((2, 1), i, "float32") for i, kind in enumerate(kinds)}
        rows = Rows(np.arange(2), np.ones((2, 1), "float32"), more)
        for name in ("norms.csv", "norms.npz"):
            write_file(tmp_path / name, ["kernel"], rows)
            loaded = GradientNormCallback.load(tmp_path / name)
            for kind in PREFIXES:
                expected = more[kind].tolist() if kind in more else None
                found = getattr(loaded, kind)
                assert (None if found is None else found.tolist()) == expected


@pytest.mark.once
def test_noise_scale():
    """Of examples whose gradients have a known mean and variance."""
    mean, deviation, size, steps = np.array([3.0, 0.0, 1.0]), 4.0, 5, 4
    batches = np.random.default_rng(0).normal(mean, deviation, (4_000, steps, size, 3))
    micro = batches.mean(2)[:, -1]
    more = {"micro_batch_norms": np.abs(micro).astype("float32")}
    norms = np.abs(batches.mean((1, 2))).astype("float32")
    callback = GradientNormCallback(micro_batches=True)
    callback._output.restore(["a", "b", "c"], Rows(np.arange(4_000), norms, more))
    expected = 3 * deviation**2 / (mean @ mean)
    assert callback.noise_scale(size, steps) == pytest.approx(expected, rel=0.1)
    with pytest.raises(ValueError, match="records, accumulation_steps=1"):
        callback.noise_scale(size, 1)
    with pytest.raises(ValueError, match=r"micro_batches=True\. Received: 0 rec"):
        GradientNormCallback().noise_scale(size, steps)


def test_each_record_is_told(linear_model, linear_data):
    x, y, _ = linear_data(steps=5)
    told = []
    callback = GradientNormCallback(
        every=2,
        clipped=True,
        on_record=lambda values, step: told.append((step, values)),
    )
    fit(linear_model(), x, y, callback)
    assert [step for step, _ in told] == [0, 2, 4]
    frame = callback.to_frame()
    for step, values in told:
        assert type(step) is int
        assert {type(value) for value in values.values()} == {float}
        assert values == frame.loc[step].to_dict()


@pytest.mark.once
@pytest.mark.slow
def test_mlflow_takes_the_records(linear_model, linear_data, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    x, y, _ = linear_data(steps=4)
    with mlflow.start_run() as run:
        callback = GradientNormCallback(every=2, on_record=mlflow.log_metrics)
        fit(linear_model(), x, y, callback)
    client = mlflow.MlflowClient()
    for name, norms in zip(callback.names, callback.norms.T, strict=True):
        history = client.get_metric_history(run.info.run_id, name)
        assert [metric.step for metric in history] == [0, 2]
        np.testing.assert_allclose([metric.value for metric in history], norms)


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of what W&B imports
def test_weights_and_biases_takes_the_records(
    linear_model, linear_data, tmp_path, monkeypatch
):
    wandb = pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    x, y, _ = linear_data(steps=4)
    run = wandb.init(mode="offline", dir=tmp_path)
    callback = GradientNormCallback(every=2, on_record=run.log)
    fit(linear_model(), x, y, callback)
    run.finish()
    wandb.teardown()  # its process has then written the file that `wandb sync` sends
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    for name, norms in zip(callback.names, callback.norms.T, strict=True):
        assert name.split("/")[-1].encode() in content
        for norm in norms:
            assert str(float(norm)).encode() in content


def test_an_alert_stops_the_training(linear_data, tmp_path):
    x, y, _ = linear_data(steps=8)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.0), lambda y, z: 1e9 * z)
    callback = GradientNormCallback(
        filepath=tmp_path / "norms.csv", alert=True, stop=True
    )
    with pytest.warns(UserWarning, match="above 1000"):
        fit(model, x, y, callback, epochs=3)
    # Read before the second step, which is the last.
    assert callback.steps.tolist() == [0, 1]
    calm = GradientNormCallback(alert=(0.0, 1e30), stop=True)
    fit(model, x, y, calm, epochs=2)
    assert len(calm.steps) == 16


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none"
)
def test_clipping_in_parts_is_refused(linear_data):
    x, y, _ = linear_data(steps=1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.SGD())
    )
    model.compile(optimizer, "mse")
    with pytest.raises(ValueError, match="`clipped` needs one optimizer"):
        fit(model, x, y, GradientNormCallback(clipped=True))


def test_micro_batches_without_accumulation(linear_model, linear_data):
    x, y, _ = linear_data(steps=1)
    with pytest.raises(ValueError, match="micro_batches=True with SGD"):
        fit(linear_model(), x, y, GradientNormCallback(micro_batches=True))


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clipped": 1}, "`clipped` must be True or False"),
        ({"micro_batches": 1}, "`micro_batches` must be True or False"),
        ({"global_norm": None}, "`global_norm` must be True or False"),
        ({"stop": "yes"}, "`stop` must be True or False"),
        ({"stop": True}, "`stop` needs `alert`"),
        ({"on_record": "log"}, "`on_record` must be a function"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientNormCallback(**arguments)
