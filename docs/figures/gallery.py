"""Writes the gallery of plot functions from the examples of their docstrings.

    python docs/figures/gallery.py

Each example runs; its figure goes to docs/assets/gallery, page and code to
docs/gallery.md. Needs the extra `analysis` and Pillow.
"""

import inspect
import io
import re
import textwrap
from pathlib import Path

from keras_residual.analysis import plots

DOCS = Path(__file__).resolve().parents[1]
FUNCTIONS = [name for name in plots.__all__ if callable(getattr(plots, name))]
TOP = """# Gallery

Every function of [`keras_residual.analysis.plots`](api/plots.md), with the code that
drew the figure. The numbers are made up: they show the form of the data. Install the
extra `analysis`. `docs/figures/gallery.py` writes this page.
"""


def entry(name):
    """First line and example of a function's docstring."""
    text = inspect.getdoc(getattr(plots, name))
    code = re.search(r"^ *```python\n(.*?)^ *```", text, re.M | re.S)
    return text.partition("\n")[0], textwrap.dedent(code[1])


def page():
    parts = [TOP]
    for name in FUNCTIONS:
        line, code = entry(name)
        parts.append(
            f"## {name}\n\n{line}\n\n![{name}](assets/gallery/{name}.png)\n\n"
            f"```python\n{code}```\n"
        )
    return "\n".join(parts)


def draw(name):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    plt.close("all")
    exec(compile(entry(name)[1], name, "exec"), {})
    memory = io.BytesIO()
    dpi = 110 * min(1, 7 / plt.gcf().get_figwidth())
    plt.gcf().savefig(memory, dpi=dpi)
    image = Image.open(memory).convert("RGB").quantize(128)
    image.save(DOCS / f"assets/gallery/{name}.png", dpi=(110, 110), optimize=True)


if __name__ == "__main__":
    (DOCS / "assets/gallery").mkdir(exist_ok=True)
    for function in FUNCTIONS:
        draw(function)
    (DOCS / "gallery.md").write_text(page())
