"""A small engine for paired comparisons: trainings over seeds, resumed and reported.

A run is settings, tasks and a folder. Each task is one training with one seed; workers
compute those that the folder lacks, and a report is made of what is there.
"""

from keras_residual.experiments.checkpoints import Checkpoints as Checkpoints
from keras_residual.experiments.hypotheses import Hypothesis as Hypothesis
from keras_residual.experiments.hypotheses import (
    compare_hypotheses as compare_hypotheses,
)
from keras_residual.experiments.pretraining import (
    pretrain_backbone as pretrain_backbone,
)
from keras_residual.experiments.run import run_experiment as run_experiment
from keras_residual.experiments.run import run_main as run_main
from keras_residual.experiments.run import run_tasks as run_tasks
from keras_residual.experiments.run_folder import RunFolder as RunFolder
from keras_residual.experiments.settings import Aside as Aside
from keras_residual.experiments.settings import Natural as Natural
from keras_residual.experiments.settings import Positive as Positive
from keras_residual.experiments.settings import Rate as Rate
from keras_residual.experiments.settings import Run as Run
from keras_residual.experiments.settings import Share as Share
from keras_residual.experiments.settings import parse_settings as parse_settings
from keras_residual.experiments.tasks import RefusedError as RefusedError
from keras_residual.experiments.tasks import StoppedError as StoppedError
from keras_residual.experiments.tasks import Task as Task
from keras_residual.experiments.worker import say as say

__all__ = [
    "Aside",
    "Checkpoints",
    "compare_hypotheses",
    "Hypothesis",
    "Natural",
    "parse_settings",
    "pretrain_backbone",
    "Positive",
    "Rate",
    "RefusedError",
    "Run",
    "run_experiment",
    "run_main",
    "run_tasks",
    "RunFolder",
    "say",
    "Share",
    "StoppedError",
    "Task",
]
