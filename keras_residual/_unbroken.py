"""Text for figures and pages whose lines end in good places."""


def unbroken(text: str) -> str:
    """The text with no-break spaces, so that no line ends between 5 and %.

    `textwrap` and browsers break lines at spaces only.
    """
    return text.replace(" %", "\xa0%").replace(" = ", "\xa0=\xa0")
