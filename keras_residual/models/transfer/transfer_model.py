"""Transfer learning: a pretrained backbone, its preprocessing and a new head."""

import contextlib
import inspect
import os
import types

import keras
import numpy as np

from keras_residual.models._backbone import Backbone
from keras_residual.models._leaves import leaves
from keras_residual.models._recompile import recompile
from keras_residual.models.transfer import _arguments as arguments
from keras_residual.models.transfer import _backbones, _learning_rate_range, _two_phase
from keras_residual.models.transfer import _blocks as parts
from keras_residual.models.transfer._cached_features import (
    CachedFeatures,
    compute,
    opened,
)
from keras_residual.models.transfer._first_batch import (
    check_images,
    check_labels,
    first_batch,
)
from keras_residual.models.transfer._head import make_head, make_pooling
from keras_residual.models.transfer._learning_rate_decay import (
    block_multipliers,
    slow_down,
)
from keras_residual.models.transfer._learning_rate_range import LearningRateRange
from keras_residual.models.transfer._moved_statistics import moved_statistics
from keras_residual.models.transfer._preprocessing import preprocess


@keras.saving.register_keras_serializable("keras_residual")
class TransferModel(keras.Model):
    """A classifier on top of a pretrained network.

    Images go through the preprocessing that the network's weights were trained with,
    the network (the backbone), pooling, and a new head: Dense and ReLU, dropout, Dense
    and softmax. All of it is one model, saved in one file.

    | `mode` | trains |
    |---|---|
    | `"feature_extraction"` | the head; nothing of the backbone |
    | `"fine_tuning"` | the head and the last `unfreeze` units of the backbone |
    | `"scratch"` | everything, from new weights |

    In the first two modes the backbone runs in inference mode also while it trains: the
    moving statistics of its batch normalizations stay as they are, and dropout inside
    it is off. The scales and offsets (gamma, beta) of the batch normalizations among
    the unfrozen layers do train. `check_batch_norm` shows it.

    `fit`, `evaluate` and `predict` look at the first batch (reading it once more) and
    refuse images that are in another range than `value_range`, have another shape, or
    labels outside the classes.

    Args:
        backbone: Name of a keras.applications network, `"resnet18"`, `"resnet34"` or
            `"resnet200"` for this library's [`ResNet`][keras_residual.ResNet], a
            `keras.Model` without top, or the path of a `.keras` file with one. A
            `keras.Model` is not copied: freezing freezes its layers.
        num_classes: Integer of at least 2. Number of classes.
        mode: `"feature_extraction"`, `"fine_tuning"` or `"scratch"`.
        weights: `"imagenet"` (downloaded), the path of a weights file of the network,
            with or without its top, or None; for `"resnet18"` and so on also the other
            names that [`load_pretrained`][keras_residual.load_pretrained] takes.
            `"auto"` is `"imagenet"` for a name, and None for a model, which has its own
            weights, and for `mode="scratch"`.
        unfreeze: Positive integer or `"all"`. With `mode="fine_tuning"`, how many units
            at the end of the backbone train.
        unfreeze_unit: `"layer"` (as in `backbone.layers`; a layer made of layers counts
            as these), `"conv"` (a convolution and all that follows it), `"block"` or
            `"stage"`, both by the names of the layers.
        hidden_units: Positive integer, width of the head's hidden layer, or None for no
            hidden layer.
        dropout: Float in `[0, 1)`. Dropout rate before the last layer.
        pooling: `"avg"`, `"max"` or None, which flattens the feature map.
        preprocessing: How keras.applications prepares images of 0 to 255 for these
            weights: `"tf"` (-1 to 1), `"torch"` (0 to 1, then ImageNet's mean and
            standard deviation), `"caffe"` (BGR, less the mean) or `"raw"` (0 to 255).
            `"auto"` is the right one for a network given by name. None: the backbone
            gets the images as they are.
        value_range: `(0, 255)` or `(0, 1)`, the range of the images that the model is
            given; None does not check it.
        input_shape: Shape of one image; height and width may be None. None: images of
            any size with three channels.
        train_batch_norm: Whether the backbone runs in training mode in `fit`, so that
            the statistics of unfrozen batch normalizations follow the new images.
            `mode="scratch"` always does.
        name: Name of the model.

    Input shape:
        `(batch, height, width, channels)`, or `(batch, channels, height, width)` if
        `keras.config.image_data_format()` is `"channels_first"`. Any number type.

    Output shape:
        `(batch, num_classes)`: probabilities, in float32 also under mixed precision.

    Raises:
        ValueError: If an argument is outside its range or contradicts another; before
            anything is downloaded, where it does not need the network itself.
        ConnectionError: If the weights must be downloaded and cannot be.

    Example:
        ```python
        import numpy as np
        from keras_residual import ResNet, TransferModel

        # Stands for a network that was trained before.
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
        num_classes: int,
        *,
        mode: str = "feature_extraction",
        weights: str | os.PathLike | None = "auto",
        unfreeze: int | str = 20,
        unfreeze_unit: str = "layer",
        hidden_units: int | None = 128,
        dropout: float = 0.0,
        pooling: str | None = "avg",
        preprocessing: str | None = "auto",
        value_range: tuple | None = (0, 255),
        input_shape: tuple | None = None,
        train_batch_norm: bool = False,
        name: str | None = None,
    ):
        arguments.check_head(num_classes, hidden_units, dropout, pooling)
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
        x = preprocess(images, preprocessing, value_range, data_format)
        x = Backbone(network, scratch or train_batch_norm, name="backbone")(x)
        x = make_pooling(pooling, x.shape, data_format)(x)
        head = make_head(x.shape[-1], hidden_units, dropout, num_classes)
        super().__init__(images, head(x), name=name or f"transfer_{network.name}")
        # Images, or the features of images: `call` tells them by their rank.
        self.input_spec = None
        self.num_classes = num_classes
        self.mode = mode
        self.hidden_units = hidden_units
        self.dropout = dropout
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
        features = keras.Model(images, x, name="features")
        self._features = types.SimpleNamespace(network=features)
        if mode == "scratch":
            self._train_only(leaves(network))
        elif mode == "fine_tuning":
            self._train_only(parts.tail(network, unfreeze, unfreeze_unit))
        else:
            self._train_only([])

    @property
    def backbone(self):
        """The network that the features come from, a `keras.Model`."""
        return self.get_layer("backbone").network

    @property
    def head(self):
        """The layers from pooled features to probabilities, a `keras.Model`."""
        return self.get_layer("head")

    def unfreeze(
        self,
        count: int | str = 20,
        unit: str = "layer",
        *,
        learning_rate_decay: float = 1.0,
    ) -> None:
        """Trains the last units of the backbone, and freezes the rest of it.

        A compiled model is compiled again, with the same loss, metrics and settings.
        The optimizer keeps its step count and its state for what goes on training.

        Args:
            count: Positive integer or `"all"`. How many units train.
            unit: `"layer"`, `"conv"`, `"block"` or `"stage"`.
            learning_rate_decay: Number in `(0, 1]`. The head trains with the learning
                rate, the last block of the backbone with this share of it, the block
                before with the share's square, and so on. Every update of a variable is
                scaled, that of decoupled weight decay as well. Blocks are those of
                `trainable_table`; a backbone whose names tell no blocks is one.

        Raises:
            ValueError: If the backbone has fewer units than that, or an argument is
                outside its range.

        Reference:
            Howard and Ruder, "Universal Language Model Fine-tuning for Text
            Classification", ACL 2018, section 3.2. <https://arxiv.org/abs/1801.06146>
        """
        arguments.check_unfreeze(count, unit, names=("count", "unit"))
        arguments.check_decay(learning_rate_decay)
        layers = parts.tail(self.backbone, count, unit, ("count", "unit"))
        self._train_only(layers, float(learning_rate_decay))

    def freeze(self) -> None:
        """Freezes the whole backbone, so that the head alone trains.

        A compiled model is compiled again, as by `unfreeze`.
        """
        self._train_only([])

    def trainable_table(self) -> list[dict]:
        """What trains, block by block, and the head last.

        Returns:
            A list of rows with the keys `"block"`, `"stage"`, `"layers"`,
            `"trainable_layers"`, `"parameters"`, `"trainable_parameters"` and
            `"learning_rate_multiplier"` (0 where nothing trains), which
            `pandas.DataFrame` takes as they are. Layers without parameters count as
            layers.
        """
        table = []
        for block, multiplier in block_multipliers(self, self._learning_rate_decay):
            row = parts.row(block)
            trains = row["trainable_parameters"] > 0
            row["learning_rate_multiplier"] = multiplier if trains else 0.0
            table.append(row)
        return table

    def check_batch_norm(self) -> list[str]:
        """The backbone's batch normalizations whose statistics move in training.

        Random images go through the model in training mode, and the statistics are
        compared bit by bit. Everything is then put back as it was.

        Returns:
            The names of the layers: none, unless the model trains from scratch or with
            `train_batch_norm=True`.
        """
        sizes = [size or 64 for size in self.input_shape[1:]]
        high = 1 if self.value_range == (0, 1) else 255
        images = np.random.default_rng(0).uniform(0, high, (4, *sizes))
        return moved_statistics(self, self.backbone, images.astype("float32"))

    def cache_features(
        self,
        dataset,
        labels=None,
        *,
        copies: int = 1,
        batch_size: int = 32,
        filepath: str | os.PathLike | None = None,
        verbose: int = 1,
    ) -> CachedFeatures:
        """Runs images through the frozen backbone once, for any number of epochs.

        What comes back takes the place of images and labels in `fit` (also as
        `validation_data`) and `evaluate`: the head trains alone, at the price of this
        one pass. `predict` takes images as before.

        The features take four bytes a number, in memory or in a file. A file that is
        there is used again if backbone, preprocessing, pooling, `copies` and data are
        what they were, for which the data are read and not run through the backbone.
        Otherwise it is computed anew, logged as a warning, and replaced once the new
        one is whole. The order of the images counts in an array, and not in a data
        set, which may shuffle. One that augments at random is other data each time.

        Args:
            dataset: Images in an array, or a data set of batches of images and labels.
                None takes the features in `filepath` without a look at the data; the
                model is checked.
            labels: The labels of an array of images.
            copies: Positive integer. How often the data set is read: each time a data
                set that augments at random gives other images.
            batch_size: Positive integer. Images at a time, if they are an array.
            filepath: Path of a file, ending in `.h5`, to keep the features in and to
                read them from as training needs them. None keeps them in memory.
            verbose: 1 for a progress bar, 0 for none.

        Returns:
            The features and the labels, `copies` times as many as there are images.
            They are refused once the backbone's weights are others.

        Raises:
            ValueError: If a part of the backbone trains, the data are none that
                `fit` takes, or `filepath` is damaged or a file of something else.
        """
        return compute(self, dataset, labels, copies, batch_size, filepath, verbose)

    def fit_two_phase(
        self,
        x,
        y=None,
        *,
        epochs: tuple[int, int] = (5, 5),
        unfreeze: int | str = 20,
        unfreeze_unit: str = "layer",
        learning_rate: float | None = None,
        learning_rate_decay: float = 1.0,
        cache: bool = False,
        **fit_arguments,
    ) -> keras.callbacks.History:
        """Trains the head alone, then the head and the tail of the backbone.

        The same as `freeze`, `fit`, `unfreeze`, a lower `optimizer.learning_rate` and
        `fit`. A head that is still random would spoil trained weights under it.

        Args:
            x: Images in an array, or a data set; not a generator, as it is read twice.
            y: Labels, if the images are an array.
            epochs: Two positive integers: epochs of the head, and then of the tail.
            unfreeze: Positive integer or `"all"`. How many units train in the second
                phase, as in `unfreeze`.
            unfreeze_unit: `"layer"`, `"conv"`, `"block"` or `"stage"`.
            learning_rate: Positive number, for the second phase. None is a tenth of
                what the optimizer has when this is called.
            learning_rate_decay: Number in `(0, 1]`, as in `unfreeze`.
            cache: Whether the head trains on features that are computed once, as by
                `cache_features`: the same images in each epoch, without the random
                augmentation that a data set may make.
            **fit_arguments: Arguments of `fit` for both phases, such as `batch_size`,
                `validation_data`, `callbacks` and `verbose`. With
                `keras.callbacks.BackupAndRestore` of a local folder among the callbacks
                a training that was killed goes on in its phase when it is run again.

        Returns:
            One history of both phases, whose epochs count on. Its attribute
            `tail_epoch` is the number of the first epoch of the second phase.

        Raises:
            ValueError: If the model is not compiled, has a learning rate that cannot
                be set or trains from scratch, or an argument is outside its range;
                before any training.
        """
        return _two_phase.fit_two_phase(
            self,
            x,
            y,
            epochs,
            unfreeze,
            unfreeze_unit,
            learning_rate,
            learning_rate_decay,
            cache,
            fit_arguments,
        )

    def find_learning_rate(
        self,
        x,
        y=None,
        *,
        low: float = 1e-7,
        high: float = 1.0,
        steps: int = 100,
        batch_size: int = 32,
    ) -> LearningRateRange:
        """Trains for some steps at a growing learning rate, and takes them all back.

        The rate grows from `low` to `high` by the same factor at each step, until the
        loss is over four times its minimum (both smoothed) or not finite. Weights,
        the state of the optimizer, its learning rate and the seeds within the model are
        then what they were; the random state of a data set that has one is not.

        `keras_residual.analysis.plots.learning_rate_range` draws the result.

        Args:
            x: Images in an array, a data set, or what `cache_features` gave. Data for
                fewer steps are read again; arrays are shuffled.
            y: Labels, if the images are an array.
            low: Positive number, the first learning rate.
            high: Number greater than `low`, the last learning rate.
            steps: Integer of at least 10. Number of steps.
            batch_size: Positive integer. Images at a time, if they are an array.

        Returns:
            An object with the arrays `rates`, `losses` and `smoothed_losses`, each as
            long as there were steps, and the number `suggestion`: the rate at which the
            smoothed loss falls fastest against the logarithm of the rate, after the
            first tenth of the steps and before it rises again by half of its whole
            fall (None if it falls nowhere).

        Raises:
            ValueError: If the model is not compiled or has a learning rate that cannot
                be set, or an argument is outside its range.

        Reference:
            Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017,
            section 3.3, where the rate grows linearly.
            <https://arxiv.org/abs/1506.01186>
        """
        return _learning_rate_range.find_learning_rate(
            self, x, y, low, high, steps, batch_size
        )

    def call(self, inputs, training=None, mask=None):
        if len(inputs.shape) == 2:
            return self.head(inputs, training=training)
        return super().call(inputs, training=training, mask=mask)

    def compile(self, *args, **kwargs):
        bound = inspect.signature(keras.Model.compile).bind(self, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])  # without the model itself
        if getattr(given.get("loss"), "from_logits", False):
            raise ValueError(
                "`loss` must not have from_logits=True: the model puts out "
                f"probabilities. Received: loss={given['loss']!r}"
            )
        super().compile(*args, **kwargs)
        slow_down(self, self._learning_rate_decay)
        self._compiled_with.arguments = given

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))
        # So that it takes its state from the file, which has one only if it was built.
        if self._had_optimizer_state:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, y=None, *args, **kwargs):
        given = inspect.signature(super().fit).bind(x, y, *args, **kwargs).arguments
        validation = given.get("validation_data")
        if isinstance(validation, CachedFeatures):
            given["validation_data"] = opened(self, validation, None)
            validation = None
        self._forget_other_inputs("train", isinstance(x, CachedFeatures))
        if isinstance(x, CachedFeatures):
            given["x"], given["y"] = opened(self, x, y)
        else:
            given["x"] = self._checked(x, y)
        if isinstance(validation, (tuple, list)):
            self._checked(*validation[:2])
        elif validation is not None:
            given["validation_data"] = self._checked(validation)
        return super().fit(**given)

    def evaluate(self, x=None, y=None, *args, **kwargs):
        # Within `fit`, which has checked its validation data already.
        if not kwargs.get("_use_cached_eval_dataset"):
            self._forget_other_inputs("test", isinstance(x, CachedFeatures))
            if isinstance(x, CachedFeatures):
                x, y = opened(self, x, y)
            else:
                x = self._checked(x, y)
        return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        self._forget_other_inputs("predict", isinstance(x, CachedFeatures))
        if isinstance(x, CachedFeatures):
            x, _ = opened(self, x, None)
        else:
            x = self._checked(x)
        return super().predict(x, *args, **kwargs)

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "mode": self.mode,
            "hidden_units": self.hidden_units,
            "dropout": self.dropout,
            "pooling": self.pooling,
            "preprocessing": self.preprocessing,
            "value_range": self.value_range,
            "input_shape": self.input_shape[1:],
            "train_batch_norm": self.train_batch_norm,
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "data_format": self.data_format,
            "trains": [layer.trainable for layer in self._leaves()],
            "learning_rate_decay": self._learning_rate_decay,
            "optimizer_state": self.compiled and self.optimizer.built,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        trains = config.pop("trains")
        decay = config.pop("learning_rate_decay")
        had_optimizer_state = config.pop("optimizer_state")
        config["backbone"] = keras.saving.deserialize_keras_object(config["backbone"])
        if config["mode"] == "fine_tuning":
            config["unfreeze"] = "all"  # what trains is set below, layer by layer
        with _settings(config.pop("dtype", None), config.pop("data_format", None)):
            model = cls(**config)
        model._learning_rate_decay = decay
        model._had_optimizer_state = had_optimizer_state
        for layer, trainable in zip(model._leaves(), trains, strict=True):
            layer.trainable = trainable
        return model

    def _forget_other_inputs(self, kind, cached):
        # TensorFlow would relax a function that it traced for images to any rank.
        if self._read_cache.get(kind, False) != cached:
            setattr(self, f"{kind}_function", None)
        self._read_cache[kind] = cached

    def _leaves(self):
        return [*leaves(self.backbone), *parts.leaves(self.head)]

    def _train_only(self, layers, learning_rate_decay=1.0):
        self._learning_rate_decay = learning_rate_decay
        wanted = {id(layer) for layer in layers}
        # The containers of what trains must be trainable, too.
        self.backbone.trainable = True
        for layer in leaves(self.backbone):
            layer.trainable = id(layer) in wanted
        if self.compiled:
            recompile(self, self._compiled_with.arguments, self.optimizer)

    def _checked(self, x, y=None):
        images, labels, x = first_batch(x, y)
        if images is not None:
            check_images(images, self.input_shape[1:], self.value_range)
        if labels is not None:
            check_labels(labels, self.num_classes)
        return x


@contextlib.contextmanager
def _settings(dtype, data_format):
    """Scope of the settings of Keras that a saved model was made under."""
    before = keras.config.dtype_policy(), keras.config.image_data_format()
    if dtype is not None:
        keras.config.set_dtype_policy(keras.saving.deserialize_keras_object(dtype))
    if data_format is not None:
        keras.config.set_image_data_format(data_format)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[1])
