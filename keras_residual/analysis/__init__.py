"""Statistics, figures and reports of experiments, and a look inside a network.

`plots`, `report` and `statistics` need the extra `analysis`:
`pip install "keras-residual[analysis]"`. The functions for a look inside do not.
"""

import importlib
from typing import TYPE_CHECKING, Any

from keras_residual.analysis.confusion_matrix import (
    confusion_matrix as confusion_matrix,
)
from keras_residual.analysis.feature_maps import feature_maps as feature_maps
from keras_residual.analysis.first_filters import first_filters as first_filters
from keras_residual.analysis.first_maps import first_maps as first_maps
from keras_residual.analysis.grad_cam import grad_cam as grad_cam
from keras_residual.analysis.input_gradients import InputGradients as InputGradients
from keras_residual.analysis.input_gradients import input_gradients as input_gradients
from keras_residual.analysis.loss_landscape import LossLandscape as LossLandscape
from keras_residual.analysis.loss_landscape import loss_landscape as loss_landscape
from keras_residual.analysis.most_wrong import most_wrong as most_wrong
from keras_residual.analysis.overlay import overlay as overlay

if TYPE_CHECKING:
    from keras_residual.analysis import plots as plots
    from keras_residual.analysis import report as report
    from keras_residual.analysis import statistics as statistics

__all__ = [
    "InputGradients",
    "LossLandscape",
    "confusion_matrix",
    "feature_maps",
    "first_filters",
    "first_maps",
    "grad_cam",
    "input_gradients",
    "loss_landscape",
    "most_wrong",
    "overlay",
    "plots",
    "report",
    "statistics",
]

_MODULES = ("plots", "report", "statistics")


def __getattr__(name: str) -> Any:
    """Imports the modules that need the extra when they are first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name in {"jinja2", "matplotlib", "pandas", "scipy"}:
            raise ModuleNotFoundError(
                f"keras_residual.analysis.{name} needs {error.name}, which comes with "
                'the extra `analysis`: pip install "keras-residual[analysis]"',
                name=error.name,
            ) from error
        raise
