"""Trees of images, and sets of TensorFlow Datasets that are made here."""

import imagenet_trees as trees
import numpy as np
import pytest

from keras_residual import ImageNetFolder


@pytest.fixture
def kaggle(tmp_path):
    return trees.write_kaggle(tmp_path / "kaggle")


@pytest.fixture
def read(tmp_path):
    """Reads a tree, with what is found kept in the test's own folder."""

    def read(root, **options):
        return ImageNetFolder(root, index_dir=tmp_path / "index", **options)

    return read


@pytest.fixture
def make_set(monkeypatch):
    """Makes the set that TensorFlow Datasets finds by any name.

    Image k of a split is filled with the number k times `step`.
    """
    tfds = pytest.importorskip(
        "tensorflow_datasets", reason="needs tensorflow-datasets"
    )
    # tensorflow-datasets 4.9.10 imports it without depending on it.
    pytest.importorskip("importlib_resources", reason="needs importlib_resources")

    def make(names, splits, size_of, *, shape=(None, None, 3), step=1):
        class Set(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            """Images of one grey."""

            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=shape),
                        "label": tfds.features.ClassLabel(names=names),
                    }
                )
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, dl_manager):
                return {name: self._generate_examples(*s) for name, s in splits.items()}

            def _generate_examples(self, numbers, label=None):
                for number in numbers:
                    image = np.full((*size_of(number), 3), step * number, np.uint8)
                    label_of = number % len(names) if label is None else label
                    yield number, {"image": image, "label": label_of}

        monkeypatch.setattr(
            tfds, "builder", lambda name, data_dir: Set(data_dir=data_dir)
        )
        return Set

    return make
