"""The settings of an experiment: one dataclass, and the command line that follows."""

import argparse
import contextlib
import dataclasses
import io
import math
import re
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import tyro

from keras_residual._cores import cores
from keras_residual.experiments.run_folder import check_output_path
from keras_residual.experiments.tasks import RefusedError


@dataclass(frozen=True)
class Bounds:
    """What a number of the settings may be; `words` say so in a message."""

    low: float
    high: float
    words: str
    open: bool = False

    def allow(self, value: float) -> bool:
        """Whether the value is one of them."""
        above = value > self.low if self.open else value >= self.low
        return above and value <= self.high and math.isfinite(value)


Positive = Annotated[int, Bounds(1, math.inf, "a whole number above 0")]
Natural = Annotated[int, Bounds(0, math.inf, "a whole number, 0 or above")]
Share = Annotated[float, Bounds(0, 1, "from 0 to 1")]
Rate = Annotated[float, Bounds(0, math.inf, "a number above 0", open=True)]


class _Folder:
    words = "an existing folder"

    def allow(self, value: Path) -> bool:
        return value.is_dir()


Folder = Annotated[Path, _Folder()]
Value = TypeVar("Value")
_ASIDE = "aside"
# A setting that is not compared when a run goes on, such as where the data lie.
Aside = Annotated[Value, _ASIDE]


def shown_default(words: str) -> Any:
    """An annotation: what `--help` shows as the default in place of None or nothing."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {words})")


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run is done, without what changes its numbers. Subclass it for settings.

    Every field becomes an option of the command line, with its line in `Args` as help
    and its value in the preset as default. Types such as `Positive` and `Share` bound
    numbers.

    Args:
        preset: size of the run
        out: run folder
        jobs: trainings at a time, one thread each; no result depends on it
        scheduler: address of a Dask scheduler whose workers train, such as
            tls://host:8786, in place of this machine
        report_only: train nothing; write the report of what is there, also of an
            unfinished run

    Example:
        ```python
        from dataclasses import dataclass
        from keras_residual.experiments import Positive, Run, parse_settings

        @dataclass(frozen=True, kw_only=True)
        class Settings(Run):
            epochs: Positive = 10  # epochs of each training

        presets = {"default": Settings(), "quick": Settings(epochs=2)}
        settings = parse_settings(presets, "mine.py", "Train.", ["--preset", "quick"])
        print(settings.epochs, settings.identity())  # 2 {'epochs': 2}
        ```
    """

    preset: str = "default"
    out: Path = Path("runs/default")
    jobs: Positive = dataclasses.field(default_factory=lambda: min(cores(), 8))
    scheduler: str | None = None
    report_only: bool = False

    def checked(self) -> typing.Self:
        """The settings with what follows from others filled in; to be extended.

        Raises:
            RefusedError: For values that do not go together, or a folder that holds
                something else than a run.
        """
        check_output_path(self.out)
        return self

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on: the fields of the subclass but for `Aside`."""
        how = {field.name for field in dataclasses.fields(Run)}
        hints = typing.get_type_hints(type(self), include_extras=True)
        return {
            name: getattr(self, name)
            for name, hint in hints.items()
            if name not in how and _ASIDE not in getattr(hint, "__metadata__", ())
        }

    def replace(self, **values: Any) -> typing.Self:
        """The same settings with other values."""
        return dataclasses.replace(self, **values)


AnyRun = TypeVar("AnyRun", bound=Run)


def parse_settings(
    presets: Mapping[str, AnyRun],
    program: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> AnyRun:
    """Settings from a command line; a preset only sets the defaults of its options.

    Args:
        presets: Settings by the name of the preset; one is called "default".
        program: Name of the program, such as "mine.py".
        description: What `--help` says above the options.
        arguments: The command line; `sys.argv[1:]` by default.

    Returns:
        The settings, checked.

    Raises:
        RefusedError: In one line, if an option or its value is not allowed.
        SystemExit: After `--help`.

    Example:
        ```python
        from keras_residual.experiments import Run, parse_settings

        presets = {"default": Run()}
        settings = parse_settings(presets, "mine.py", "Train.", ["--jobs", "2"])
        print(settings.jobs)  # 2
        ```
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = choice("--preset", list(presets), "default", given)
    default = presets[name].replace(preset=name)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            settings = tyro.cli(
                type(default),
                prog=program,
                description=f"{description}\nPresets: {', '.join(presets)}.",
                args=given,
                default=default,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise RefusedError(_one_line(said.getvalue())) from end
    check_bounds(settings)
    return settings.checked()


def choice(
    option: str, choices: Sequence[str], default: str, arguments: Sequence[str] | None
) -> str:
    """The value of an option that the defaults of the others depend on."""
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(option, choices=choices, default=default, dest="value")
    return str(parser.parse_known_args(arguments)[0].value)


def check_bounds(settings: Any) -> None:
    """Refuses values of a dataclass that its annotations do not allow."""
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for name, hint in hints.items():
        value = getattr(settings, name)
        values = value if isinstance(value, (tuple, list)) else [value]
        for bounds in _bounds(hint):
            for one in values:
                if one is not None and not bounds.allow(one):
                    option = name.replace("_", "-")
                    shown = str(one) if isinstance(one, Path) else repr(one)
                    raise RefusedError(
                        f"argument --{option}: must be {bounds.words}, not {shown}"
                    )


def refuse(reasons: Mapping[str, bool]) -> None:
    """Refuses a run for the first of the reasons that holds."""
    for reason, holds in reasons.items():
        if holds:
            raise RefusedError(reason)


def _bounds(hint: Any) -> list[Bounds | _Folder]:
    own = [
        extra
        for extra in getattr(hint, "__metadata__", ())
        if isinstance(extra, (Bounds, _Folder))
    ]
    return own + [one for part in typing.get_args(hint) for one in _bounds(part)]


def _one_line(box: str) -> str:
    """What an error in a frame says."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    # The first line is the title, and a rule parts the message from advice.
    message = re.split(r"\n\W*─{4}", text.strip().partition("\n")[2])[0]
    return " ".join(message.replace("│", " ").split())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RefusedError(message)
