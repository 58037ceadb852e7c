"""Text for figures and pages whose lines end in good places."""

import textwrap


def unbroken(text: str) -> str:
    """The text with no-break spaces, so that no line ends between 5 and %.

    `textwrap` and browsers break lines at spaces only.
    """
    return text.replace(" %", "\xa0%").replace(" = ", "\xa0=\xa0")


def wrapped(text: str, width: float) -> list[str]:
    """The lines of a text in a figure; names such as "fine-tuned" stay whole."""
    return textwrap.wrap(unbroken(text), max(24, int(width)), break_on_hyphens=False)
