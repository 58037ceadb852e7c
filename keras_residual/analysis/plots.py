"""Figures of experiments that compare networks over seeds.

Every function takes data and axes, draws, and returns the axes; `ax=None` makes a new
figure of 1200 x 750 pixels. Tables are tidy pandas frames of one condition. The column
`by` names the groups that a figure compares; `styles` gives them colours and markers,
so that a group looks the same in several figures. Nothing is shown or saved. The
subtitle of each figure explains its bands and bars. An interval that few seeds
make wider than all values is not drawn, and the subtitle says so.
"""

from keras_residual.analysis._axes import STYLES as STYLES
from keras_residual.analysis._calibration_plots import (
    reliability_diagram as reliability_diagram,
)
from keras_residual.analysis._class_plots import confusion_matrix as confusion_matrix
from keras_residual.analysis._class_plots import most_wrong as most_wrong
from keras_residual.analysis._comparison_plots import (
    accuracy_by_seed as accuracy_by_seed,
)
from keras_residual.analysis._comparison_plots import degradation as degradation
from keras_residual.analysis._comparison_plots import (
    paired_difference as paired_difference,
)
from keras_residual.analysis._cost_plots import accuracy_by_images as accuracy_by_images
from keras_residual.analysis._cost_plots import accuracy_by_time as accuracy_by_time
from keras_residual.analysis._cost_plots import (
    trainable_parameters as trainable_parameters,
)
from keras_residual.analysis._gradient_plots import (
    gradient_norm_by_depth as gradient_norm_by_depth,
)
from keras_residual.analysis._gradient_plots import (
    gradient_norm_heatmap as gradient_norm_heatmap,
)
from keras_residual.analysis._image_plots import feature_maps as feature_maps
from keras_residual.analysis._image_plots import photo_grid as photo_grid
from keras_residual.analysis._inside_plots import first_filters as first_filters
from keras_residual.analysis._inside_plots import grad_cam as grad_cam
from keras_residual.analysis._inside_plots import input_gradients as input_gradients
from keras_residual.analysis._landscape_plots import loss_landscape as loss_landscape
from keras_residual.analysis._landscape_plots import loss_surface as loss_surface
from keras_residual.analysis._learning_rate_plots import (
    learning_rate_range as learning_rate_range,
)
from keras_residual.analysis._robustness_plots import (
    accuracy_by_occlusion as accuracy_by_occlusion,
)
from keras_residual.analysis._robustness_plots import (
    generalization_gap as generalization_gap,
)
from keras_residual.analysis._training_plots import (
    epochs_to_threshold as epochs_to_threshold,
)
from keras_residual.analysis._training_plots import training_curves as training_curves

__all__ = [
    "STYLES",
    "training_curves",
    "accuracy_by_seed",
    "paired_difference",
    "gradient_norm_by_depth",
    "gradient_norm_heatmap",
    "epochs_to_threshold",
    "learning_rate_range",
    "degradation",
    "generalization_gap",
    "accuracy_by_occlusion",
    "reliability_diagram",
    "trainable_parameters",
    "accuracy_by_images",
    "accuracy_by_time",
    "photo_grid",
    "feature_maps",
    "first_filters",
    "grad_cam",
    "confusion_matrix",
    "most_wrong",
    "input_gradients",
    "loss_landscape",
    "loss_surface",
]
