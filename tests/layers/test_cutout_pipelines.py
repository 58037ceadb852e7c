"""Cutout where images are read: in `tf.data`, Grain and KerasCV, on every backend."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_residual import Cutout

IMAGES = np.ones((24, 9, 11, 3), "float32")


@pytest.fixture(scope="module")
def expected():
    """What a layer with seed 1 returns for three batches of eight, called directly."""
    layer = Cutout(4, seed=1)
    return [
        keras.ops.convert_to_numpy(layer(batch, training=True))
        for batch in np.split(IMAGES, 3)
    ]


@pytest.fixture(scope="module")
def expected_single():
    layer = Cutout(4, seed=1)
    return [keras.ops.convert_to_numpy(layer(image, training=True)) for image in IMAGES]


@pytest.fixture
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture
def grain():
    return pytest.importorskip("grain")


def test_tf_data_batches(tf, expected):
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).batch(8).map(Cutout(4, seed=1))
    np.testing.assert_array_equal([batch.numpy() for batch in dataset], expected)


def test_tf_data_single_images(tf, expected_single):
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).map(Cutout(4, seed=1))
    assert dataset.element_spec.shape == (9, 11, 3)
    np.testing.assert_array_equal([image.numpy() for image in dataset], expected_single)


def test_tf_data_training_false(tf):
    cutout = Cutout(4)
    dataset = tf.data.Dataset.from_tensors(IMAGES).map(
        lambda x: cutout(x, training=False)
    )
    np.testing.assert_array_equal(next(iter(dataset)), IMAGES)


def test_tf_data_goes_on_in_the_next_epoch(tf):
    dataset = tf.data.Dataset.from_tensors(IMAGES).map(Cutout(4, seed=1))
    first, second = (next(iter(dataset)).numpy() for _ in range(2))
    assert (first != second).any()


@pytest.mark.slow
def test_tf_data_in_parallel_gives_each_image_its_own_patch(tf):
    images = np.ones((4_000, 64, 64, 1), "uint8")

    def places(calls_at_once):
        dataset = tf.data.Dataset.from_tensor_slices(images)
        dataset = dataset.map(Cutout(1, seed=1), num_parallel_calls=calls_at_once)
        return [int(image.argmin()) for image in dataset.as_numpy_iterator()]

    # Each number of a call is taken once, though by which image is open.
    assert sorted(places(8)) == sorted(places(None))


def test_tf_data_in_parallel_with_seeds_of_its_own(tf):
    """The same patches in every run, and those of a direct call."""
    cutout, direct = Cutout(2, max_size=5), Cutout(2, max_size=5, seed=3)
    dataset = tf.data.Dataset.from_tensor_slices(IMAGES).enumerate()
    dataset = dataset.map(
        lambda number, image: cutout.stateless_erase(image, (7, number)),
        num_parallel_calls=8,
    )
    for number, image in enumerate(dataset.as_numpy_iterator()):
        expected = direct.stateless_erase(IMAGES[number], np.array([7, number]))
        np.testing.assert_array_equal(image, expected)
    # A layer's own calls are those of its seed.
    own = direct(IMAGES[0], training=True)
    np.testing.assert_array_equal(own, direct.stateless_erase(IMAGES[0], (3, 0)))


@pytest.mark.slow
def test_tf_data_of_images_of_unknown_size(tf):
    def images():
        for size in (8, 12, 20):
            yield np.ones((size, 2 * size, 3), "uint8")

    signature = tf.TensorSpec((None, None, 3), "uint8")
    dataset = tf.data.Dataset.from_generator(images, output_signature=signature)
    cutout = Cutout((0.5, 4), border="inside", seed=0)
    ranged = Cutout((0.25, 2), max_size=(0.5, 4), border="inside", mask_fill=9)
    erased = [
        int((image[..., 0] == 0).sum())
        for image in dataset.map(cutout).as_numpy_iterator()
    ]
    assert erased == [4 * 4, 6 * 4, 10 * 4]
    for pair in dataset.map(lambda x: {"images": x, "segmentation_masks": x}).map(
        ranged
    ):
        mask = pair["segmentation_masks"].numpy()
        np.testing.assert_array_equal(pair["images"].numpy() == 0, mask == 9)
    for fill in ("mean", "noise", (1, 2, 3)):
        assert len(list(dataset.map(Cutout(4, fill=fill)))) == 3
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="`size` must not be larger"
    ):
        list(dataset.map(Cutout(10)))


def test_tf_data_dict(tf):
    elements = {
        "images": IMAGES,
        "labels": np.arange(24),
        "segmentation_masks": np.ones((24, 9, 11, 1), "uint8"),
        "bounding_boxes": {
            "boxes": np.ones((24, 1, 4), "float32"),
            "labels": np.ones((24, 1), "int32"),
        },
    }
    dataset = tf.data.Dataset.from_tensor_slices(elements).map(Cutout(4, seed=1))
    for number, element in enumerate(dataset):
        assert (element["images"].numpy() == 0).any()
        assert element["labels"] == number
        assert element["segmentation_masks"].numpy().all()
        np.testing.assert_array_equal(element["bounding_boxes"]["boxes"], [[1] * 4])
        assert element["bounding_boxes"]["labels"].dtype == "int32"


def test_tf_data_images_outside_the_value_range(tf):
    dataset = tf.data.Dataset.from_tensors(IMAGES * 255)
    with pytest.raises(tf.errors.InvalidArgumentError, match="within value_range"):
        next(iter(dataset.map(Cutout(4, value_range=(0, 1)))))
    assert (
        next(iter(dataset.map(Cutout(4, value_range=(0, 255))))).shape == IMAGES.shape
    )


def test_tf_data_bad_images(tf):
    with pytest.raises(ValueError, match="`size` must not be larger"):
        tf.data.Dataset.from_tensors(IMAGES).map(Cutout(10))
    with pytest.raises(ValueError, match="`inputs` must be images of shape"):
        tf.data.Dataset.from_tensors(IMAGES[..., 0, 0]).map(Cutout(2))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="models run in tf.data on TensorFlow alone",
)
def test_model_in_tf_data(tf):
    class Unaware(keras.Model):
        def __init__(self):
            super().__init__()
            self.cutout = Cutout(4, border="inside")

        def call(self, inputs):
            return self.cutout(inputs)

    model, dataset = Unaware(), tf.data.Dataset.from_tensors(IMAGES)
    for training in (False, True):
        outputs = next(iter(dataset.map(lambda x, t=training: model(x, training=t))))
        assert (outputs.numpy() == 0).any() == training


def test_size_is_rounded_the_same_when_the_image_is_unknown(tf):
    def images():
        yield np.ones((90, 90, 1), "uint8")

    signature = tf.TensorSpec((None, None, 1), "uint8")
    dataset = tf.data.Dataset.from_generator(images, output_signature=signature)
    for share in (0.35, 0.45, 0.5):
        erased = next(iter(dataset.map(Cutout(share, border="inside"))))
        direct = Cutout(share, border="inside")(*images(), training=True)
        assert (erased.numpy() == 0).sum() == (
            keras.ops.convert_to_numpy(direct) == 0
        ).sum()


def test_tf_data_feeds_fit(tf):
    """The data set of TensorFlow, the training of any backend."""
    cutout = Cutout(4, border="inside")
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, np.ones((24, 1), "float32")))
    dataset = dataset.batch(8).map(lambda x, y: (cutout(x), y))
    mean = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([mean, keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), "mae")
    loss = model.fit(dataset, shuffle=False, verbose=0).history["loss"]
    # Of three channels of ones, each 16 of 99 pixels are erased.
    assert loss == pytest.approx([3 * (1 - 16 / 99) - 1], rel=1e-5)


def test_grain(grain, expected_single):
    dataset = grain.MapDataset.source(list(IMAGES)).map(Cutout(4, seed=1))
    images = [dataset[i] for i in range(24)]
    assert all(isinstance(image, np.ndarray) for image in images)
    np.testing.assert_array_equal(images, expected_single)


def test_grain_threads_count_each_call_once(grain, expected_single):
    for _ in range(20):
        dataset = grain.MapDataset.source(list(IMAGES)).map(Cutout(4, seed=1))
        images = dataset.to_iter_dataset(grain.ReadOptions(num_threads=16))
        assert sorted(x.tobytes() for x in images) == sorted(
            x.tobytes() for x in expected_single
        )


def test_grain_batches_of_dicts(grain):
    elements = [{"images": image, "label": i} for i, image in enumerate(IMAGES)]
    dataset = grain.MapDataset.source(elements).batch(8).map(Cutout(4, seed=1))
    batches = list(dataset)
    np.testing.assert_array_equal(
        np.concatenate([b["label"] for b in batches]), range(24)
    )
    assert all((b["images"] == 0).any((1, 2, 3)).all() for b in batches)


def test_grain_random_map_does_not_depend_on_the_order(grain):
    cutout = Cutout(4, border="inside")
    dataset = (
        grain.MapDataset.source(list(IMAGES)).seed(3).random_map(cutout.random_map)
    )
    forward = [dataset[i] for i in range(24)]
    backward = [dataset[i] for i in reversed(range(24))]
    np.testing.assert_array_equal(forward, backward[::-1])
    assert len({image.tobytes() for image in forward}) > 12
    in_threads = list(dataset.to_iter_dataset())
    np.testing.assert_array_equal(in_threads, forward)


# KerasCV reads attributes that TensorFlow and Keras have renamed.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestKerasCV:
    @pytest.fixture(autouse=True)
    def keras_cv(self):
        self.layers = pytest.importorskip("keras_cv").layers

    @pytest.mark.slow
    def test_augmenter(self, tf):
        elements = {
            "images": IMAGES,
            "labels": np.arange(24, dtype="float32"),
            "bounding_boxes": {
                "boxes": np.array([[[0.0, 0.0, 4.0, 4.0]]] * 24, "float32"),
                "classes": np.ones((24, 1), "float32"),
            },
        }
        augmenter = self.layers.Augmenter(
            [
                self.layers.RandomFlip(bounding_box_format="xyxy"),
                Cutout(4, border="inside"),
            ]
        )
        dataset = tf.data.Dataset.from_tensor_slices(elements).batch(8).map(augmenter)
        for batch in dataset:
            assert ((batch["images"].numpy() == 0).sum((1, 2, 3)) == 4 * 4 * 3).all()
        np.testing.assert_array_equal(
            np.concatenate([batch["labels"] for batch in dataset]), range(24)
        )

    def test_random_augmentation_pipeline(self, tf):
        pipeline = self.layers.RandomAugmentationPipeline(
            [Cutout(4, border="inside")], augmentations_per_image=1, rate=1.0
        )
        elements = {"images": IMAGES, "labels": np.zeros(24, "float32")}
        dataset = tf.data.Dataset.from_tensor_slices(elements).batch(8).map(pipeline)
        for batch in dataset:
            assert ((batch["images"].numpy() == 0).sum((1, 2, 3)) == 4 * 4 * 3).all()


REPLICAS = """
import json
import numpy as np
import tensorflow as tf
from keras_residual import Cutout

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(4)])
with strategy.scope():
    cutout = Cutout(1, seed=0)

@tf.function
def step(images):
    return strategy.run(lambda x: cutout(x, training=True), (images,))

images = tf.ones((16, 32, 32, 1))
replicas = strategy.experimental_local_results(step(images))
with strategy.scope():
    dataset = tf.data.Dataset.from_tensors(images).map(Cutout(1, seed=0))
batches = [*replicas, next(iter(dataset))]
print(json.dumps([[int(x.argmin()) for x in b.numpy()] for b in batches]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="MirroredStrategy is TensorFlow's"
)
def test_replicas_erase_other_patches(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    run = subprocess.run(
        [sys.executable, "-c", REPLICAS], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    *places, piped = json.loads(run.stdout.splitlines()[-1])
    first = Cutout(1, seed=0)(np.ones((16, 32, 32, 1), "float32"), training=True)
    first = keras.ops.convert_to_numpy(first).reshape(16, -1).argmin(1)
    np.testing.assert_array_equal(places[0], first)
    np.testing.assert_array_equal(piped, first)
    # 64 draws of 1,024 places: two pairs agree by chance.
    assert len({place for replica in places for place in replica}) > 54
