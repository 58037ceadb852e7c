"""What the command lines of the experiments share: help, numbers, one-line errors."""

import argparse
import contextlib
import math
from typing import Any, NoReturn, TypeVar

Number = TypeVar("Number", int, float)


class _Formatter(
    argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter
):
    pass


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help names the defaults."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(formatter_class=_Formatter, **keywords)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    return _checked(value, value >= 1, text, "a whole number above 0")


def natural(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    return _checked(value, value >= 0, text, "a whole number, 0 or above")


def duration(text: str) -> float:
    value = _float(text)
    return _checked(value, 0 <= value < math.inf, text, "a number, 0 or above")


def share(text: str) -> float:
    value = _float(text)
    return _checked(value, 0 <= value <= 1, text, "from 0 to 1")


def rate(text: str) -> float:
    value = _float(text)
    return _checked(value, 0 < value < math.inf, text, "a number above 0")


def _float(text: str) -> float:
    with contextlib.suppress(ValueError):
        return float(text)
    return math.nan


def _checked(value: Number, allowed: bool, text: str, expected: str) -> Number:
    if not allowed:
        raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}")
    return value
