"""Compiles a model again after a change of what trains, with the same settings."""

import keras

from keras_residual._innermost import innermost


def recompile(model, arguments: dict, old) -> None:
    """Compiles with the given arguments and a copy of the optimizer `old`.

    An optimizer is bound to the variables that it was built for. The copy has the
    settings, the step count and the state of every variable that both train.
    """
    new = type(old).from_config(old.get_config())
    _copy_exclusions(innermost(old), innermost(new))
    model.compile(**{**arguments, "optimizer": new})
    # `compile` may have wrapped it for the scaling of the loss.
    new = model.optimizer
    _check_exclusions(innermost(old), innermost(new), model.trainable_variables)
    if not old.built:
        return
    new.build(model.trainable_variables)
    state = _by_path(old)
    for path, variable in _by_path(new).items():
        if path in state and state[path].shape == variable.shape:
            variable.assign(keras.ops.copy(state[path].value))


def _copy_exclusions(old, new):
    """Copies the result of `exclude_from_weight_decay`, which no config holds."""
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if name in vars(old):
            setattr(new, name, getattr(old, name))


def _check_exclusions(old, new, variables):
    for variable in variables:
        if old._use_weight_decay(variable) != new._use_weight_decay(variable):
            raise RuntimeError(
                "Under this version of Keras the new optimizer does not know which "
                f"variables have no weight decay, such as {variable.path}. Call "
                "`compile` after changing what trains."
            )


def _by_path(optimizer):
    found: dict = {}
    for variable in optimizer.variables:
        found[variable.path] = None if variable.path in found else variable
    # Variables that share a path cannot be matched: their state is new.
    return {path: variable for path, variable in found.items() if variable is not None}
