"""Copies the values of variables from one layer to another."""

import keras


def copy_variables(target, layer):
    """Sets the variables of a layer to those of one of the same structure."""
    # `variables` and not `weights`: a seed's state is one too.
    for variable, value in zip(target.variables, layer.variables, strict=True):
        copy_variable(variable, value)


def copy_variable(variable, value):
    # Through NumPy: on JAX both variables would share an array, and a compiled step of
    # one model would delete it for the other.
    variable.assign(keras.ops.convert_to_numpy(value))
