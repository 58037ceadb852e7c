"""Recipes of long trainings: the options of a command line, and what they compile."""

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import keras

from keras_residual.experiments.settings import (
    Aside,
    Bounds,
    Natural,
    Positive,
    Rate,
    Run,
    Share,
    refuse,
    shown_default,
)

Duration = Annotated[float, Bounds(0, float("inf"), "a number, 0 or above")]
Momentum = Annotated[float, Bounds(0, 0.9999, "0 or above, and below 1")]
RATE = shown_default("0.001 for adam; for sgd 0.1 x batch size / 256")

# What differs from the defaults of `Recipe`, which are Keras's without augmentation.
PUBLISHED: dict[str, dict[str, Any]] = {
    # He et al. 2015, section 3.4, with the steps, the epochs and the crops that give
    # torchvision's weights 69.758 % (pytorch/vision, references/classification).
    "he2015": {
        **{"optimizer": "sgd", "batch_size": 256, "epochs": 90, "schedule": "steps"},
        **{"weight_decay": 1e-4, "decay_all": True, "crop_area": 0.08},
    },
    # He, T. et al. 2019, "Bag of Tricks for Image Classification with Convolutional
    # Neural Networks", sections 3.1, 3.2 and 5; the average of weights is torchvision's
    # newer recipe's.
    "modern": {
        **{"optimizer": "sgd", "batch_size": 1024, "epochs": 120, "nesterov": True},
        **{"schedule": "cosine", "warmup_epochs": 5, "weight_decay": 1e-4},
        **{"label_smoothing": 0.1, "ema_epochs": 2.0, "precision": "mixed_bfloat16"},
        "crop_area": 0.08,
    },
}


@dataclass(frozen=True, kw_only=True)
class Recipe(Run):
    """The options of a long training. Subclass it for the settings of an experiment.

    Args:
        recipe: the defaults of the options of training, which are those below
        epochs: epochs of each training
        batch_size: images in a step, over all devices and hosts
        optimizer: which one
        learning_rate: peak
        schedule: of the learning rate; steps is a tenth after each third of the epochs
        warmup_epochs: epochs in which the rate grows from 0, for cosine
        momentum: of SGD
        nesterov: momentum that looks ahead
        weight_decay: of SGD as PyTorch counts it, of Adam as AdamW
        decay_all: weight decay of batch normalization and biases as well
        label_smoothing: share of the target for all classes
        ema_epochs: time constant of the average of the weights, which is evaluated and
            kept, in epochs; 0 for none
        precision: of the computation
        crop_area: smallest share of a picture in a crop; 0 for no crops, no mirroring
        record_every: steps between two records of the gradient norms; 0 for none
        tensorboard: write summaries for TensorBoard
    """

    recipe: str = ""
    epochs: Positive = 20
    batch_size: Positive = 32
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: Annotated[Rate | None, RATE] = None
    schedule: Literal["constant", "steps", "cosine"] = "constant"
    warmup_epochs: Natural = 0
    momentum: Annotated[Momentum | None, shown_default("0.9")] = None
    nesterov: bool = False
    weight_decay: Share = 0.0
    decay_all: bool = False
    label_smoothing: Share = 0.0
    ema_epochs: Duration = 0.0
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    crop_area: Share = 0.0
    record_every: Natural = 50
    tensorboard: Aside[bool] = False

    def checked(self) -> typing.Self:
        sgd = self.optimizer == "sgd"
        # Where the optimizer is not the recipe's, nor is its kind of momentum.
        inherited = PUBLISHED.get(self.recipe, {}).get("nesterov", False)
        refuse(
            {
                "argument --warmup-epochs: is for the schedule cosine": (
                    self.warmup_epochs > 0 and self.schedule != "cosine"
                ),
                f"argument --epochs: must be above the {self.warmup_epochs} of the "
                "warm-up (--warmup-epochs)": self.warmup_epochs >= self.epochs,
                "argument --momentum: is for the optimizer sgd, not for adam": bool(
                    self.momentum and not sgd
                ),
                "argument --nesterov: is for the optimizer sgd, not for adam": (
                    self.nesterov and not sgd and not inherited
                ),
            }
        )
        # Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 2.1.
        rate = 0.1 * self.batch_size / 256 if sgd else 0.001
        momentum = 0.9 if self.momentum is None else self.momentum
        settings = super().checked()
        return settings.replace(
            learning_rate=self.learning_rate or rate,
            momentum=momentum if sgd else 0.0,
            nesterov=self.nesterov and sgd,
        )


def compile_by_recipe(model: keras.Model, settings: Mapping[str, Any]) -> None:
    """Compiles a classifier, for one-hot labels, with top-1 and top-5 accuracy.

    Args:
        model: From images to logits.
        settings: Those of a `Recipe`, and "steps_per_epoch".
    """
    average: dict[str, Any] = {}
    if settings["ema_epochs"]:
        span = max(1.0, settings["ema_epochs"] * settings["steps_per_epoch"])
        average = {"use_ema": True, "ema_momentum": 1 - 1 / span}
    rate, decay = make_schedule(settings), settings["weight_decay"]
    optimizer: keras.optimizers.Optimizer
    if settings["optimizer"] == "adam":
        optimizer = keras.optimizers.Adam(rate, weight_decay=decay or None, **average)
    else:
        momentum = settings["momentum"]
        optimizer = keras.optimizers.SGD(
            rate,
            momentum=momentum,
            nesterov=settings["nesterov"],
            # Keras subtracts the decay beside the gradient step. PyTorch adds it to the
            # gradient, where momentum multiplies it by 1 / (1 - momentum).
            weight_decay=decay / (1 - momentum) or None,
            **average,
        )
    if decay and not settings["decay_all"]:
        optimizer.exclude_from_weight_decay(
            [weight for weight in model.trainable_variables if len(weight.shape) < 2]
        )
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings["label_smoothing"]
        ),
        # Samples that fill up the last batch for several devices have the weight 0.
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(
                min(5, model.output_shape[-1]), name="top5"
            ),
        ],
    )
    # With the scale of the loss that float16 needs around it, which is a state as well.
    model.optimizer.build(model.trainable_variables)


def make_schedule(settings: Mapping[str, Any]) -> Any:
    """The learning rate: a number, or a Keras schedule over the steps."""
    rate = settings["learning_rate"]
    steps = settings["epochs"] * settings["steps_per_epoch"]
    warmup = settings["warmup_epochs"] * settings["steps_per_epoch"]
    schedules = keras.optimizers.schedules
    if settings["schedule"] == "constant":
        return rate
    if settings["schedule"] == "steps":
        rates = [rate / 10**power for power in range(3)]
        return schedules.PiecewiseConstantDecay([steps // 3, 2 * steps // 3], rates)
    if not warmup:
        return schedules.CosineDecay(rate, steps)
    return schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=rate, warmup_steps=warmup
    )
