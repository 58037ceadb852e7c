"""Tables of a report: means over the seeds by group, and the accuracy that is left."""

from collections.abc import Mapping

import pandas as pd

from keras_residual.experiments.reporting import in_percent


def by_group(
    results: pd.DataFrame,
    by: str | list[str],
    outcome: str,
    shares: Mapping[str, str],
    *numbers: str,
) -> pd.DataFrame:
    """One row for each group: shares with intervals, and means of other numbers.

    Args:
        results: Columns `by` and those that are named; one row for each training.
        by: Column, or columns, that name the groups.
        outcome: Column that a training which diverged does not have.
        shares: Columns of shares by their headings.
        *numbers: Columns of other numbers.

    Example:
        ```python
        import pandas as pd
        from keras_residual.experiments.tables import by_group

        results = pd.DataFrame({"net": ["plain", "residual"], "accuracy": [0.7, 0.8]})
        table = by_group(results, "net", "accuracy", {"accuracy (%)": "accuracy"})
        print(table["accuracy (%)"].tolist())  # ['70.0', '80.0']
        ```
    """
    groups = results.groupby(by, sort=False)
    table = groups[[outcome]].count().rename(columns={outcome: "seeds"})
    table["diverged"] = groups.size() - table["seeds"]
    for heading, share in shares.items():
        table[heading] = groups[share].agg(in_percent)
    for number in numbers:
        table[number.replace("_", " ")] = groups[number].mean()
    return table.reset_index()


def under_occlusion(occlusion: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean accuracy of each group by patch size, and what of it was lost.

    Args:
        occlusion: Columns `by`, seed and those of `measuring.accuracy_under_occlusion`;
            what is lost is only known with rows of the size 0.
        by: Column that names the groups.
    """
    means = 100 * occlusion.pivot_table(
        index=["size", "erased_share"], columns=by, values="top1"
    )
    means = means[occlusion[by].unique()]
    table = means.rename(columns="{} (%)".format)
    if means.index[0][0] == 0:
        lost = (means.iloc[0] - means).iloc[1:]
        table = table.join(lost.rename(columns="{}, lost".format))
    return table.reset_index().rename(
        columns={"size": "patch / image side", "erased_share": "erased share"}
    )
