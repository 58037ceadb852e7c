"""Learning rates that fall from the head of a model to its first block."""

import functools

import keras

from keras_residual._innermost import innermost
from keras_residual._leaves import leaves
from keras_residual.models.transfer import _blocks as parts

# The two steps of an optimizer that move weights by the learning rate. The later steps
# of `apply`, such as moving averages and constraints, see the final weights. No public
# method runs in between.
_STEPS = ("_apply_weight_decay", "_backend_update_step")

# Since Keras 3.15.
_SCHEDULE_FREE = getattr(keras.optimizers, "ScheduleFreeAdamW", ())
_SEVERAL = getattr(keras.optimizers, "MultiOptimizer", ())


def block_multipliers(model, decay: float) -> list[tuple[parts.Section, float]]:
    """The blocks of a TransferModel, the head last, each with its share of the rate."""
    blocks = parts.blocks(model.backbone)
    multipliers = [decay ** (len(blocks) - index) for index in range(len(blocks))]
    head = parts.Section("head", "head", leaves(model.head))
    return [*zip(blocks, multipliers, strict=True), (head, 1.0)]


def slow_down(model, decay: float) -> None:
    """Makes the model's optimizer move each variable by its share of the update.

    Its own steps are wrapped, so the optimizer stays the same object, with the same
    class, settings and file.
    """
    multiplier_of = {
        id(variable): multiplier
        for block, multiplier in block_multipliers(model, decay)
        for layer in block.layers
        for variable in layer.trainable_variables
    }
    slower = [
        (variable, multiplier_of[id(variable)])
        for variable in model.trainable_variables
        if multiplier_of.get(id(variable), 1.0) != 1.0
    ]
    for optimizer in _inner_optimizers(model, build=bool(slower)):
        # Set past `__setattr__`, with which Keras would track the functions.
        attributes = vars(optimizer)
        for name in (*_STEPS, "update_step"):
            attributes.pop(name, None)
        if not slower:
            continue
        for name in _STEPS:
            attributes[name] = _in_part(getattr(optimizer, name), slower)
        if isinstance(optimizer, _SCHEDULE_FREE):
            # It computes its averages from the weights, so the weights must be where it
            # put them. Only its rate can be lower.
            del attributes["_backend_update_step"]
            attributes["update_step"] = _at_lower_rate(optimizer, slower)


def _in_part(step, slower):
    """A step that moves slower variables by their share of the update only.

    Smaller gradients would not do: Adam's update is the same for a hundredth of them.
    """

    @functools.wraps(step)
    def run(*arguments):
        before = [keras.ops.copy(variable.value) for variable, _ in slower]
        step(*arguments)
        for (variable, multiplier), old in zip(slower, before, strict=True):
            variable.assign(old + multiplier * (variable.value - old))

    return run


def _at_lower_rate(optimizer, slower):
    # TensorFlow hands its own variables to `update_step`.
    multipliers = {optimizer._var_key(variable): m for variable, m in slower}
    update_step = optimizer.update_step

    def run(gradient, variable, learning_rate):
        multiplier = multipliers.get(optimizer._var_key(variable), 1.0)
        update_step(gradient, variable, learning_rate * multiplier)

    return run


def _inner_optimizers(model, build):
    optimizer = innermost(model.optimizer)
    if isinstance(optimizer, _SEVERAL):
        if build and not optimizer.built:
            # Only then does it know all of its optimizers.
            optimizer.build(model.trainable_variables)
        return optimizer.optimizers
    return [] if optimizer is None else [optimizer]
