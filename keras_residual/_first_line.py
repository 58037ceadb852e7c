"""Errors of other libraries, in one line for our own messages."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if there is none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
