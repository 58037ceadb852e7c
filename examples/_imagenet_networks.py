"""The networks of the ImageNet comparison, with loss, optimizer and schedule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from _imagenet_recipes import Recipe

from keras_residual import Cutout, ImagePreprocessing, PlainNet, ResNet

# ImageNet's channels, for values from 0 to 1, as torchvision's weights expect.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
TOP = 5


def build_network(network: str, settings: Mapping[str, Any], seed: int) -> keras.Model:
    """Builds a network from uint8 images to logits.

    Args:
        network: "plain", "resnet" or "resnet-cutout".
        settings: Settings of the run.
        seed: Seed of the initial weights and of Cutout.
    """
    size = settings["image_size"]
    images = keras.Input((size, size, 3), dtype="uint8", name="images")
    x = ImagePreprocessing(
        mean=MEAN, std=DEVIATION, value_range=(0, 1), name="preprocessing"
    )(images)
    if network == "resnet-cutout":
        # After the means are taken out, so that a patch of zeros is the mean colour
        # (DeVries & Taylor 2017, section 3.2).
        x = Cutout(settings["cutout_size"], seed=seed, name="cutout")(x)
    keras.utils.set_random_seed(seed)
    body = _make_body(PlainNet, settings)
    if network != "plain":
        plain = body
        body = _make_body(ResNet, settings)
        _share_weights(plain, body)
    # The softmax of half-precision logits would be coarse.
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(body(x))
    return keras.Model(images, logits, name=network.replace("-", "_"))


def _make_body(kind: Any, settings: Mapping[str, Any]) -> keras.Model:
    return kind(
        settings["depth"],
        len(settings["classes"]),
        variant=settings["variant"],
        input_shape=(settings["image_size"], settings["image_size"], 3),
        classifier_activation="linear",
        name="body",
    )


def _share_weights(plain: keras.Model, residual: keras.Model) -> None:
    """Copies the plain network's initial weights into the layers that both have.

    With the same seed alone the two would differ after the first projection, which
    draws random numbers that the plain network does not draw.
    """
    weights = {weight.path: weight for weight in plain.weights}
    for weight in residual.weights:
        if weight.path in weights:
            weight.assign(weights[weight.path])


def compile_network(model: keras.Model, recipe: Recipe, steps_per_epoch: int) -> None:
    """Compiles the network by the recipe, with top-1 and top-5 accuracy."""
    optimizer = make_optimizer(recipe, steps_per_epoch)
    if recipe.weight_decay and not recipe.decay_all:
        optimizer.exclude_from_weight_decay(
            [weight for weight in model.trainable_variables if len(weight.shape) < 2]
        )
    num_classes = model.output_shape[-1]
    model.compile(
        optimizer,
        SmoothedCrossentropy(recipe.label_smoothing),
        # Samples that fill up the last batch for several devices have the weight 0.
        weighted_metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="top1"),
            keras.metrics.SparseTopKCategoricalAccuracy(
                min(TOP, num_classes), name="top5"
            ),
        ],
    )
    # With the scale of the loss that float16 needs around it, which is a state as well.
    model.optimizer.build(model.trainable_variables)


def load_network(file: Path) -> keras.Model:
    """Loads a network, with the average of its weights if the file has one.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is not a Keras network.
    """
    model = keras.saving.load_model(file)
    if getattr(model, "optimizer", None) is not None:  # of a checkpoint
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return model


def make_optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Makes the recipe's optimizer, with its schedule and its weight average."""
    average: dict[str, Any] = {}
    if recipe.ema_epochs:
        span = max(1.0, recipe.ema_epochs * steps_per_epoch)
        average = {"use_ema": True, "ema_momentum": 1 - 1 / span}
    rate = make_schedule(recipe, steps_per_epoch)
    if recipe.optimizer == "adam":
        decay = recipe.weight_decay or None
        return keras.optimizers.Adam(rate, weight_decay=decay, **average)
    # Keras subtracts the decay beside the gradient step. PyTorch adds it to the
    # gradient, where momentum multiplies it by 1 / (1 - momentum).
    decay = recipe.weight_decay / (1 - recipe.momentum)
    return keras.optimizers.SGD(
        rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=decay or None,
        **average,
    )


def make_schedule(recipe: Recipe, steps_per_epoch: int) -> Any:
    """Makes the learning rate: a number, or a Keras schedule over the steps."""
    steps = recipe.epochs * steps_per_epoch
    schedules = keras.optimizers.schedules
    if recipe.schedule == "constant":
        return recipe.learning_rate
    if recipe.schedule == "steps":
        rates = [recipe.learning_rate / 10**power for power in range(3)]
        borders = [steps // 3, 2 * steps // 3]
        return schedules.PiecewiseConstantDecay(borders, rates)
    warmup = recipe.warmup_epochs * steps_per_epoch
    if not warmup:
        return schedules.CosineDecay(recipe.learning_rate, steps)
    return schedules.CosineDecay(
        0.0,
        steps - warmup,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
    )


@keras.saving.register_keras_serializable("keras_residual_examples")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits and integer labels, with label smoothing.

    Keras's sparse cross-entropy has no smoothing. A share `label_smoothing` of the
    target is spread evenly over all classes (Szegedy et al. 2016, section 7).
    """

    def __init__(self, label_smoothing: float = 0.0, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        labels = keras.ops.cast(keras.ops.reshape(y_true, (-1,)), "int32")
        loss = keras.ops.sparse_categorical_crossentropy(
            labels, y_pred, from_logits=True
        )
        if not self.label_smoothing:
            return loss
        even = -keras.ops.mean(keras.ops.log_softmax(y_pred), axis=-1)
        return (1 - self.label_smoothing) * loss + self.label_smoothing * even

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
