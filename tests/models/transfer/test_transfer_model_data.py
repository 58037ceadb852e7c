import keras
import numpy as np
import pytest


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("value_range", "scale", "found"),
    [
        ((0, 255), 1 / 255, "these look like 0 to 1"),
        ((0, 1), 1, "these look like 0 to 255"),
    ],
)
def test_other_range_is_noticed(method, value_range, scale, found, make_model, images):
    model = make_model(value_range=value_range)
    before = model.get_weights()
    arguments = () if method == "predict" else (np.zeros(16),)
    message = f"in the range 0 to {value_range[1]}, and {found}"
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(images * scale, *arguments)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_preprocessed_images_are_noticed(make_model, images):
    with pytest.raises(ValueError, match="the model preprocesses images itself"):
        make_model().predict(images / 127.5 - 1)


@pytest.mark.slow
def test_images_in_range_pass(make_model, images):
    black = np.zeros((2, 32, 32, 3))
    for arguments, inputs in (
        ({}, (images, black, images % 2)),  # nearly black too, of uint8
        ({"value_range": (0, 1)}, (images / 255,)),
        ({"preprocessing": None, "value_range": None}, (images / 127.5 - 1,)),
    ):
        model = make_model(**arguments)
        for x in inputs:
            assert model.predict(x, verbose=0).shape == (len(x), 2)


def test_validation_data_is_looked_at(make_model, images, labels):
    with pytest.raises(ValueError, match="look like 0 to 1"):
        make_model().fit(
            images, labels, validation_data=(images / 255, labels), verbose=0
        )
    by_position = (8, 1, 0, None, 0.0, (images / 255, labels))
    with pytest.raises(ValueError, match="look like 0 to 1"):
        make_model().fit(images, labels, *by_position)


def batches(images, labels):
    for start in range(0, len(images), 4):
        yield images[start : start + 4], labels[start : start + 4]


class Sequence(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self.batches = list(batches(images, labels))

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def as_tf_data(images, labels):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)


def as_loader(images, labels):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(
        torch.from_numpy(images), torch.from_numpy(labels)
    )
    return torch.utils.data.DataLoader(data, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [batches, Sequence, as_tf_data, as_loader])
def test_every_kind_of_data(kind, make_model, images, labels):
    images = images.astype("float32")
    model = make_model()
    expected = model.evaluate(images, labels, verbose=0)
    with pytest.raises(ValueError, match="look like 0 to 1"):
        model.evaluate(kind(images / 255, labels))
    with pytest.raises(ValueError, match="Received: labels from 2 to 3"):
        model.fit(kind(images, labels + 2))
    # No batch is lost by the look at the first one.
    found = model.evaluate(kind(images, labels), steps=4, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    model.fit(kind(images, labels), steps_per_epoch=4, shuffle=False, verbose=0)
    assert int(model.optimizer.iterations) == 4


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        (np.arange(16), "labels from 0 to 15"),
        (np.arange(16)[:, None] % 2 - 1, "labels from -1 to 0"),
        (np.eye(3)[np.arange(16) % 3], r"labels of shape \(16, 3\)"),
    ],
)
def test_labels_outside_the_classes(labels, received, make_model, images):
    with pytest.raises(ValueError, match=f"from 0 to 1, .* Received: {received}"):
        make_model().fit(images, labels)


@pytest.mark.slow
def test_one_hot_labels_pass(make_model, images, labels):
    model = make_model()
    model.compile("sgd", "categorical_crossentropy")
    history = model.fit(images, np.eye(2)[labels], verbose=0)
    assert np.isfinite(history.history["loss"]).all()


@pytest.mark.parametrize("shape", [(4, 32, 32, 1), (4, 16, 32, 3), (32, 32, 3)])
def test_other_shapes(shape, make_model):
    with pytest.raises(ValueError, match="`x` must hold images of shape"):
        make_model().predict(np.full(shape, 9.0))
