"""The training recipes of the ImageNet comparison, with their sources."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from keras_residual.experiments import RefusedError


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; every value can be given on the command line.

    Args:
        optimizer: "adam" or "sgd" (Nesterov momentum where the recipe has it).
        learning_rate: Peak of the rate, for `batch_size` images in a step.
        batch_size: Images in a step, over all devices and hosts.
        epochs: Passes over the training images.
        schedule: "constant", "steps" (a tenth after each third of the epochs) or
            "cosine" (down to 0).
        warmup_epochs: Epochs in which the rate grows from 0; for "cosine".
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: For SGD as in PyTorch, where it is part of the gradient; for
            Adam decoupled from the gradient (AdamW).
        decay_all: Whether batch normalization and biases decay as well.
        label_smoothing: Share of the target that is spread over all classes.
        ema_epochs: Time constant of the average of the weights that is evaluated and
            kept, in epochs; 0 for none.
        precision: Keras's dtype policy.
        crop_area: Smallest share of a picture that a training crop shows; 0 for the
            centre crop and no flip, as in validation.
    """

    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    schedule: str = "constant"
    warmup_epochs: int = 0
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    decay_all: bool = False
    label_smoothing: float = 0.0
    ema_epochs: float = 0.0
    precision: str = "float32"
    crop_area: float = 0.08


RECIPES = {
    # The author's options. Everything else is Keras's default, without augmentation.
    "source": Recipe("adam", 0.001, 32, 20, crop_area=0.0),
    # He et al. 2015, section 3.4, with the steps, the epochs and the crops that give
    # torchvision's weights 69.758 % (pytorch/vision, references/classification).
    "he2015": Recipe(
        "sgd",
        0.1,
        256,
        90,
        schedule="steps",
        momentum=0.9,
        weight_decay=1e-4,
        decay_all=True,
    ),
    # He, T. et al. 2019, "Bag of Tricks for Image Classification with Convolutional
    # Neural Networks", sections 3.1, 3.2 and 5; the average of weights is torchvision's
    # newer recipe's.
    "modern": Recipe(
        "sgd",
        0.4,
        1024,
        120,
        schedule="cosine",
        warmup_epochs=5,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-4,
        label_smoothing=0.1,
        ema_epochs=2.0,
        precision="mixed_bfloat16",
    ),
}


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """Returns the recipe that the settings of a run hold."""
    fields = dataclasses.fields(Recipe)
    return Recipe(**{field.name: settings[field.name] for field in fields})


def complete(name: str, given: dict[str, object]) -> Recipe:
    """Returns a recipe with the given values in place of its own.

    With SGD the default rate grows in proportion to the batch size (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD", section 2.1). With another optimizer the recipe
    takes the rate and the momentum of a recipe that uses this optimizer.

    Raises:
        RefusedError: If momentum is given for Adam, which has no such argument.
    """
    base = RECIPES[name]
    optimizer = given.get("optimizer", base.optimizer)
    if optimizer == "adam":
        for option in ("momentum", "nesterov"):
            if given.get(option):
                raise RefusedError(
                    f"argument --{option}: is for the optimizer sgd, not for adam"
                )
    if optimizer != base.optimizer:
        other = RECIPES["he2015" if optimizer == "sgd" else "source"]
        base = dataclasses.replace(
            base,
            optimizer=other.optimizer,
            learning_rate=other.learning_rate,
            momentum=other.momentum,
            nesterov=False,
        )
        base_batch = other.batch_size
    else:
        base_batch = base.batch_size
    recipe = dataclasses.replace(base, **given)  # type: ignore[arg-type]
    if recipe.optimizer == "sgd" and "learning_rate" not in given:
        rate = base.learning_rate * recipe.batch_size / base_batch
        recipe = dataclasses.replace(recipe, learning_rate=rate)
    return recipe
