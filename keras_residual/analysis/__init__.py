"""Statistics, figures and reports for experiments that are paired by seed.

Needs the extra `analysis`: `pip install "keras-residual[analysis]"`.
"""

try:
    from keras_residual.analysis import plots as plots
    from keras_residual.analysis import report as report
    from keras_residual.analysis import statistics as statistics
except ModuleNotFoundError as error:
    if error.name in {"jinja2", "matplotlib", "pandas", "scipy"}:
        raise ModuleNotFoundError(
            f"keras_residual.analysis needs {error.name}, which comes with the extra "
            '`analysis`: pip install "keras-residual[analysis]"',
            name=error.name,
        ) from error
    raise

__all__ = ["plots", "report", "statistics"]
