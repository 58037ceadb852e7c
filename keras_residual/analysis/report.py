"""Reports: report.md for GitHub and one self-contained report.html.

The report only shows its input. Verdicts come from
`keras_residual.analysis.statistics`.
"""

import base64
import contextlib
import mimetypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from keras_residual._atomic_file import atomic_file
from keras_residual._unbroken import unbroken


@dataclass(frozen=True)
class Section:
    """One section of a report.

    Args:
        heading: Heading of the section.
        text: Plain text. An empty line starts a new paragraph, and a paragraph whose
            lines start with "- " is a list. Other Markdown and HTML are shown verbatim.
        figures: Pairs (image file relative to the report's folder, caption).
        tables: Pairs (pandas frame, caption). An index that only counts the rows is not
            shown; floats have four digits.
        links: Pairs (file relative to the report's folder, words).

    Example:
        ```python
        import pandas as pd
        from keras_residual.analysis.report import Section

        section = Section(
            heading="Accuracy",
            text="Each seed trains both nets.",
            tables=[(pd.DataFrame({"net": ["plain"], "accuracy": [0.81]}), "Means")],
        )
        ```
    """

    heading: str
    text: str = ""
    figures: Sequence[tuple[str | Path, str]] = ()
    tables: Sequence[tuple[pd.DataFrame, str]] = ()
    links: Sequence[tuple[str, str]] = ()


def write_report(
    folder: str | Path,
    title: str,
    summary: str,
    sections: Sequence[Section],
    *,
    banner: str = "",
    answers: Sequence[tuple[str, str]] = (),
    figure: tuple[str | Path, str] | None = None,
) -> Path:
    """Writes report.md and report.html into a run folder.

    Both are rendered before either is replaced, so an error leaves an earlier report
    intact. report.md refers to the figures, report.html contains them.

    Args:
        folder: Run folder, which holds the figures.
        title: Title of the report.
        summary: Question or result, plain text as in a section.
        sections: The sections, in order.
        banner: A line on top, for a warning that comes before everything else.
        answers: Pairs (claim, answer), below the summary; the answer is bold.
        figure: Pair (image file, caption), above the sections, or None.

    Returns:
        Path of report.md.

    Raises:
        ValueError: If `folder` is not a folder, or a figure is not an image file in it.

    Example:
        ```python
        import tempfile
        from keras_residual.analysis.report import Section, write_report

        folder = tempfile.mkdtemp()
        path = write_report(folder, "Run 1", "It ran.", [Section("Method", "SGD.")])
        print(path.read_text())
        ```
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(
            f"`folder` must be an existing folder. Received: folder={str(folder)!r}"
        )
    content = {
        "title": title,
        "banner": banner,
        "summary": _paragraphs(summary),
        "answers": answers,
        "figure": _figure(folder, *figure) if figure else None,
        "sections": [
            {
                "heading": section.heading,
                "paragraphs": _paragraphs(section.text),
                "links": [(quote(path), words) for path, words in section.links],
                "tables": [_table(frame, caption) for frame, caption in section.tables],
                "figures": [
                    _figure(folder, file, caption) for file, caption in section.figures
                ],
            }
            for section in sections
        ],
    }
    rendered = {
        "report.html": _render("_report.html.jinja", content, autoescape=True),
        "report.md": _render("_report.md.jinja", content, autoescape=False),
    }
    with contextlib.ExitStack() as both:
        for name, text in rendered.items():
            path = both.enter_context(atomic_file(folder / name))
            path.write_text(text, encoding="utf-8", newline="\n")
    return folder / "report.md"


def _render(template: str, content: dict[str, Any], *, autoescape: bool) -> str:
    environment = jinja2.Environment(
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Browsers break lines; the Markdown is read as it is.
        finalize=_unbroken if autoescape else None,
    )
    environment.filters["text"] = _markdown
    environment.filters["line"] = lambda text: " ".join(_markdown(text).split())
    source = resources.files("keras_residual.analysis").joinpath(template)
    rendered = environment.from_string(source.read_text("utf-8")).render(content)
    return rendered.strip() + "\n"


def _unbroken(value: Any) -> Any:
    return unbroken(value) if isinstance(value, str) else value


def _paragraphs(text: str) -> list[str]:
    parts = re.split(r"\n\s*\n", text)
    return [part.strip() for part in parts if part.strip()]


def _markdown(text: str) -> str:
    """Escapes Markdown, but keeps names such as val_accuracy readable."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    # At the start of a line these would make a heading, a quotation or a rule.
    return re.sub(r"^(\s*)([#>=]|--)", r"\1\\\2", text, flags=re.M)


def _table(frame: pd.DataFrame, caption: str) -> dict[str, Any]:
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    names = [
        " ".join(map(str, name)).strip() if isinstance(name, tuple) else str(name)
        for name in frame.columns
    ]
    numbers = [
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        for kind in frame.dtypes
    ]
    return {
        "caption": caption,
        "columns": [
            {"name": name, "is_number": is_number}
            for name, is_number in zip(names, numbers, strict=True)
        ],
        "rows": [
            [_cell(value) for value in row]
            for row in frame.itertuples(index=False, name=None)
        ],
    }


def _cell(value: Any) -> str:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "n/a"
    if isinstance(value, float):  # NumPy's float64 is one
        return (
            str(int(value))
            if value.is_integer() and abs(value) < 1e15
            else f"{value:.4g}"
        )
    return str(value)


def _figure(folder: Path, file: str | Path, caption: str) -> dict[str, str]:
    path = Path(file)
    kind = mimetypes.guess_type(path.name)[0] or ""
    inside = not path.is_absolute() and ".." not in path.parts
    if not (inside and kind.startswith("image/") and (folder / path).is_file()):
        raise ValueError(
            "`figures` must name image files in the report's folder, relative to it. "
            f"Received: {str(file)!r} in {str(folder)!r}"
        )
    data = base64.b64encode((folder / path).read_bytes()).decode("ascii")
    return {
        "caption": caption,
        "path": quote(path.as_posix()),
        "data_uri": f"data:{kind};base64,{data}",
    }
