"""The report of an experiment: its figures, tables and words, and their order."""

import dataclasses
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_residual.analysis import plots
from keras_residual.analysis.report import Section, write_report
from keras_residual.analysis.statistics import mean_interval
from keras_residual.experiments.figures import Draw, panel, save_figure
from keras_residual.experiments.hypotheses import (
    Claim,
    about_groups,
    needed_seeds,
)
from keras_residual.experiments.run_folder import RunFolder

BANNER = (
    "A demonstration: this quick run is too short and too small to conclude anything "
    "from. Leave --preset quick out for the experiment."
)
# Of the claims that simulations 4 and 5 hold against what they measured.
COURSE_PROJECT_NOTE = (
    'The claims are those of a course project, "ResNet and Big Data in Computer '
    'Vision". Its figures are illustrations and not measurements; they stand for what '
    "is widely said. Numbers of other data cannot be met, directions can."
)


@dataclass(frozen=True)
class Story:
    """What a report says, in the order in which a reader wants to know it.

    Args:
        title: Title of the report.
        question: What was asked, in a sentence or two.
        tested: One row of `compare_hypotheses` for each hypothesis.
        panels: Two to four draw functions, which make up the picture on top.
        others: Claims of others beside what was measured here: rows of claim, who
            claims it, what was measured, verdict.
        others_note: What a reader must know about those who claim it.
        limits: What the run does not show.
        method: How it was done.
        facts: What stands above the settings.
    """

    title: str
    question: str
    tested: pd.DataFrame
    panels: Sequence[Draw]
    others: Sequence[tuple[str, str, str, str]]
    others_note: str
    limits: str
    method: str
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write_story(
    folder: RunFolder,
    story: Story,
    sections: Sequence[Section],
    *,
    incomplete: str = "",
    quick: bool = False,
) -> Path:
    """Write the report of an experiment: the answer first, how it was done last.

    Args:
        folder: The run folder.
        story: What is said.
        sections: Figures and tables of the experiment, which stand in the middle.
        incomplete: What is missing or diverged, as `Trainings` says it.
        quick: Whether the run is a demonstration.

    Returns:
        Path of report.md.
    """
    title = f"{story.title} (a\xa0demonstration)" if quick else story.title
    picture = save_figure(folder.path, "dashboard.png", *story.panels, title=title)
    others = pd.DataFrame(
        story.others, columns=["claim", "who claims it", "measured here", "verdict"]
    )
    before, after = [], []
    if len(others):
        table = (others, "What others claim, and what this run measured.")
        before = [Section("What others claim", story.others_note, tables=[table])]
    if len(story.tested):
        words = [
            f"- {row.hypothesis}. {row.words}" for row in story.tested.itertuples()
        ]
        tests = _tests((story.tested["n"] > 0).sum())
        after = [Section("The tests in full", "\n".join([tests, "", *words]))]
    settings = (_facts(folder, story.facts), "Settings, versions and hardware.")
    return write_report(
        folder.path,
        story.title,
        incomplete + story.question,
        [
            *before,
            *sections,
            *after,
            Section("What this does not show", story.limits),
            Section("How it was done", story.method, tables=[settings]),
        ],
        banner=BANNER if quick else "",
        answers=answers(story.tested),
        figure=(picture, "The run at a glance (dashboard.png)."),
    )


def of_course_project(
    rows: Sequence[tuple[str, str, str]],
) -> list[tuple[str, str, str, str]]:
    """Rows of claim, measured and verdict, as `Story.others` takes them."""
    who = "course project (illustration)"
    return [(claim, who, measured, ruled) for claim, measured, ruled in rows]


def answers(tested: pd.DataFrame) -> list[tuple[str, str]]:
    """Claim and answer of each hypothesis."""
    return [
        (f"{row.hypothesis}. {row.claim}", row.answer) for row in tested.itertuples()
    ]


def verdicts(tested: pd.DataFrame, *names: str) -> str:
    """The verdicts of the named hypotheses in words; "" where none is there."""
    words = {
        row["hypothesis"]: row["verdict"] if row["n"] else "no verdict"
        for row in tested.to_dict("records")
    }
    return "; ".join(f"{words[name]} ({name})" for name in names if name in words)


def claim_panels(
    claims: Sequence[Claim],
    tested: pd.DataFrame,
    frame: pd.DataFrame,
    by: str,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Draw]:
    """The differences that claims are about, by seed, with their findings as titles.

    Args:
        claims: The claims; those about a group that is not there have no panel.
        tested: Rows of `compare_claims`.
        frame: What was tested.
        by: Column that names the groups.
        labels: What to call the measures in the figures.
    """
    rows = {row["hypothesis"]: row for row in tested.to_dict("records")}
    return {
        claim.name: panel(
            *(plots.paired_difference, frame, claim.measure),
            treatment=claim.larger,
            control=claim.smaller,
            by=by,
            label=(labels or {}).get(claim.measure),
            finding=rows[claim.name]["finding"],
            p_value=rows[claim.name].get("p_holm"),
        )
        for claim in about_groups(claims, frame[by])
    }


def _tests(number: int) -> str:
    words = (
        "The hypotheses were stated before the runs. Each is tested by the sign-flip "
        "test (exact up to 20 seeds; beyond, from 99,999 sampled sign patterns), "
        "paired by seed, two-sided at level 0.05; the p-values are corrected together "
        "(Holm)."
    )
    if number:
        words += (
            f" A verdict needs {needed_seeds(number)} seeds: with fewer, no difference "
            "can be significant after the correction."
        )
    return words


def _facts(folder: RunFolder, facts: Mapping[str, str]) -> pd.DataFrame:
    """The facts, then settings, versions, hardware and start of the run."""
    config = json.loads((folder.path / "config.json").read_text("utf-8"))
    settings = {
        name.replace("_", " "): textwrap.shorten(_in_words(value), 200)
        for name, value in folder.settings.items()
        if value is not None
    }
    facts = {
        **facts,
        **{name: settings[name] for name in settings if name not in facts},
        **config["versions"],
        **config["hardware"],
        "started": config["started"],
    }
    return pd.DataFrame({"what": facts.keys(), "value": map(str, facts.values())})


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def in_percent(shares: pd.Series) -> str:
    """Mean and 95 % t interval of the finite ones, in words."""
    finite = shares[np.isfinite(shares.astype(float))]
    if not len(finite):
        return "n/a"
    mean, low, high = (f"{100 * end:z.1f}" for end in mean_interval(finite))
    return mean if len(finite) == 1 else f"{mean} ({low} to {high})"


def count(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
