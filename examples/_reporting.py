"""What the reports of the experiments share: reading units, figures, facts."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # Figures go to files, also where there is no display.

import matplotlib.pyplot as plt
import pandas as pd
from _experiment import RunFolder
from matplotlib.axes import Axes

# Draws on the axes that it is given as `ax`.
Draw = Callable[..., Axes]


def read_results(units: Sequence[Path]) -> pd.DataFrame:
    """One row for each training."""
    return pd.DataFrame(
        [json.loads((unit / "result.json").read_text("utf-8")) for unit in units]
    )


def read_with_keys(
    units: Sequence[Path],
    keys: Sequence[Mapping[str, Any]],
    read: Callable[[Path], pd.DataFrame],
) -> pd.DataFrame:
    """The frames of all units under each other, with the keys as first columns."""
    frames = []
    for unit, key in zip(units, keys, strict=True):
        frame = read(unit)
        for position, (name, value) in enumerate(key.items()):
            frame.insert(position, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def save_figure(folder: Path, name: str, *draw: Draw, size=(7.0, 5.0)) -> str:
    """Draws axes beside each other; returns the file's path in the run folder."""
    width, height = size
    figure, axes = plt.subplots(
        1,
        len(draw),
        figsize=(width * len(draw), height),
        dpi=110,
        layout="constrained",
        squeeze=False,
    )
    for function, ax in zip(draw, axes[0], strict=True):
        function(ax=ax)
    (folder / "figures").mkdir(exist_ok=True)
    figure.savefig(folder / "figures" / name)
    plt.close(figure)
    return f"figures/{name}"


def facts_table(folder: RunFolder, facts: Mapping[str, str]) -> pd.DataFrame:
    """The facts, then versions, hardware and start of the run."""
    config = json.loads((folder.path / "config.json").read_text("utf-8"))
    facts = {
        **facts,
        **{name: str(value) for name, value in config["versions"].items()},
        **{name: str(value) for name, value in config["hardware"].items()},
        "started": config["started"],
    }
    return pd.DataFrame({"what": facts.keys(), "value": facts.values()})


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
