"""Errors of others in one line of our own messages."""


def first_line(error: BaseException) -> str:
    """What an error says, without what follows in further lines."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
