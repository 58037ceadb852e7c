"""Settings and their command line: presets, bounds, messages of one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from keras_residual.experiments import (
    Aside,
    Positive,
    Rate,
    RefusedError,
    Run,
    Share,
    parse_settings,
)
from keras_residual.experiments.settings import shown_default

pytestmark = pytest.mark.once


@dataclass(frozen=True, kw_only=True)
class Settings(Run):
    """Those of a small experiment.

    Args:
        blocks: blocks of each net
        share: of the images
        rate: of the optimizer
        norm: where to normalize
        data_dir: where the data are
    """

    blocks: tuple[Positive, ...] = (10,)
    share: Annotated[Share | None, shown_default("all of them")] = None
    rate: Rate = 0.001
    norm: Literal["on", "off"] = "on"
    data_dir: Aside[Path | None] = None

    def checked(self):
        if self.share == 0.5:
            raise RefusedError("half is not allowed")
        super().checked()
        return self.replace(blocks=tuple(sorted(self.blocks)))


PRESETS = {
    "default": Settings(out=Path("runs/default")),
    "quick": Settings(out=Path("runs/quick"), blocks=(4,)),
}


def parse(tmp_path, *arguments):
    return parse_settings(
        PRESETS, "small.py", "What it is.", [*arguments, "--out", str(tmp_path / "run")]
    )


def test_a_preset_sets_the_defaults_only(tmp_path):
    assert parse(tmp_path).blocks == (10,)
    quick = parse(tmp_path, "--preset", "quick")
    assert (quick.preset, quick.blocks, quick.out) == ("quick", (4,), tmp_path / "run")
    assert parse(tmp_path, "--preset=quick", "--blocks", "7", "3").blocks == (3, 7)
    assert parse(tmp_path, "--report-only").report_only


def test_identity_is_what_the_numbers_depend_on(tmp_path):
    given = parse(tmp_path, "--jobs", "7", "--data-dir", "/data", "--rate", "0.1")

    assert given.identity() == {
        "blocks": (10,),
        "share": None,
        "rate": 0.1,
        "norm": "on",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--blocks 0", "--blocks: must be a whole number above 0, not 0"),
        ("--blocks 2 x", "--blocks: Could not find valid parse .*'x'"),
        ("--jobs 0", "--jobs: must be a whole number above 0, not 0"),
        ("--share 1.5", "--share: must be from 0 to 1, not 1.5"),
        ("--share 0.5", "^half is not allowed$"),
        ("--rate nan", "--rate: must be a number above 0, not nan"),
        ("--rate 0", "--rate: must be a number above 0, not 0.0"),
        ("--norm maybe", "invalid choice 'maybe' for argument '--norm'"),
        ("--preset slow", "--preset: invalid choice: 'slow'"),
        ("--blogs 3", "--blogs"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, arguments, message):
    with pytest.raises(RefusedError, match=message) as refused:
        parse(tmp_path, *arguments.split())

    assert len(str(refused.value).splitlines()) == 1
    assert not set(str(refused.value)) & set("│─╭")


def test_help_names_options_defaults_and_the_preset(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        parse(tmp_path, "--preset", "quick", "--help")

    assert not end.value.code
    text = capsys.readouterr().out
    for words in ("What it is.", "blocks of each net (default: 4)", "--report-only"):
        assert words in text
    (share,) = [line for line in text.splitlines() if "of the images" in line]
    assert "of the images (default: all of them)" in share
    assert "(default: None)" not in share
