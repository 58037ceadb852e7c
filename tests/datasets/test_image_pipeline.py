"""Which images a step holds: orders, shards, resumption, and what is no image."""

import dataclasses
import inspect
import itertools
import sys

import keras
import numpy as np
import pytest
from image_files import (
    encoded_image_batches,
    image_batches,
    save,
    save_greys,
    waves,
)

from keras_residual import Cutout, ImageNetFolder
from keras_residual.datasets._reader_options import ReaderOptions
from keras_residual.datasets._tensorflow_setup import prepare_tensorflow

tf = pytest.importorskip("tensorflow")
COUNT = 13
# Whether images come at all, and in which order, is tested under every backend.
once = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="TensorFlow reads under every backend: tested under its own",
)
BAD_ARGUMENTS = [
    ("image_size", 0),
    ("batch_size", 2.5),
    ("seed", -1),
    ("first_step", -1),
    ("first_step", 1.0),
    ("first_step", True),
    ("shard", (2, 2)),
    ("shard", 1),
    ("shard", (-1, 2)),
    ("crop_area", (0, 1)),
    ("crop_area", (0.5, 0.4)),
    ("crop_area", 0.5),
    ("center_fraction", 0),
    ("center_fraction", 1.1),
    ("augmentation", 3),
    ("balanced", True),  # without training
    ("data_format", "NHWC"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return save_greys(tmp_path_factory.mktemp("greys"), COUNT)


@pytest.fixture(
    scope="module", params=["files", pytest.param("examples", marks=pytest.mark.slow)]
)
def batches(request, files):
    """Makes datasets of small images from files, or from a dataset of their bytes."""

    def of_files(**options):
        return image_batches(files, np.arange(COUNT), image_size=4, **options)

    def of_examples(**options):
        # Labels as TensorFlow Datasets may give them.
        contents = [file.read_bytes() for file in files]
        examples = tf.data.Dataset.from_tensor_slices(
            (contents, np.arange(COUNT, dtype=np.int32))
        )
        return encoded_image_batches(examples, COUNT, image_size=4, **options)

    return of_files if request.param == "files" else of_examples


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture in which every crop is another."""
    return save(waves(90, 70), tmp_path_factory.mktemp("photo") / "waves.jpg")


def read(dataset, steps=None):
    """Labels of each batch; the images must be theirs."""
    found = []
    for images, labels in itertools.islice(dataset, steps):
        assert images.dtype == "uint8"
        assert labels.dtype == "int64"
        np.testing.assert_array_equal(
            images, np.broadcast_to(labels[:, None, None, None], images.shape)
        )
        found.append(labels.numpy().tolist())
    return found


def test_validation_is_read_in_order(batches):
    dataset = batches(batch_size=5)

    assert dataset.cardinality() == 3
    for _ in range(2):
        assert read(dataset) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12]]


@once
def test_one_pass_of_training_has_every_file_once_in_a_new_order(batches):
    dataset = batches(batch_size=5, training=True, seed=3)

    passes = [read(dataset) for _ in range(3)]

    for batch_labels in passes:
        assert [len(labels) for labels in batch_labels] == [5, 5, 3]
        assert sorted(np.concatenate(batch_labels)) == list(range(COUNT))
    assert len({str(batch_labels) for batch_labels in passes}) == 3
    assert read(batches(batch_size=5, training=True, seed=3)) == passes[0]
    assert read(batches(batch_size=5, training=True, seed=4)) != passes[0]


@pytest.mark.slow
@once
def test_all_bits_of_a_seed_count(batches):
    def labels(seed):
        return read(
            batches(batch_size=COUNT, training=True, first_step=0, seed=seed), 1
        )

    assert len({str(labels(seed)) for seed in (0, 2**8, 2**40, 2**62)}) == 4


@pytest.mark.slow
@once
@pytest.mark.parametrize("num_images", [COUNT, 1_281_167])
def test_orders_do_not_come_back(num_images):
    from keras_residual.datasets import _tensorflow_orders

    places, epochs = np.arange(COUNT), np.repeat(np.arange(600), COUNT)
    orders = [
        _tensorflow_orders.shuffled(
            tf.constant(np.tile(places, 600)),
            tf.constant(seed, tf.int64),
            tf.constant(epochs),
            num_images,
        )
        .numpy()
        .reshape(600, COUNT)
        for seed in (0, 2**8, 2**40, 2**62)
    ]
    different = len(np.unique(np.concatenate(orders), axis=0))
    assert different >= 0.99 * 4 * 600  # so few numbers meet now and then


@pytest.mark.slow
@once
def test_endless_training_has_full_batches_of_whole_passes(batches):
    dataset = batches(batch_size=4, training=True, first_step=0)

    labels = np.concatenate(read(dataset, 4 * COUNT))  # sixteen passes

    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    assert dataset.element_spec[0].shape == (4, 4, 4, 3)
    passes = labels.reshape(-1, COUNT)
    np.testing.assert_array_equal(np.sort(passes), [np.arange(COUNT)] * 16)
    assert len(np.unique(passes, axis=0)) == 16
    # Each file comes first now and then: in 16 passes 9.6 of 13 are expected to.
    assert len(set(passes[:, 0])) >= 5


@pytest.mark.slow
@once
def test_a_batch_may_hold_several_passes(batches):
    dataset = batches(batch_size=30, training=True, first_step=1)
    labels = np.concatenate(read(dataset, 3))
    full = labels[9:][: 6 * COUNT].reshape(6, COUNT)  # position 30 is in the third pass
    np.testing.assert_array_equal(np.sort(full), [np.arange(COUNT)] * 6)


@once
@pytest.mark.slow
@pytest.mark.parametrize("first_step", [None, 5])
def test_shards_together_are_what_a_single_reader_gets(batches, first_step):
    def labels_of(shard):
        keras.utils.set_random_seed(shard[0])  # of which the order is independent
        dataset = batches(
            batch_size=6, training=True, first_step=first_step, shard=shard
        )
        found = read(dataset, 4)
        if first_step is None:
            assert dataset.cardinality() == len(found)
        return found

    whole = labels_of((0, 1))
    if first_step is None:
        assert len(whole.pop()) == 1  # which two readers cannot share
    parts = [labels_of((index, 2)) for index in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole
    assert {len(labels) for part in parts for labels in part} == {3}


@once
@pytest.mark.parametrize("batch_size", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_all_readers_train_for_the_same_steps(batches, batch_size):
    datasets = [
        batches(batch_size=batch_size, training=True, shard=(index, 2))
        for index in range(2)
    ]
    left_out = set()
    for _ in range(2):
        found = [read(dataset) for dataset in datasets]
        sizes = [[len(labels) for labels in part] for part in found]
        assert sizes == sizes[:1] * 2
        assert sum(sizes[0]) == COUNT // 2
        assert {dataset.cardinality().numpy() for dataset in datasets} == {
            len(sizes[0])
        }
        (missing,) = set(range(COUNT)) - set(itertools.chain(*itertools.chain(*found)))
        left_out.add(missing)
    assert len(left_out) > 1


@pytest.mark.slow
@once
def test_the_last_batch_of_an_evaluation_is_shared_out_evenly(files):
    for number, size, expected in ((13, 8, [2, 3]), (9, 8, [0, 1])):
        datasets = [
            image_batches(files[:number], range(number), batch_size=size, shard=(i, 2))
            for i in range(2)
        ]
        last = [
            [len(labels) for _, labels in dataset][number // size :]
            for dataset in datasets
        ]
        assert last == [[size] if size else [] for size in expected]
        assert [dataset.cardinality() for dataset in datasets] == [
            number // size + len(batch) for batch in last
        ]


@pytest.mark.slow
@pytest.mark.once
def test_crops_depend_on_the_seed_and_the_position_alone(photo):
    files = [photo] * 7

    def crops(steps, make=image_batches, **options):
        options = {"batch_size": 8, "first_step": 0, "seed": 1, **options}
        source = files
        if make is encoded_image_batches:
            source = tf.data.Dataset.from_tensors(photo.read_bytes()).repeat(7)
            source, labels = source.map(lambda encoded: (encoded, 0)), 7
        else:
            labels = [0] * 7
        dataset = make(source, labels, image_size=24, training=True, **options)
        return np.concatenate([images for images, _ in dataset.take(steps)])

    whole = crops(20)

    assert len(np.unique(whole, axis=0)) == 160
    np.testing.assert_array_equal(crops(3, first_step=17), whole[17 * 8 :])
    # In calls of 32 and batches of 160, decoded side by side; and from a dataset.
    np.testing.assert_array_equal(crops(1, batch_size=160), whole)
    np.testing.assert_array_equal(crops(20, encoded_image_batches), whole)
    parts = [crops(2, shard=(index, 2)).reshape(2, 4, -1) for index in range(2)]
    np.testing.assert_array_equal(
        np.concatenate(parts, axis=1).reshape(16, -1), whole[:16].reshape(16, -1)
    )
    assert (crops(1, seed=2) != whole[:8]).any()
    # Those of one pass are new at each iteration.
    dataset = image_batches(files, [0] * 7, image_size=24, training=True)
    first, second = (next(iter(dataset))[0].numpy() for _ in range(2))
    assert (first != second).any((1, 2, 3)).all()


@pytest.mark.slow
@once
def test_examples_resume_where_they_were(files):
    contents = [file.read_bytes() for file in files]
    examples = tf.data.Dataset.from_tensor_slices((contents, np.arange(COUNT)))

    def labels(first_step, *buffer):
        dataset = encoded_image_batches(
            examples,
            COUNT,
            *buffer,
            image_size=4,
            batch_size=4,
            training=True,
            first_step=first_step,
        )
        return read(dataset, 20 - first_step)

    whole = labels(0)
    assert labels(11) == whole[11:]
    # A small buffer keeps most of the order.
    assert np.concatenate(labels(0, 1))[:COUNT].tolist() == list(range(COUNT))


def broken_files(folder, good):
    content = good.read_bytes()
    for name, broken in (
        ("empty.jpg", b""),
        ("cut_off.jpg", content[: len(content) // 2]),
        ("text.png", b"no image"),
        ("header.jpg", content[:2] + b"\xff\xff" * 40),
    ):
        (folder / name).write_bytes(broken)
        yield folder / name
    yield folder / "missing.jpg"


@once
@pytest.mark.parametrize("first_step", [None, 0])
def test_balanced_classes_come_equally_often(files, first_step):
    labels = np.repeat([3, 0, 7], [8, 1, 4])  # in no order, and with gaps

    def dataset(seed, first_step, batch_size=6):
        return image_batches(
            files,
            labels,
            image_size=4,
            batch_size=batch_size,
            training=True,
            balanced=True,
            seed=seed,
            first_step=first_step,
        )

    found = [
        (int(image[0, 0, 0]), int(label))
        for images, labels in itertools.islice(dataset(5, first_step), 8)
        for image, label in zip(images, labels, strict=True)
    ]
    assert len(found) == (COUNT if first_step is None else 48)
    assert all(labels[image] == label for image, label in found)
    for begin in range(0, len(found) - 2, 3):
        assert {label for _, label in found[begin : begin + 3]} == {0, 3, 7}
    for label, first, count in ((3, 0, 8), (0, 8, 1), (7, 9, 4)):
        images = [image for image, of in found if of == label]
        turns = [images[i : i + count] for i in range(0, len(images), count)]
        for turn in turns:
            assert len(set(turn)) == len(turn)
            assert set(turn) <= set(range(first, first + count))
        if first_step == 0 and count > 1:
            assert len(set(map(tuple, turns))) > 1
    if first_step == 0:
        resumed = next(iter(dataset(5, 3)))[0][:, 0, 0, 0]
        assert resumed.numpy().tolist() == [image for image, _ in found[18:24]]
    assert found != [
        (int(image[0, 0, 0]), int(label))
        for images, labels in itertools.islice(dataset(6, first_step), 8)
        for image, label in zip(images, labels, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["cutout", "keras"])
def test_augmentation_and_channels_first(batches, layer):
    layers = {
        "cutout": Cutout(2, fill=255, data_format="channels_first"),
        "keras": keras.layers.RandomBrightness(
            (0.5, 0.5), value_range=(0, 255), data_format="channels_first"
        ),
    }
    plain = batches(batch_size=5, data_format="channels_first")
    dataset = batches(
        batch_size=5, data_format="channels_first", augmentation=layers[layer]
    )
    assert dataset.element_spec[0].shape[1:] == (3, 4, 4)
    assert dataset.cardinality() == 3
    for (before, _), (after, labels) in zip(plain, dataset, strict=True):
        assert before.shape == after.shape == (len(labels), 3, 4, 4)
        assert (after.numpy() > before.numpy() + 100).any((1, 2, 3)).all()


@once
def test_files_that_cannot_be_read_are_named(tmp_path, files):
    # The last ones too, after which nothing follows that could be counted.
    for file, training in zip(
        broken_files(tmp_path, files[0]), itertools.cycle([False, True])
    ):
        dataset = image_batches(
            [*files[:2], file],
            range(3),
            batch_size=2,
            image_size=4,
            training=training,
            crop_area=(0.9, 1.0),
        )
        with pytest.raises(tf.errors.InvalidArgumentError, match=file.name) as info:
            list(dataset)
        assert "cannot be read" in str(info.value)
        assert files[0].name not in str(info.value)


@once
def test_examples_that_cannot_be_read_are_numbered(files):
    contents = [file.read_bytes() for file in files]
    contents[7] = b"no image"
    examples = tf.data.Dataset.from_tensor_slices((contents, np.arange(COUNT)))
    for training in (False, True):
        dataset = encoded_image_batches(examples, COUNT, training=training)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[number 7\]"):
            list(dataset)


@once
@pytest.mark.parametrize("number", [COUNT - 1, COUNT + 1])
def test_a_wrong_number_of_examples_is_an_error(files, number):
    contents = [file.read_bytes() for file in files]
    examples = tf.data.Dataset.from_tensor_slices((contents, np.arange(COUNT)))
    examples = examples.filter(lambda *example: True)  # it does not know its number
    dataset = encoded_image_batches(examples, number, image_size=4, first_step=0)
    with pytest.raises(tf.errors.FailedPreconditionError, match=f"contain {number}"):
        list(dataset.take(2))


@pytest.mark.slow
def test_a_network_trains_on_them(files):
    """Under every backend, with Cutout on the way."""
    cutout = Cutout(2, seed=0)
    dataset = image_batches(
        files, np.arange(COUNT) % 2, image_size=4, batch_size=4, training=True
    )
    model = keras.Sequential(
        [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)

    history = model.fit(
        dataset.map(lambda images, labels: (cutout(images), labels)),
        validation_data=image_batches(files, [0] * COUNT, image_size=4),
        epochs=2,
        shuffle=False,
        verbose=0,
    )

    assert np.isfinite(history.history["loss"]).all()
    assert np.isfinite(history.history["val_loss"]).all()


@pytest.mark.parametrize(("argument", "value"), BAD_ARGUMENTS)
@pytest.mark.once
def test_bad_arguments_are_named(argument, value):
    with pytest.raises(ValueError, match=f"`{argument}` must .* Received: {argument}="):
        ReaderOptions(**{argument: value})


@pytest.mark.once
def test_a_batch_must_be_shared_out_equally():
    with pytest.raises(ValueError, match=r"multiple of the 3 .* batch_size=32"):
        ReaderOptions(shard=(0, 3))


@pytest.mark.once
def test_options_are_those_of_the_public_method():
    arguments = inspect.signature(ImageNetFolder.dataset).parameters
    fields = {field.name: field.default for field in dataclasses.fields(ReaderOptions)}
    assert list(arguments) == ["self", "split", *fields]
    assert {name: arguments[name].default for name in fields} == fields


@pytest.mark.once
def test_numbers_of_numpy_become_those_of_python():
    numbers = {"image_size": np.int64(8), "batch_size": np.int16(4)}
    options = ReaderOptions(**numbers, shard=np.array([1, 2]), crop_area=[0.5, 1])
    assert options == ReaderOptions(8, 4, shard=(1, 2), crop_area=(0.5, 1.0))
    assert type(options.image_size) is type(options.shard[0]) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.batch_size = 3


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="there TensorFlow trains"
)
def test_a_program_keeps_its_devices(monkeypatch):
    calls = []
    for owner, name, result in (
        (tf.config, "list_physical_devices", ["first", "second"]),
        (tf.config, "set_visible_devices", None),
        (tf.config.experimental, "set_memory_growth", None),
    ):

        def called(*arguments, name=name, result=result):
            calls.append((name, *arguments))
            return result

        monkeypatch.setattr(owner, name, called)

    prepare_tensorflow()

    assert calls == [
        ("list_physical_devices", "GPU"),
        ("set_memory_growth", "first", True),
        ("set_memory_growth", "second", True),
    ]


def test_without_tensorflow_the_message_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"tf\.data.*pip install tensorflow"):
        prepare_tensorflow()
