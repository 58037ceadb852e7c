"""Runs the three experiments one after the other, and writes one page about them.

Run it with `python examples/run_all.py --preset quick`; `--help` lists the rest.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

from keras_residual.experiments import (
    Natural,
    Run,
    StoppedError,
    parse_settings,
    run_main,
)
from keras_residual.experiments.run_folder import check_output_path

Experiment = Literal["sim4_residual", "sim5_transfer", "imagenet_cutout"]
EXPERIMENTS: dict[Experiment, str] = {
    "sim4_residual": "Simulation 4: what shortcuts are worth",
    "sim5_transfer": "Simulation 5: what transfer learning is worth",
    "imagenet_cutout": "ImageNet: shortcuts and Cutout",
}
DESCRIPTION = """\
Run simulation 4, simulation 5 and the ImageNet comparison one after the other, each in
a folder of its own below --out, and write one page with the verdicts of all three. One
that fails does not stop the others. The same command resumes an interrupted run.

examples:
  python examples/run_all.py --preset quick
"""


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """All three are run by the preset of the same name.

    Args:
        jobs: trainings at a time; 0 for what each experiment takes by itself
        only: which of the three
    """

    jobs: Natural = 0
    only: tuple[Experiment, ...] = tuple(EXPERIMENTS)

    def checked(self) -> "Settings":
        for name in self.only:  # the folder itself holds no run
            check_output_path(self.out / name)
        return self


PRESETS = {
    name: Settings(out=Path(f"runs/all-{name}")) for name in ("quick", "default")
}


def run_one(name: str, settings: Settings) -> bool:
    """Whether the experiment ended well; its output goes where this program's goes."""
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py"))]
    command += ["--preset", settings.preset, "--out", str(settings.out / name)]
    if settings.jobs:
        command += ["--jobs", str(settings.jobs)]
    if settings.scheduler:
        command += ["--scheduler", settings.scheduler]
    if settings.report_only:
        command.append("--report-only")
    print(f"== {name}", flush=True)
    status = subprocess.run(command, env=os.environ, check=False).returncode
    if status < 0:  # it could not say so itself
        print(f"{name}: killed by {signal.Signals(-status).name}", file=sys.stderr)
    return status == 0


def write_page(settings: Settings, failed: Sequence[str]) -> Path:
    """One page with the verdicts of all experiments that have some."""
    from keras_residual.analysis.report import Section, write_report
    from keras_residual.experiments.reporting import BANNER

    sections = []
    for name in settings.only:
        file = settings.out / name / "hypotheses.csv"
        if not file.is_file() or not file.stat().st_size > 1:
            sections.append(Section(EXPERIMENTS[name], "There is no answer yet."))
            continue
        rows = pd.read_csv(file).itertuples()
        claims = "\n".join(f"- {r.hypothesis}. {r.claim}: {r.answer}." for r in rows)
        picture = f"{name}/dashboard.png"
        there = (settings.out / picture).is_file()
        figures = [(picture, "The run at a glance.")] if there else []
        links = [(f"{name}/report.html", "The whole report")]
        section = Section(EXPERIMENTS[name], claims, figures, links=links)
        sections.append(section)
    summary = f"Done: {', '.join(settings.only)}."
    if failed:
        summary = (
            f"These failed, as their output says: {', '.join(failed)}. The same "
            "command continues where they stopped."
        )
    banner = BANNER if settings.preset == "quick" else ""
    return write_report(
        settings.out, "All experiments", summary, sections, banner=banner
    )


def main(arguments: Sequence[str] | None = None) -> None:
    settings = parse_settings(PRESETS, "run_all.py", DESCRIPTION, arguments)
    settings.out.mkdir(parents=True, exist_ok=True)
    failed = [name for name in settings.only if not run_one(name, settings)]
    page = write_page(settings, failed).with_suffix(".html")
    print(f"Page: {page}", flush=True)
    if failed:
        raise StoppedError(
            f"these experiments failed: {', '.join(failed)}; the same command "
            "continues where they stopped"
        )


if __name__ == "__main__":
    run_main(main, "run_all.py")
