"""Python code in Markdown, as the documentation and the docstrings have it."""

import re
import textwrap

_FENCE = re.compile(
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S
)


def python_blocks(text):
    """Return the fenced Python blocks of a text, without their indentation."""
    return [textwrap.dedent(match["code"]) for match in _FENCE.finditer(text)]


def run_blocks(blocks, name):
    """Run blocks one after the other in one namespace."""
    namespace = {"__name__": "__main__"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"<{name}, block {number}>", "exec"), namespace)
    return namespace
