"""Paired comparison of two networks over seeds: tests, intervals and a verdict.

A seed is the unit of evidence: it fixes data, split, order and initial weights, so the
two networks are compared seed by seed. SciPy computes the tests. This module adds the
answer if seeds are too few or all differences are equal.
"""

from keras_residual.analysis._calibration import (
    expected_calibration_error as expected_calibration_error,
)
from keras_residual.analysis._intervals import bootstrap_interval as bootstrap_interval
from keras_residual.analysis._intervals import mean_interval as mean_interval
from keras_residual.analysis._paired import PairedComparison as PairedComparison
from keras_residual.analysis._paired import compare_paired as compare_paired
from keras_residual.analysis._paired import sign_flip_test as sign_flip_test
from keras_residual.analysis._verdicts import describe as describe
from keras_residual.analysis._verdicts import holm as holm
from keras_residual.analysis._verdicts import verdict as verdict

__all__ = [
    "PairedComparison",
    "compare_paired",
    "verdict",
    "describe",
    "holm",
    "mean_interval",
    "bootstrap_interval",
    "sign_flip_test",
    "expected_calibration_error",
]
