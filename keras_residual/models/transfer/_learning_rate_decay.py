"""Learning rates that fall from the head of a model to its first block."""

import functools

import keras

from keras_residual._innermost import innermost
from keras_residual._leaves import leaves
from keras_residual.models.transfer import _blocks as parts

# The two steps of an optimizer that move weights by the learning rate. What follows
# them within `apply`, such as moving averages and constraints, sees the final weights;
# no public method lies between the two.
_STEPS = ("_apply_weight_decay", "_backend_update_step")

# Older than Keras 3.15 has neither.
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

    The optimizer stays the object that it is: its own steps are wrapped, so that its
    class, its settings and its file say what they said before.
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
        # Written past `__setattr__`, which would track the functions.
        attributes = vars(optimizer)
        for name in (*_STEPS, "update_step"):
            attributes.pop(name, None)
        if not slower:
            continue
        for name in _STEPS:
            attributes[name] = _in_part(getattr(optimizer, name), slower)
        if isinstance(optimizer, _SCHEDULE_FREE):
            # It recovers its averages from the weights, which must therefore be where
            # it put them: its rate is what can be lower.
            del attributes["_backend_update_step"]
            attributes["update_step"] = _at_lower_rate(optimizer, slower)


def _in_part(step, slower):
    """A step of which some variables take only their part.

    The learning rate of every optimizer scales what it adds to a variable, and
    gradients do not: Adam's update is the same for a hundredth of them.
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
