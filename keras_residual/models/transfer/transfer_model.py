"""Transfer learning: a pretrained backbone, its preprocessing and a new head."""

import inspect
import os
import types
from collections.abc import Sequence

import keras

from keras_residual._leaves import leaves
from keras_residual.layers.image_preprocessing import ImagePreprocessing
from keras_residual.models._backbone import Backbone
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer import _backbones
from keras_residual.models.transfer import _blocks as parts
from keras_residual.models.transfer import _head as heads
from keras_residual.models.transfer._augmentation import (
    augment,
    check_augmentation,
)
from keras_residual.models.transfer._cached_features import cache_features
from keras_residual.models.transfer._classify import classify, features
from keras_residual.models.transfer._config import config_of, model_of
from keras_residual.models.transfer._freezing import (
    freeze,
    train_only,
    trainable_table,
    unfreeze,
)
from keras_residual.models.transfer._inputs import prepared, prepared_validation
from keras_residual.models.transfer._learning_rate_decay import slow_down
from keras_residual.models.transfer._learning_rate_range import (
    LearningRateRange as LearningRateRange,
)
from keras_residual.models.transfer._learning_rate_range import find_learning_rate
from keras_residual.models.transfer._moved_statistics import check_batch_norm
from keras_residual.models.transfer._preprocessing import preprocess
from keras_residual.models.transfer._two_phase import fit_two_phase


@keras.saving.register_keras_serializable("keras_residual")
class TransferModel(keras.Model):
    """A classifier on top of a pretrained network.

    Images go through the preprocessing that the network's weights were trained with,
    the network (the backbone), pooling, and a new head: Dense and ReLU, dropout, Dense
    and softmax. All of it is one model, saved in one file. `classify` takes photos in
    files and returns names and probabilities.

    | `mode` | trains |
    |---|---|
    | `"feature_extraction"` | the head; nothing of the backbone |
    | `"fine_tuning"` | the head and the last `unfreeze` units of the backbone |
    | `"scratch"` | everything, from new weights |

    In the first two modes the backbone stays in inference mode even while it trains:
    the moving statistics of its batch normalizations do not change, and its dropout is
    off. The scales and offsets (gamma, beta) of unfrozen batch normalizations do train.
    `check_batch_norm` verifies this.

    `fit`, `evaluate` and `predict` check the first batch (which is read twice): they
    reject images outside `value_range` or of another shape, and labels outside the
    classes.

    Args:
        backbone: Name of a keras.applications network, `"resnet18"`, `"resnet34"` or
            `"resnet200"` for this library's [`ResNet`][keras_residual.ResNet],
            `"keras_hub:<preset>"` for a preset of KerasHub such as
            `"keras_hub:resnet_18_imagenet"`, a `keras.Model` without top, or the path
            of a `.keras` file with one. A `keras.Model` is not copied, so freezing
            affects its own layers.
        num_classes: Positive integer. Number of classes, labels or numbers that the
            model outputs; at least 2 with `activation="softmax"`. None: that of
            `class_names`, or of the outputs of `head`.
        class_names: List of the names of the classes, in the order of their numbers, or
            None. They are saved with the model; `classify` returns them.
        mode: `"feature_extraction"`, `"fine_tuning"` or `"scratch"`.
        weights: `"imagenet"` (downloaded), the path of a weights file of the network,
            with or without its top, or None; for this library's networks also the other
            names that [`load_pretrained`][keras_residual.load_pretrained] takes.
            `"auto"`: `"imagenet"` for a name; None for a model, which has its own
            weights, and for `mode="scratch"`.
        unfreeze: Positive integer or `"all"`. With `mode="fine_tuning"`, how many units
            at the end of the backbone train.
        unfreeze_unit: `"layer"` (a layer that contains layers counts as these),
            `"conv"` (a convolution with the layers up to the next), `"block"` or
            `"stage"`, by the names of the layers.
        hidden_units: Positive integer, width of the head's hidden layer, or None for no
            hidden layer.
        dropout: Float in `[0, 1)`. Dropout rate before the last layer.
        activation: `"softmax"` for one class of several, `"sigmoid"` for several labels
            of one image, `"linear"` for logits (with a loss that has
            `from_logits=True`) or for regression.
        head: A keras layer or model from features to outputs, in place of the head of
            `hidden_units`, `dropout` and `activation`.
        pooling: `"avg"`, `"max"` or None, which flattens the feature map.
        preprocessing: How keras.applications prepares images of 0 to 255 for these
            weights: `"tf"` (-1 to 1), `"torch"` (0 to 1, then ImageNet's mean and
            standard deviation), `"caffe"` (BGR, less the mean) or `"raw"` (0 to 255).
            `"auto"` finds the mode of a network given by name. Or an
            [`ImagePreprocessing`][keras_residual.ImagePreprocessing] layer, such as
            `preprocessing_for` returns. None: the backbone gets the images unchanged.
        value_range: Range of the model's input images, `(0, 255)` or `(0, 1)`. None,
            only without preprocessing: any range.
        augmentation: A layer or a list of layers that change images in training, such
            as `keras.layers.RandomFlip` or [`Cutout`][keras_residual.Cutout]. They run
            before the preprocessing, so in `value_range`, and are saved with the model.
        input_shape: Shape of one image; height and width may be None. None: images of
            any size with three channels.
        train_batch_norm: Whether the backbone runs in training mode in `fit`, so that
            the statistics of unfrozen batch normalizations follow the new images, as
            always with `mode="scratch"`.
        name: Name of the model, `"transfer_"` and that of the backbone if None.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` if
        `keras.config.image_data_format()` is `"channels_first"`. Any number type.

    Output shape:
        `(batch, num_classes)`: probabilities (with `activation="linear"`, logits or
        numbers), in float32 also under mixed precision.

    Raises:
        ValueError: If an argument is outside its range or contradicts another. Checks
            that do not need the network run before anything is downloaded.
        ConnectionError: If weights cannot be downloaded.
        ImportError: If a preset of KerasHub is named and KerasHub is not installed.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet, TransferModel

        # Stands for a pretrained network.
        backbone = ResNet(8, variant="cifar", include_top=False)
        model = TransferModel(backbone, num_classes=2, preprocessing="torch")
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3))
        model.fit(images, np.arange(16) % 2, verbose=0)
        model.unfreeze(1, "block")  # fine-tune the last block, no compile needed
        model.fit(images, np.arange(16) % 2, verbose=0)
        model.save("model.keras")
        ```

    Reference:
        Yosinski et al., "How transferable are features in deep neural networks?",
        NeurIPS 2014. <https://arxiv.org/abs/1411.1792>
    """

    def __init__(
        self,
        backbone: str | os.PathLike | keras.Model,
        num_classes: int | None = None,
        *,
        class_names: Sequence[str] | None = None,
        mode: str = "feature_extraction",
        weights: str | os.PathLike | None = "auto",
        unfreeze: int | str = 20,
        unfreeze_unit: str = "layer",
        hidden_units: int | None = 128,
        dropout: float = 0.0,
        activation: str = "softmax",
        head: keras.layers.Layer | None = None,
        pooling: str | None = "avg",
        preprocessing: str | ImagePreprocessing | None = "auto",
        value_range: tuple | None = (0, 255),
        augmentation: keras.layers.Layer | Sequence[keras.layers.Layer] | None = None,
        input_shape: tuple | None = None,
        train_batch_norm: bool = False,
        name: str | None = None,
    ):
        arguments.check_head(head, hidden_units, dropout, activation, pooling)
        num_classes, class_names = arguments.check_classes(
            num_classes, class_names, activation, head
        )
        augmentation = check_augmentation(augmentation)
        arguments.check_mode(mode, unfreeze, unfreeze_unit, train_batch_norm)
        arguments.check_backbone(backbone)
        preprocessing = _backbones.resolve_preprocessing(backbone, preprocessing)
        value_range = arguments.check_range(value_range, preprocessing)
        weights = _backbones.check_weights(backbone, weights, mode)
        input_shape = arguments.check_input_shape(
            input_shape, backbone, weights, preprocessing
        )
        scratch = mode == "scratch"
        network = _backbones.make_backbone(backbone, weights, input_shape, scratch)
        data_format = keras.config.image_data_format()
        images = keras.Input(input_shape or network.input_shape[1:], name="images")
        x = augment(images, augmentation)
        x = preprocess(x, preprocessing, value_range, data_format)
        x = Backbone(network, scratch or train_batch_norm, name="backbone")(x)
        _backbones.check_maps(x.shape, input_shape)
        x = heads.make_pooling(pooling, x.shape, data_format)(x)
        if head is None:
            top = heads.make_head(
                x.shape[-1], hidden_units, dropout, activation, num_classes
            )
        else:
            top = heads.wrap_head(x.shape[-1], head, num_classes)
        super().__init__(images, top(x), name=name or f"transfer_{network.name}")
        # Images, or the features of images: `call` tells them by their rank.
        self.input_spec = None
        self.num_classes = self.output_shape[-1]
        self.class_names = class_names
        self.mode = mode
        self.hidden_units = hidden_units
        self.dropout = dropout
        self.activation = activation
        self.own_head = head is not None
        self.pooling = pooling
        self.preprocessing = preprocessing
        self.value_range = value_range
        self.train_batch_norm = train_batch_norm
        self.data_format = data_format
        self._learning_rate_decay = 1.0
        self._had_optimizer_state = False
        self._read_cache: dict = {}
        # In namespaces, where Keras does not look for metrics and layers to track.
        self._compiled_with = types.SimpleNamespace(arguments=None)
        network_of_features = keras.Model(images, x, name="features")
        self._features = types.SimpleNamespace(network=network_of_features)
        trains: list = []
        if mode == "scratch":
            trains = leaves(network)
        elif mode == "fine_tuning":
            trains = parts.tail(network, unfreeze, unfreeze_unit)
        train_only(self, trains)

    # Plain functions, each in the module of its subject.
    unfreeze = unfreeze
    freeze = freeze
    trainable_table = trainable_table
    check_batch_norm = check_batch_norm
    cache_features = cache_features
    fit_two_phase = fit_two_phase
    find_learning_rate = find_learning_rate
    classify = classify
    features = features

    @property
    def backbone(self):
        """The network that the features come from, a `keras.Model`."""
        return self.get_layer("backbone").network

    @property
    def augmentation(self):
        """The list of layers that augment images in training."""
        found = [layer for layer in self.layers if layer.name == "augmentation"]
        return list(found[0].layers) if found else []

    @property
    def head(self):
        """The layers from pooled features to probabilities, a `keras.Model`."""
        return self.get_layer("head")

    def call(self, inputs, training=None, mask=None):
        if len(inputs.shape) == 2:
            return self.head(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    def compile(self, *args, **kwargs):
        bound = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])  # without the model itself
        heads.check_loss(self, given.get("loss"))
        super().compile(*args, **kwargs)
        slow_down(self, self._learning_rate_decay)
        self._compiled_with.arguments = given

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        # Only an optimizer that is built takes its state from the file.
        if self._had_optimizer_state:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *args, **kwargs):
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        given.update(prepared(self, "train", x, y, given.get("sample_weight")))
        validation = given.get("validation_data")
        if validation is not None:
            given["validation_data"] = prepared_validation(self, validation)
        return super().fit(**given)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        # Within `fit`, which has checked its validation data already.
        if not kwargs.get("_use_cached_eval_dataset"):
            kwargs.update(prepared(self, "test", x, y, kwargs.get("sample_weight")))
            x, y = kwargs.pop("x"), kwargs.pop("y", y)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        x = prepared(self, "predict", x)["x"]
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        return config_of(self)

    @classmethod
    def from_config(cls, config):
        return model_of(cls, config)
