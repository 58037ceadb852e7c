import keras
import numpy as np
import pytest

from keras_residual import ResNet, TransferModel


def values(variables):
    return {v.path: np.array(keras.ops.convert_to_numpy(v)) for v in variables}


def statistics(model):
    return values(
        v for v in model.non_trainable_variables if "moving" in v.path.rsplit("/")[-1]
    )


def changed(before, after):
    assert set(before) == set(after)
    return {path for path in before if not np.array_equal(before[path], after[path])}


def parameters(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


def fit(model, images, labels, epochs=1):
    model.fit(images, labels, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


# --- what trains


def test_feature_extraction_changes_the_head_alone(make_model, images, labels):
    model = make_model()
    before = values(model.variables)
    fit(model, images, labels)
    paths = changed(before, values(model.variables))
    assert {path.split("/")[0] for path in paths} == {"hidden", "classifier"}
    # Dense 64 -> 8 -> 2 with biases.
    assert parameters(model.trainable_variables) == 64 * 8 + 8 + 8 * 2 + 2


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (None, 1 + 3 * 3),  # the stem; three blocks of two and a projection
        # The published network has 52 batch normalizations.
        pytest.param("mobile_net", 52, marks=pytest.mark.slow),
    ],
)
def test_statistics_stay_in_fine_tuning(
    network, count, make_model, images, labels, request
):
    backbone = network and request.getfixturevalue(network)
    model = make_model(backbone, mode="fine_tuning", unfreeze="all", dropout=0.1)
    # Gradients vanish in 52 layers without batch statistics; Adam's steps do not.
    # TensorFlow takes longest to make a graph of so many layers.
    eagerly = backbone is not None and keras.config.backend() == "tensorflow"
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=eagerly)
    before, norms = statistics(model), values(model.variables)
    assert len(before) == 2 * count
    fit(model, images, labels)
    assert changed(before, statistics(model)) == set()
    moved = changed(norms, values(model.variables))
    assert any(path.endswith("gamma") for path in moved)  # scales do train
    assert model.check_batch_norm() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"mode": "scratch"},
        {"mode": "fine_tuning", "unfreeze": "all", "train_batch_norm": True},
    ],
    ids=["scratch", "train_batch_norm"],
)
def test_statistics_move_where_they_should(arguments, make_model, tiny, images, labels):
    model = make_model(None if arguments["mode"] == "scratch" else tiny, **arguments)
    before = statistics(model)
    fit(model, images, labels)
    moved = changed(before, statistics(model))
    assert moved
    if arguments["mode"] == "scratch":
        assert moved == set(before)


def test_self_check_names_what_moves_and_leaves_no_trace(make_model):
    model = make_model(mode="fine_tuning", train_batch_norm=True, dropout=0.5)
    model.unfreeze(1, "block")
    before = values(model.variables)
    assert model.check_batch_norm() == ["bn1", "bn2", "projection_bn"]
    assert changed(before, values(model.variables)) == set()
    model.freeze()
    assert model.check_batch_norm() == []


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(("count", "convolutions"), [(10, 3), (20, 6)])
def test_last_layers_of_resnet50(count, convolutions):
    # Counted in keras.applications' own list of layers.
    backbone = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    model = TransferModel(
        backbone, 2, mode="fine_tuning", unfreeze=count, preprocessing="caffe"
    )
    trainable = [layer.trainable for layer in backbone.layers[1:]]
    assert trainable == [False] * (174 - count) + [True] * count
    kernels = [v for v in backbone.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == convolutions
    model.unfreeze(5, "conv")
    kernels = [v for v in backbone.trainable_variables if v.path.endswith("kernel")]
    assert len(kernels) == 5
    model.unfreeze(2, "stage")
    paths = {v.path.split("_")[0] for v in backbone.trainable_variables}
    assert paths == {"conv4", "conv5"}


def test_counts_are_right_at_every_moment(make_model):
    model = make_model()
    sizes = []
    for change in (
        lambda: None,
        lambda: model.unfreeze(1, "block"),
        lambda: model.unfreeze("all"),
        model.freeze,
    ):
        change()
        table = model.trainable_table()
        sizes.append(sum(row["trainable_parameters"] for row in table))
        assert sizes[-1] == parameters(model.trainable_variables)
        assert sum(row["parameters"] for row in table) == model.count_params()
    head = 64 * 8 + 8 + 8 * 2 + 2
    block = 2 * 9 * 64 * 64 - 9 * 32 * 64 + 4 * 64 + 32 * 64 + 2 * 64
    assert sizes == [head, head + block, sizes[2], head]
    assert [row["block"] for row in model.trainable_table()] == [
        "stem",
        "stage1_block1",
        "stage2_block1",
        "stage3_block1",
        "head",
    ]


# --- compiling again


@pytest.mark.slow
def test_compiling_again_does_not_change_the_training(make_model, tiny, images, labels):
    keras.utils.set_random_seed(1)
    once = make_model(tiny)
    keras.utils.set_random_seed(1)
    twice = make_model(keras.models.clone_model(tiny))
    twice.set_weights(once.get_weights())
    fit(once, images, labels, epochs=2)
    fit(twice, images, labels)
    twice.freeze()  # nothing to freeze: the optimizer's state must have come along
    fit(twice, images, labels)
    for a, b in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "optimizer",
    [
        "sgd",
        "adam",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("adamw", "rmsprop", "lion")
        ),
    ],
)
def test_unfreezing_keeps_what_was_compiled(
    optimizer, make_model, tiny, images, labels
):
    model = make_model(tiny)
    model.compile(
        keras.optimizers.get({"class_name": optimizer, "config": {"clipnorm": 0.5}}),
        keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(1, name="top")],
        jit_compile=False,
    )
    model.optimizer.learning_rate.assign(0.003)
    fit(model, images, labels)
    old = model.optimizer
    state = values(old.variables)
    model.unfreeze(1, "block")
    assert type(model.optimizer) is type(old)
    assert model.optimizer.clipnorm == 0.5
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 0.003)
    assert model.jit_compile is False
    assert isinstance(model.loss, keras.losses.SparseCategoricalCrossentropy)
    kept = values(model.optimizer.variables)
    assert set(state) <= set(kept)
    assert changed(state, {path: kept[path] for path in state}) == set()
    history = model.fit(images, labels, verbose=0).history
    assert set(history) == {"loss", "top"}
    model.freeze()
    assert set(values(model.optimizer.variables)) == set(state)
    assert int(model.optimizer.iterations) == 3


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_unfreezing_keeps_what_does_not_decay(
    policy, make_model, request, images, labels
):
    """With a rate of 0, weight decay alone would move a weight."""
    keras.config.set_dtype_policy(policy)
    model = make_model(request.getfixturevalue("tiny"))
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    kernel = next(v for v in model.head.variables if v.name == "kernel")
    optimizer.exclude_from_weight_decay(var_list=[kernel], var_names=["bias"])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    fit(model, images, labels)
    model.unfreeze(1, "block")

    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    before = values(model.trainable_variables)
    gradients = [keras.ops.zeros_like(v.value) for v in model.trainable_variables]
    optimizer.apply(gradients)
    moved = changed(before, values(model.trainable_variables))
    assert any(path.endswith("kernel") for path in moved)
    assert kernel.path not in moved
    assert not any(path.endswith("bias") for path in moved)


def test_a_loss_of_ones_own_survives(make_model, tiny, images, labels):
    def loss(y_true, y_pred):
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred) + 100

    model = make_model(tiny)
    model.compile("sgd", loss)
    fit(model, images, labels)
    model.unfreeze(1, "conv")
    assert model.fit(images, labels, verbose=0).history["loss"][0] > 100


def test_a_model_that_is_not_compiled_stays_so():
    backbone = ResNet(8, variant="cifar", include_top=False)
    model = TransferModel(backbone, 2, preprocessing="torch")
    model.unfreeze(1)
    assert not model.compiled


# --- saving and cloning


def test_save_load_and_resume(make_model, tiny, images, labels, tmp_path):
    model = make_model(tiny, mode="fine_tuning", unfreeze=1, unfreeze_unit="block")
    fit(model, images, labels)
    model.unfreeze(2, "block")
    fit(model, images, labels)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert loaded.trainable_table() == model.trainable_table()
    fit(model, images, labels)
    fit(loaded, images, labels)
    for a, b in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    loaded.freeze()  # compiled with what the file says
    fit(loaded, images, labels)


@pytest.mark.parametrize("compiled", [True, False])
def test_clone_is_a_functional_model_of_the_same_layers(compiled, tiny, images, labels):
    """As of every subclass of `keras.Model` with arguments of its own."""
    backbone = tiny if compiled else ResNet(8, variant="cifar", include_top=False)
    model = TransferModel(backbone, 2, preprocessing="torch", hidden_units=8)
    model.unfreeze(1, "block")
    if compiled:
        model.compile(keras.optimizers.SGD(0.25), "sparse_categorical_crossentropy")
    clone = keras.models.clone_model(model)
    assert clone.compiled == compiled
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(
        clone.predict(images, verbose=0), model.predict(images, verbose=0)
    )
    assert [v.path for v in clone.trainable_variables] == [
        v.path for v in model.trainable_variables
    ]
    if compiled:
        assert float(clone.optimizer.learning_rate) == 0.25
        fit(clone, images, labels)
        fit(model, images, labels)
        for a, b in zip(clone.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    same = TransferModel.from_config(model.get_config())
    assert same.trainable_table() == model.trainable_table()


def test_layers_frozen_by_hand_stay_frozen_in_the_file(make_model, tmp_path):
    model = make_model(mode="scratch")
    model.backbone.get_layer("stage1_block1").conv2.trainable = False
    model.head.get_layer("hidden").trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.backbone.get_layer("stage1_block1").conv2.trainable
    assert not loaded.head.get_layer("hidden").trainable
    assert loaded.trainable_table() == model.trainable_table()


def test_every_argument_is_in_the_file(make_model):
    backbone = ResNet(8, variant="cifar", include_top=False, input_shape=(16, 24, 3))
    arguments = {
        "mode": "fine_tuning",
        "unfreeze": 5,
        "hidden_units": None,
        "dropout": 0.25,
        "pooling": None,
        "preprocessing": "tf",
        "value_range": (0, 1),
        "input_shape": (16, 24, 3),
        "train_batch_norm": True,
        "name": "mine",
    }
    model = TransferModel(backbone, 3, **arguments)
    config = model.get_config()
    assert sum(config["trains"][:-2]) == arguments.pop("unfreeze")
    for name, value in arguments.items():
        assert config[name] == value
    again = TransferModel.from_config(config)
    assert {**again.get_config(), "backbone": None} == {**config, "backbone": None}
    assert again.output_shape == (None, 3)


@pytest.mark.slow
def test_channels_first(images, labels, tmp_path):
    expected = keras.applications.resnet.preprocess_input(images.astype("float32"))
    keras.config.set_image_data_format("channels_first")
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    backbone = ResNet(8, variant="cifar", include_top=False, input_shape=(3, 32, 32))
    model = TransferModel(backbone, 2, preprocessing="caffe")
    prepared = keras.Model(model.input, model.get_layer("preprocessing").output)
    found = prepared.predict(images, verbose=0).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    model.compile("sgd", "sparse_categorical_crossentropy")
    cache = model.cache_features(images, labels, verbose=0)
    assert cache.features.shape == (16, 64)
    fit(model, cache, None)
    model.unfreeze(1, "block")
    fit(model, images, labels)
    model.save(tmp_path / "model.keras")
    keras.config.set_image_data_format("channels_last")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0), model.predict(images, verbose=0)
    )


@pytest.mark.slow
def test_mixed_precision(request, images, labels):
    keras.config.set_dtype_policy("mixed_float16")
    model = TransferModel(request.getfixturevalue("tiny"), 2, preprocessing="torch")
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, images, labels)
    model.unfreeze(1, "block")
    fit(model, images, labels)
    assert model.predict(images, verbose=0).dtype == "float32"
    assert int(model.optimizer.inner_optimizer.iterations) == 4
    keras.config.set_dtype_policy("float32")
    copy = TransferModel.from_config(model.get_config())
    for layer in ("preprocessing", "head"):
        assert copy.get_layer(layer).compute_dtype == "float16"
    assert keras.config.dtype_policy().name == "float32"
