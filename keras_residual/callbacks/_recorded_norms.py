"""Reading, exporting and saving what was recorded of a training."""

import os
from typing import TYPE_CHECKING

import numpy as np

from keras_residual.callbacks._noise_scale import noise_scale
from keras_residual.callbacks._output import Output
from keras_residual.callbacks._records import Rows, column_names, write_file
from keras_residual.layers._checks import check_file, check_positive_integer

if TYPE_CHECKING:
    import pandas


class RecordedNorms:
    """The half of `GradientNormCallback` that reads records."""

    _output: Output

    def _read(self) -> None:
        """Moves records from the memory of the train step to the output."""

    def _rows(self) -> Rows:
        self._read()
        return self._output.rows()

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self._output.names

    @property
    def steps(self) -> np.ndarray:
        """Step numbers of all records up to now."""
        return self._rows().steps

    @property
    def norms(self) -> np.ndarray:
        """Norms of all records up to now."""
        return self._rows().norms

    @property
    def update_ratios(self) -> np.ndarray | None:
        """Update-to-weight ratios of all records up to now."""
        return self._rows().more.get("update_ratios")

    @property
    def clipped_norms(self) -> np.ndarray | None:
        """Norms after clipping of all records up to now."""
        return self._rows().more.get("clipped_norms")

    @property
    def micro_batch_norms(self) -> np.ndarray | None:
        """Norms of the last accumulated batch alone of all records up to now."""
        return self._rows().more.get("micro_batch_norms")

    def noise_scale(self, batch_size: int, accumulation_steps: int) -> float:
        """Returns the gradient noise scale over all records, in examples.

        It is the variance of the gradients of single examples, summed over all
        weights, over the squared norm of their mean. Far below it a larger batch size
        helps most; far above it, little. It grows during training. Few records give a
        rough estimate.

        Args:
            batch_size: Positive integer. Examples in one of the accumulated batches.
            accumulation_steps: Integer of at least 2, the optimizer's
                `gradient_accumulation_steps`.

        Returns:
            The noise scale of the measured variables; infinity where the mean gradient
            cannot be told from noise.

        Raises:
            ValueError: If an argument is outside its range, or there are no records
                with `micro_batches`.

        Reference:
            McCandlish et al., "An Empirical Model of Large-Batch Training", 2018,
            appendix A.1. <https://arxiv.org/abs/1812.06162>
        """
        small_size = check_positive_integer("batch_size", batch_size)
        steps = check_positive_integer("accumulation_steps", accumulation_steps)
        rows = self._rows()
        micro = rows.more.get("micro_batch_norms")
        if micro is None or not len(micro) or steps == 1:
            raise ValueError(
                "`noise_scale` needs records of an optimizer that accumulates batches, "
                "made with micro_batches=True. "
                f"Received: {len(rows.steps)} records, accumulation_steps={steps}"
            )
        columns = [name != "global_norm" for name in self.names]
        return noise_scale(
            rows.norms[:, columns], micro[:, columns], steps * small_size, small_size
        )

    def to_frame(self) -> "pandas.DataFrame":
        """Returns a pandas table with one row for each step, which needs pandas.

        The columns are `names`; then, for each name, `clipped_norm/<name>` with
        `clipped`, `micro_batch_norm/<name>` with `micro_batches` and
        `update_ratio/<name>` with `ratios`.
        """
        import pandas

        rows = self._rows()
        return pandas.DataFrame(
            rows.values,
            index=pandas.Index(rows.steps, name="step"),
            columns=column_names(self.names, rows.more),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the record to a `.csv` or `.npz` file.

        Args:
            path: Path of the file. An existing file is replaced in one move.

        Raises:
            ValueError: If the path has another ending or its folder does not exist.
        """
        path = check_file("path", path, (".csv", ".npz"))
        write_file(path, self.names, self._rows())
