"""Packages around Keras take the library's blocks: the real ones, extra `interop`.

`tf.data`, Grain, KerasCV and KerasHub have tests beside what they are used with, and so
has TensorBoard.
"""

import shutil

import keras
import numpy as np
import pytest

from keras_residual import PlainBlock, PlainNet, ResidualBlock, ResNet

pytestmark = [pytest.mark.once, pytest.mark.slow]

IMAGES = np.random.default_rng(0).normal(size=(24, 8, 8, 3)).astype("float32")
LABELS = np.arange(24) % 2


def build(block="residual", filters=4, drop_path=0.0):
    options = {"drop_path": drop_path} if block == "residual" else {}
    layer = {"plain": PlainBlock, "residual": ResidualBlock}[block]
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layer(filters, **options),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    return model


# KerasTuner 1.4.8 asks Python for the thread in an old way (2026-11-28).
@pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:getName:DeprecationWarning")
def test_keras_tuner_searches_over_the_arguments_of_blocks(tmp_path):
    keras_tuner = pytest.importorskip("keras_tuner")

    def hypermodel(hp):
        return build(
            hp.Choice("block", ["plain", "residual"]),
            hp.Int("filters", 4, 8, step=4),
            hp.Float(
                "drop_path",
                0.0,
                0.5,
                step=0.5,
                parent_name="block",
                parent_values=["residual"],
            ),
        )

    tuner = keras_tuner.GridSearch(
        hypermodel, "val_accuracy", directory=tmp_path, project_name="blocks"
    )
    data = {"x": IMAGES, "y": LABELS, "validation_data": (IMAGES, LABELS)}
    tuner.search(**data, epochs=1, verbose=0)
    trials = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    tried = {(t["block"], t["filters"], t.get("drop_path")) for t in trials}
    assert {(block, filters) for block, filters, _ in tried} == {
        (block, filters) for block in ("plain", "residual") for filters in (4, 8)
    }
    # The best network comes from its file.
    best, values = tuner.get_best_models()[0], tuner.get_best_hyperparameters()[0]
    assert best.layers[0].filters == values["filters"]
    score = max(trial.score for trial in tuner.oracle.trials.values())
    assert best.evaluate(IMAGES, LABELS, verbose=0)[1] == pytest.approx(score)


@pytest.fixture
def pydot():
    if shutil.which("dot") is None:
        pytest.skip("graphviz needed: there is no program `dot` on the path")
    return pytest.importorskip("pydot")


@pytest.mark.parametrize("network", [PlainNet, ResNet])
def test_plot_model_draws_every_block(network, pydot, tmp_path):
    model = network(8, num_classes=10, variant="cifar")
    graph = keras.utils.model_to_dot(model, show_layer_names=True)
    assert isinstance(graph, pydot.Dot)
    for block in ("stage1_block1", "stage2_block1", "stage3_block1"):
        assert block in graph.to_string()
    keras.utils.plot_model(model, tmp_path / "net.png", show_shapes=True)
    assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_hub_offline_says_so(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match=r"[Oo]ffline"):
        build().save("hf://someone/blocks")


def test_network_comes_back_from_the_hub(pydot, monkeypatch, tmp_path):
    """A folder stands for the hub. Keras draws the network for its page there."""
    hub = pytest.importorskip("huggingface_hub")

    def create_repo(self, repo_id, **_):
        return hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, folder_path, **_):
        shutil.copytree(folder_path, tmp_path / "hub")

    monkeypatch.setattr(hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr(hub, "snapshot_download", lambda **_: str(tmp_path / "hub"))
    model = build(drop_path=0.2)
    model.save("hf://someone/blocks")
    loaded = keras.saving.load_model("hf://someone/blocks")
    assert isinstance(loaded.layers[0], ResidualBlock)
    np.testing.assert_array_equal(
        loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0)
    )
