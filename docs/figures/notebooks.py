"""Runs the notebooks' sources and writes the notebooks and their pages.

    python docs/figures/notebooks.py photos_to_model PHOTOS=cats_dogs WEIGHTS=net.h5

A source in `examples/notebooks` is a Python file in the style of keras.io's examples:
prose in triple quotes, and code. This writes `examples/notebooks/NAME.ipynb` and
`docs/notebooks/NAME.md` with the outputs. `NAME=value` gives one of the source's
settings another value for the run; the notebook shows the source's. Without a name all
notebooks run. Needs the extra `examples`.
"""

import base64
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "examples/notebooks"
PAGES = ROOT / "docs/notebooks"
# A placeholder until the repository has its address: this one line changes.
COLAB = "https://colab.research.google.com/github/OWNER/keras-residual/blob/main"
PIXELS, INCHES = 1000, 7  # the width of a figure in a file, and on a page
PROSE = re.compile(r'^"""(shell)?\n(.*?)^"""\n', re.M | re.S)


@dataclass
class Cell:
    """A cell: "prose", "shell" or "code", with its outputs, text and PNG files."""

    kind: str
    text: str
    outputs: list[str | bytes] = field(default_factory=list)


def read(name):
    """The header of a source, as a dictionary, and its cells."""
    source = (SOURCES / f"{name}.py").read_text()
    cells, end = [], 0
    for match in PROSE.finditer(source):
        cells.append(Cell("code", source[end : match.start()].strip("\n")))
        cells.append(Cell(match[1] or "prose", match[2].strip("\n")))
        end = match.end()
    cells.append(Cell("code", source[end:].strip("\n")))
    header, *cells = [cell for cell in cells if cell.text]
    return dict(line.split(": ", 1) for line in header.text.splitlines()), cells


def run(cells, settings):
    """Executes the code, and gives each cell its outputs."""
    import matplotlib.pyplot as plt

    printed, namespace = io.StringIO(), {"__name__": "__main__"}

    def take():
        if text := printed.getvalue():
            cell.outputs.append(text)
        printed.seek(0)
        printed.truncate()

    def show():
        take()
        for number in plt.get_fignums():
            cell.outputs.append(png(plt.figure(number)))
        plt.close("all")

    shown, plt.show = plt.show, show
    try:
        for number, cell in enumerate(cells):
            if cell.kind == "code":
                code = cell.text
                for key, value in settings.items():
                    code = re.sub(
                        rf"^{key} = .*$",
                        lambda _, key=key, value=value: f"{key} = {value!r}",
                        code,
                        flags=re.M,
                    )
                with contextlib.redirect_stdout(printed):
                    exec(compile(code, f"<cell {number}>", "exec"), namespace)
                take()
    finally:
        plt.show = shown


def png(figure):
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, dpi=PIXELS / figure.get_figwidth())
    dpi = PIXELS / INCHES
    image = Image.open(drawn).convert("RGB").quantize(256)
    image.save(small, "png", dpi=(dpi, dpi), optimize=True)
    return small.getvalue()


def notebook(name, header, cells):
    """The notebook as a JSON object of format 4.5."""
    written = []
    top = Cell("prose", f"# {header['Title']}\n\n{header['Description']}")
    for number, cell in enumerate([top, *cells]):
        text = cell.text
        if cell.kind == "shell":
            text = "\n".join(f"!{line}" for line in text.splitlines())
        entry = {
            "id": f"{name}-{number:02d}".replace("_", "-"),
            "metadata": {},
            "cell_type": "markdown" if cell.kind == "prose" else "code",
            "source": text.splitlines(keepends=True),
        }
        if cell.kind != "prose":
            entry |= {
                "execution_count": None,
                "outputs": list(map(output, cell.outputs)),
            }
        written.append(entry)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": written,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def output(content):
    if isinstance(content, str):
        lines = content.splitlines(keepends=True)
        return {"output_type": "stream", "name": "stdout", "text": lines}
    data = {"image/png": base64.b64encode(content).decode()}
    return {"output_type": "display_data", "metadata": {}, "data": data}


def page(name, header, cells):
    """The page's text, and its pictures by the names of their files."""
    link = f"{COLAB}/examples/notebooks/{name}.ipynb"
    parts = [
        f"# {header['Title']}",
        f"{header['Description']} [Open it in Colab]({link}). "
        f"The page is written from `examples/notebooks/{name}.py`.",
    ]
    pictures, heading = {}, header["Title"]
    for cell in cells:
        fence = {
            "prose": "{}",
            "shell": "```bash\n{}\n```",
            "code": "```python\n{}\n```",
        }
        parts.append(fence[cell.kind].format(cell.text))
        if cell.kind == "prose":
            heading = [heading, *re.findall(r"^## (.*)$", cell.text, re.M)][-1]
        for content in cell.outputs:
            if isinstance(content, str):
                parts.append(f"```text\n{content.rstrip()}\n```")
            else:
                file = f"{name}_{len(pictures) + 1}.png"
                pictures[file] = content
                # Of this class: the dark scheme does not invert photos.
                parts.append(f"![{heading}]({file}){{ .photo }}")
    return "\n\n".join(parts) + "\n", pictures


def write(name, settings):
    header, cells = read(name)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run(cells, settings)
    text = json.dumps(notebook(name, header, cells), indent=1)
    (SOURCES / f"{name}.ipynb").write_text(text + "\n")
    text, pictures = page(name, header, cells)
    PAGES.mkdir(exist_ok=True)
    for old in PAGES.glob(f"{name}_*.png"):
        old.unlink()
    (PAGES / f"{name}.md").write_text(text)
    for file, content in pictures.items():
        (PAGES / file).write_bytes(content)


if __name__ == "__main__":
    os.environ.setdefault("MPLBACKEND", "Agg")
    names = [word for word in sys.argv[1:] if "=" not in word]
    changed = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    for each in names or sorted(path.stem for path in SOURCES.glob("*.py")):
        write(each, changed)
        print(each)
