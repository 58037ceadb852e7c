import itertools
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import stats

from keras_residual import Cutout
from keras_residual.layers import _cutout_backend, _cutout_patches


def to_numpy(x):
    return ops.convert_to_numpy(ops.cast(x, "float32"))


def erased(layer, count, height, width):
    """Which pixels `(count, height, width)` of images a call in training erases."""
    images = np.ones((count, height, width, 1), "float32")
    return to_numpy(layer(images, training=True))[..., 0] == 0


def places(length, extent, border):
    """All patches of one axis, as rows of a boolean matrix; each is equally likely."""
    pixels = np.arange(extent)
    if border == "inside":
        starts = range(extent - length + 1)
    else:
        starts = [centre - length // 2 for centre in range(extent)]
    return np.array([(pixels >= s) & (pixels < s + length) for s in starts])


# The shares that follow from the authors' rule (16 for CIFAR-10, 8 for CIFAR-100, 20
# for SVHN), to the digits given.
@pytest.mark.parametrize(
    ("size", "border", "share"),
    [
        (16, "clip", 0.1914),
        (8, "clip", 0.0549),
        (20, "clip", 0.2781),
        (16, "inside", 0.25),
    ],
)
def test_mean_erased_share(size, border, share):
    count = 20_000
    layer = Cutout(size, border=border, seed=1)
    assert layer.expected_area(32, 32) == pytest.approx(share, abs=5e-5)
    areas = erased(layer, count, 32, 32).mean((1, 2))
    error = areas.std() / np.sqrt(count)
    assert abs(areas.mean() - layer.expected_area(32, 32)) <= 5 * error


@pytest.mark.parametrize("border", ["clip", "inside"])
@pytest.mark.parametrize(
    "lengths", [(1, 1), (2, 5), (3, 3), (4, 2), (7, 9), (7, 1), (1, 9)]
)
def test_coverage_equals_the_mean_over_all_places(lengths, border):
    rows, columns = (
        places(length, extent, border)
        for length, extent in zip(lengths, (7, 9), strict=True)
    )
    covered = np.einsum("ah,bw->abhw", rows, columns).reshape(-1, 7, 9)
    layer = Cutout(lengths, border=border)
    np.testing.assert_allclose(layer.coverage(7, 9), covered.mean(0), rtol=1e-12)
    assert layer.expected_area(7, 9) == pytest.approx(covered.mean())


def test_coverage_of_several_holes_and_of_some_images():
    rows, columns = places(2, 4, "clip"), places(3, 5, "clip")
    one = np.einsum("ah,bw->abhw", rows, columns).reshape(-1, 4, 5)
    either = np.mean([a | b for a, b in itertools.product(one, one)], axis=0)
    layer = Cutout((2, 3), num_holes=2, probability=0.25)
    np.testing.assert_allclose(layer.coverage(4, 5), 0.25 * either, rtol=1e-12)


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (5, 8)},
        {"size": (5, 8), "border": "inside"},
        {"size": (4, 3), "num_holes": 3},
        {"size": 0.5, "probability": 0.3},
        {"size": 2, "max_size": 9, "num_holes": 2},
        {"size": 0.25, "max_size": 0.75, "border": "inside"},
        {"size": (1, 0.1), "max_size": (6, 0.9)},
    ],
)
def test_coverage_map_is_met(arguments):
    count = 20_000
    layer = Cutout(seed=2, **arguments)
    expected = layer.coverage(12, 18)
    error = np.sqrt(expected * (1 - expected) / count)
    # 216 pixels: five standard deviations are passed by chance once in 8,000 runs.
    assert (np.abs(erased(layer, count, 12, 18).mean(0) - expected) <= 5 * error).all()


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_probability_is_the_share_of_images(probability):
    count = 10_000
    layer = Cutout(4, probability=probability, border="inside", seed=3)
    share = erased(layer, count, 8, 8).any((1, 2)).mean()
    error = np.sqrt(probability * (1 - probability) / count)
    assert abs(share - probability) <= 5 * error


def test_patches_are_independent():
    """Of neighbours in a batch, of rows and columns, of calls and of seeds."""
    count = 8_192
    layer = Cutout(1, seed=4)

    def positions(layer):
        return np.stack(np.nonzero(erased(layer, count, 16, 16))[1:])

    first, again, other = (
        positions(layer),
        positions(layer),
        positions(Cutout(1, seed=5)),
    )
    pairs = {
        "rows, columns": (first[0], first[1]),
        "neighbours": (first[0, :-1], first[0, 1:]),
        "calls": (first[0], again[0]),
        "seeds": (first[0], other[0]),
        "shifted seeds": (again[1], other[1]),
    }
    for name, (a, b) in pairs.items():
        table = np.histogram2d(a, b, bins=16)[0]
        expected = np.full(256, len(a) / 256)
        p = stats.chisquare(table.ravel(), expected).pvalue
        assert 1e-5 < p < 1 - 1e-5, (name, p)


def test_hash_is_the_finalizer_of_murmurhash3():
    # MurmurHash3_x86_32 of nothing is the finalizer of its seed; these are published
    # test vectors of it.
    seeds = np.array([0, 1, 0xFFFFFFFF], "uint32").view("int32")
    published = np.array([0, 0x514E28B7, 0x81F16F39], "uint32").view("int32")
    mixed = _cutout_patches._mix(_cutout_backend._NUMPY, seeds)
    np.testing.assert_array_equal(mixed, published)
    mixed = _cutout_patches._mix(ops, ops.convert_to_tensor(seeds))
    np.testing.assert_array_equal(ops.convert_to_numpy(mixed), published)


def test_patches_are_the_same_on_every_backend():
    # The documented formula in unbounded integers, apart from the library.
    def mix(x):
        x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
        x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
        return x ^ (x >> 16)

    seed, call, size = 12_345, 1, 6
    key = mix((seed * 0x9E3779B9 + 2 * call) % 2**32)
    layer = Cutout(size, seed=seed)
    layer(np.ones((1, 20, 30, 1), "float32"), training=True)  # call 0
    for image, mask in enumerate(erased(layer, 50, 20, 30)):
        draws = [mix(key ^ mix(3 * image + n)) >> 8 for n in range(2)]
        row, column = draws[0] * 20 >> 24, draws[1] * 30 >> 24
        expected = np.zeros((20, 30), bool)
        top, left = row - size // 2, column - size // 2
        expected[max(top, 0) : top + size, max(left, 0) : left + size] = True
        np.testing.assert_array_equal(mask, expected)


@settings(max_examples=settings.default.max_examples // 3)  # of new shapes
@given(data=st.data(), border=st.sampled_from(["clip", "inside"]))
def test_every_patch_is_a_rectangle_of_its_size(data, border):
    height, width = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    size = data.draw(st.tuples(st.integers(1, height), st.integers(1, width)))
    layer = Cutout(size, border=border, seed=data.draw(st.integers(0, 2**31 - 1)))
    for mask in erased(layer, 5, height, width):
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
        for axis, length, extent in (rows, size[0], height), (columns, size[1], width):
            pixels = np.flatnonzero(axis)
            assert pixels[-1] - pixels[0] + 1 == len(pixels)
            if border == "inside" or (pixels[0] > 0 and pixels[-1] < extent - 1):
                assert len(pixels) == length
            # At most half of a patch is beyond the border.
            assert length // 2 <= len(pixels) <= length


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        (0.5, (10, 15)),
        (0.25, (5, 8)),
        ((0.1, 7), (2, 7)),
        (0.01, (1, 1)),
        (1.0, (20, 30)),
    ],
)
def test_size_as_a_share_of_the_image(size, pixels):
    mask = erased(Cutout(size, border="inside", seed=0), 3, 20, 30)
    np.testing.assert_array_equal(mask.sum((1, 2)), [pixels[0] * pixels[1]] * 3)


@pytest.mark.parametrize(
    ("size", "max_size", "sizes"),
    [
        (2, 4, {(2, 2), (3, 3), (4, 4)}),
        (0.1, 0.2, {(2, 3), (2, 4), (3, 4), (3, 5), (4, 5), (4, 6)}),
        ((2, 5), (3, 6), {(2, 5), (2, 6), (3, 5), (3, 6)}),
    ],
)
def test_range_of_sizes(size, max_size, sizes):
    layer = Cutout(size, max_size=max_size, border="inside", seed=0)
    masks = erased(layer, 200, 20, 30)
    shapes = [(mask.any(1).sum(), mask.any(0).sum()) for mask in masks]
    assert set(shapes) == sizes
    assert (masks.sum((1, 2)) == [height * width for height, width in shapes]).all()


DTYPES = ["uint8", "int32", "float16", "bfloat16", "float32"]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fill", [0.0, 7, (1, 2, 3), "mean", "noise"])
def test_fill_dtype_and_data_format(fill, dtype, data_format):
    """The pixels outside keep their value and dtype, those inside get the fill."""
    images = np.random.default_rng(0).integers(10, 60, (6, 9, 7, 3))
    layer = Cutout(
        (4, 5),
        num_holes=2,
        fill=fill,
        value_range=(0, 100),
        seed=6,
        data_format=data_format,
    )
    mask = erased(Cutout((4, 5), num_holes=2, seed=6), 6, 9, 7)
    inputs = images if data_format == "channels_last" else images.transpose(0, 3, 1, 2)
    inputs = ops.cast(ops.convert_to_tensor(inputs.astype("float32")), dtype)
    outputs = layer(inputs, training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    outputs = to_numpy(outputs)
    if data_format == "channels_first":
        outputs = outputs.transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(outputs[~mask], images[~mask])
    inside = outputs[mask]
    if fill == "noise":
        assert inside.min() >= 0
        assert inside.max() <= 100
        assert len(np.unique(inside)) > 50
    elif fill == "mean":
        means = np.broadcast_to(images.mean((1, 2), keepdims=True), images.shape)[mask]
        tolerance = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.2}.get(dtype, 0.5)
        np.testing.assert_allclose(inside, means, atol=tolerance)
    else:
        np.testing.assert_array_equal(inside, np.broadcast_to(fill, inside.shape))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_is_uniform_over_the_value_range(dtype):
    # From 0 to 255 inclusive for uint8 also where no range is given.
    value_range = (-2, 6) if dtype == "float32" else None
    low, high = value_range or (0, 255)
    layer = Cutout(40, border="inside", fill="noise", value_range=value_range, seed=7)
    noise = to_numpy(layer(np.zeros((64, 40, 40, 3), dtype), training=True)).ravel()
    assert low <= noise.min()
    assert noise.max() <= high
    bins = np.arange(257) - 0.5 if dtype == "uint8" else np.linspace(low, high, 257)
    assert stats.chisquare(np.histogram(noise, bins)[0]).pvalue > 1e-5
    # Each value its own: no two of three million are bound to each other.
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 5 / np.sqrt(len(noise))


def test_infinite_values_are_erased():
    images = np.full((4, 6, 6, 1), np.inf, "float32")
    images[0] = np.nan
    outputs = to_numpy(Cutout(1.0, border="inside")(images, training=True))
    np.testing.assert_array_equal(outputs, np.zeros_like(images))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"fill": "mean"}, {"num_holes": 2}, {"max_size": (5, 6), "fill": "noise"}],
)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_all_ways_to_erase_give_the_same(dtype, arguments, data_format):
    """A mask, as on accelerators and under `torch.compile`, and copied slices."""
    rule = Cutout((3, 4), data_format=data_format, **arguments)._rule
    images = np.random.default_rng(1).integers(0, 99, (5, 8, 6, 7)).astype("float32")
    tensor = ops.cast(ops.convert_to_tensor(images), dtype)
    state = ops.convert_to_tensor(np.array([3, 4], "int32"))
    results = [
        to_numpy(erase(rule, state, tensor))
        for erase in (_cutout_backend.erase, _cutout_backend._erase_masked)
    ]
    if dtype == "float32":
        results.append(_cutout_backend.erase(rule, np.array([3, 4]), images))
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], rtol=1e-6)
    assert (results[0] != to_numpy(tensor)).any()


def test_the_inputs_are_not_written_to():
    for images in (np.ones((2, 4, 4, 1), "float32"), ops.ones((2, 4, 4, 1))):
        Cutout(2)(images, training=True)
        np.testing.assert_array_equal(to_numpy(images), np.ones((2, 4, 4, 1)))


def test_single_image_equals_a_batch_of_one():
    image = np.random.default_rng(0).random((7, 9, 3), "float32")
    single = Cutout(3, seed=8)(image, training=True)
    batch = Cutout(3, seed=8)(image[None], training=True)
    assert single.shape == (7, 9, 3)
    np.testing.assert_array_equal(to_numpy(single), to_numpy(batch)[0])


def test_dict_changes_images_and_nothing_else():
    elements = {
        "images": np.ones((2, 8, 8, 3), "float32"),
        "labels": np.array(["cat", "dog"]),
        "segmentation_masks": np.ones((2, 8, 8, 1), "uint8"),
        "bounding_boxes": {
            "boxes": np.array([[[0.0, 0.0, 8.0, 8.0]]] * 2),
            "labels": np.array([[1]] * 2),
        },
    }
    outputs = Cutout(4, seed=9)(elements, training=True)
    images = to_numpy(outputs.pop("images"))
    assert (images == 0).any((1, 2, 3)).all()
    assert elements["images"].all()
    assert outputs.keys() == elements.keys() - {"images"}
    for key, value in outputs.items():
        assert value is elements[key]


class Unaware(keras.layers.Layer):
    """A layer that says nothing about training to the one inside."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


class UnawareModel(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = keras.layers.Dense(1, kernel_initializer="ones")

    def call(self, inputs):
        return self.scale(self.inner(inputs))


def functional_model(inner):
    inputs = keras.Input((8, 8, 1))
    scale = keras.layers.Dense(1, kernel_initializer="ones")
    return keras.Model(inputs, scale(inner(inputs)))


def nested_model(inner):
    return functional_model(Unaware(inner))


@pytest.mark.parametrize(
    "make",
    [
        nested_model,
        *(
            pytest.param(make, marks=pytest.mark.slow)
            for make in (functional_model, UnawareModel)
        ),
    ],
)
def test_erases_where_dropout_drops(make):
    images = np.ones((8, 8, 8, 1), "float32")
    changes = []
    for layer in (Cutout(4, border="inside"), keras.layers.Dropout(0.5)):
        model = make(layer)
        model.compile(keras.optimizers.SGD(0.0), "mae")
        outputs = {
            "predict": model.predict(images, verbose=0),
            "call": model(images),
            "inference": model(images, training=False),
            "training": model(images, training=True),
        }
        changed = {k: bool((to_numpy(v) != images).any()) for k, v in outputs.items()}
        changed["evaluate"] = model.evaluate(images, images, verbose=0) > 0
        changed["fit"] = model.fit(images, images, verbose=0).history["loss"][0] > 0
        changes.append(changed)
    assert changes[0] == changes[1]
    assert not any(changes[0][k] for k in ("predict", "call", "inference", "evaluate"))
    if make is not UnawareModel:
        # On JAX Keras tells nothing to the layers of a subclassed model.
        assert changes[0]["fit"]
        assert changes[0]["training"]


def test_called_by_itself_it_erases_when_told_to():
    images = np.ones((4, 8, 8, 1), "float32")
    layer = Cutout(4, border="inside")
    for _ in range(2):
        for inputs in (images, ops.convert_to_tensor(images)):
            for training in (None, False):
                outputs = layer(inputs, training=training)
                np.testing.assert_array_equal(to_numpy(outputs), images)
            assert to_numpy(layer(inputs, training=True)).mean() == 0.75
        # Having been in a model changes nothing.
        keras.Sequential([keras.Input((8, 8, 1)), layer])


def test_one_pixel_is_not_the_whole_image():
    images = np.ones((4, 8, 8, 1), "float32")
    for size, share in ((1, 1 / 64), (1.0, 1.0), (1, 1 / 64)):
        outputs = to_numpy(Cutout(size, border="inside")(images, training=True))
        assert (outputs == 0).mean() == share


@pytest.mark.parametrize("arguments", [{"jit_compile": False}, {"jit_compile": True}])
def test_in_a_compiled_model(arguments):
    """The loss of `fit` shows what was erased: a quarter of every image."""
    if arguments["jit_compile"] and keras.backend.backend() == "torch":
        pytest.skip("torch.compile of a model takes half a minute; see the next test")
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1), dtype="uint8"),
            Cutout(8, border="inside", seed=0),
            keras.layers.GlobalAveragePooling2D(dtype="float32"),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0), "mae", **arguments)
    images = np.full((32, 16, 16, 1), 100, "uint8")
    targets = np.full((32, 1), 100.0)
    history = model.fit(images, targets, batch_size=8, verbose=0).history
    assert history["loss"] == pytest.approx([25.0])
    assert model.evaluate(images, targets, verbose=0) == 0


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="torch.compile is PyTorch's"
)
def test_under_torch_compile():
    import torch

    layer = Cutout(4, seed=1)
    compiled = torch.compile(lambda x: layer(x, training=True), backend="eager")
    images, eager = torch.ones(8, 9, 9, 3), Cutout(4, seed=1)
    for _ in range(2):
        torch.testing.assert_close(compiled(images), eager(images, training=True))


def test_seed_fixes_the_patches_and_calls_differ():
    first, second = Cutout(4, seed=1), Cutout(4, seed=1)
    masks = [erased(layer, 8, 9, 9) for layer in (first, second, first)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()
    assert (erased(Cutout(4), 8, 9, 9) != erased(Cutout(4), 8, 9, 9)).any()


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_same_patches_in_a_model_and_outside(seed):
    images = np.ones((8, 9, 9, 1), "float32")
    model = keras.Sequential([keras.Input((9, 9, 1)), Cutout(4, seed=seed)])
    inside = to_numpy(model(images, training=True))[..., 0] == 0
    np.testing.assert_array_equal(inside, erased(Cutout(4, seed=seed), 8, 9, 9))


def test_save_and_load_continue_the_stream(tmp_path):
    images = np.ones((8, 9, 9, 1), "float32")
    model = keras.Sequential([keras.Input((9, 9, 1)), Cutout((4, 0.5), fill=[2.0])])
    model(images, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    expected = [to_numpy(model(images, training=True)) for _ in range(2)]
    outputs = [to_numpy(loaded(images, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize("fill", [0.5, "mean", "noise"])
def test_empty_batch(fill):
    layer = Cutout(4, fill=fill, value_range=(0, 1))
    empty = np.zeros((0, 9, 9, 3), "float32")
    assert tuple(layer(empty, training=True).shape) == (0, 9, 9, 3)


def test_numpy_arguments_are_saved_as_plain_ones():
    layer = Cutout(
        np.array([4, 5]),
        value_range=(np.float32(0), 5),
        num_holes=np.int32(2),
        probability=np.float32(0.5),
        fill=np.array([1.0, 2.0]),
    )
    config = json.loads(json.dumps(layer.get_config()))
    assert Cutout.from_config(config)._rule == layer._rule
    plain = Cutout(
        (4, 5), value_range=(0, 5), num_holes=2, probability=0.5, fill=(1, 2)
    )
    assert layer._rule == plain._rule


@pytest.mark.parametrize(
    "size",
    [0, -3, 0.0, -0.5, 1.5, True, None, "16", (4,), (4, 4, 4), (4, 0), [], 2 + 0j],
)
def test_bad_size(size):
    with pytest.raises(ValueError, match=r"`size` must be .*Received: size="):
        Cutout(size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_holes": 0}, "`num_holes` must be a positive integer"),
        ({"probability": 1.5}, r"`probability` must be a number in \[0, 1\]"),
        ({"probability": -0.1}, r"`probability` must be a number in \[0, 1\]"),
        ({"probability": "1"}, r"`probability` must be a number in \[0, 1\]"),
        ({"border": "wrap"}, "`border` must be one of 'clip', 'inside'"),
        ({"fill": "zeros"}, "`fill` must be a number, .*Received: fill='zeros'"),
        ({"fill": None}, "`fill` must be a number"),
        ({"fill": float("nan")}, "`fill` must be a number"),
        ({"fill": ()}, "`fill` must be a number"),
        ({"fill": (1, "a", 2)}, "`fill` must be a number"),
        (
            {"fill": 2, "value_range": (0, 1)},
            r"`fill` must be within value_range=\(0.0, 1.0\)",
        ),
        ({"max_size": 3}, "`max_size` must be None, or not smaller than `size`"),
        ({"max_size": (5, 5)}, "`max_size` must be .*size=4, max_size="),
        ({"max_size": 0.5}, "`max_size` must be"),
        ({"max_size": "8"}, "`max_size` must be .*Received: size=4, max_size='8'"),
        ({"mask_fill": "mean"}, "`mask_fill` must be a number or None"),
        ({"min_visible": 0.5}, "`bounding_box_format` must be given with `min_vis"),
        (
            {"min_visible": 2, "bounding_box_format": "xyxy"},
            "`min_visible` must be a number",
        ),
        ({"bounding_box_format": "coco"}, "`bounding_box_format` must be one of"),
        ({"value_range": (1, 0)}, "`value_range` must be a pair of numbers"),
        ({"value_range": 255}, "`value_range` must be a pair of numbers"),
        ({"data_format": "NHWC"}, "`data_format` must be one of"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Cutout(4, **arguments)


@pytest.mark.parametrize(
    ("arguments", "shape", "dtype", "message"),
    [
        ({}, (8, 8), "float32", r"`inputs` must be images of shape .*shape=\(8, 8\)"),
        ({}, (1, 1, 8, 8, 3), "float32", "`inputs` must be images of shape"),
        ({}, (2, 3, 8, 3), "float32", "`size` must not be larger than .* height 3"),
        ({}, (2, 8, 3, 3), "float32", "`size` must not be larger than .* width 3"),
        ({}, (2, 8, 8, 3), "bool", "`inputs` must be images of an integer or"),
        ({"fill": (1, 2)}, (8, 8, 3), "float32", "`fill` must have .* the 3 channels"),
        ({"max_size": 9}, (8, 8, 3), "float32", "`max_size` must not be larger"),
        ({"fill": 0.5}, (8, 8, 3), "uint8", "`fill` must be integers from 0 to 255"),
        ({"fill": -1}, (8, 8, 3), "uint8", "`fill` must be integers from 0 to 255"),
        ({"fill": "noise"}, (8, 8, 3), "float32", "`value_range` must be given for"),
    ],
)
def test_bad_images(arguments, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        Cutout(4, **arguments)(np.ones(shape, dtype), training=True)
    if len(shape) == 4:
        # In a model already while it is built.
        with pytest.raises(ValueError, match=message):
            Cutout(4, **arguments)(keras.Input(shape[1:], dtype=dtype))


def test_expected_area_of_an_image_that_is_too_small():
    with pytest.raises(ValueError, match="`size` must not be larger"):
        Cutout(16).expected_area(8, 32)
    with pytest.raises(ValueError, match="`height` must be a positive integer"):
        Cutout(16).expected_area(32.0, 32)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_images_outside_the_value_range(value):
    images = np.full((2, 4, 4, 1), 0.5, "float32")
    layer = Cutout(2, value_range=(0, 1))
    layer(images, training=True)
    images[1, 2, 3] = value
    with pytest.raises(
        ValueError, match=r"within value_range=\(0.0, 1.0\).*Received: value"
    ):
        layer(images, training=True)
    layer(images, training=False)


def test_dict_without_images():
    with pytest.raises(ValueError, match=r"key \"images\" .*keys=\['image'\]"):
        Cutout(2)({"image": np.ones((4, 4, 1))})
