"""Reports: what is in them, what is not, and that none gets lost."""

import base64
import inspect
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import jinja2
import numpy as np
import pandas as pd
import pytest
from code_blocks import python_blocks, run_blocks

from keras_residual.analysis import report
from keras_residual.analysis.report import Section, write_report

pytestmark = pytest.mark.once

# A PNG of one pixel, and bytes that only need to come back.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
OTHER = b"\xff\xd8" + bytes(range(256))
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'too'"


class Page(HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.cells, self._cell = [], "", [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data):
        self.text += data
        if self._cell:
            self.cells[-1][-1] += data

    def all(self, wanted):
        return [attributes for tag, attributes in self.tags if tag == wanted]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/one pixel.png").write_bytes(PIXEL)
    (tmp_path / "figures/other.jpg").write_bytes(OTHER)
    return tmp_path


def table():
    return pd.DataFrame(
        {
            "net": ["plain", "residual"],
            "accuracy": [0.76449, np.nan],
            "parameters": [59738, 59738],
            "note": ["a|b", "two\nlines"],
        }
    )


def sections():
    return [
        Section(
            "Accuracy",
            "First paragraph.\n\nSecond paragraph.\n\n- one\n- two",
            figures=[("figures/one pixel.png", "The band is a 95 % t interval")],
            tables=[(table(), "Means over seeds")],
        ),
        Section("Gradients", figures=[(Path("figures/other.jpg"), "Norms")]),
    ]


def pages(folder, *arguments):
    path = write_report(folder, *arguments)
    assert path == folder / "report.md"
    page = (folder / "report.html").read_text("utf-8")
    return path.read_text("utf-8"), page, Page(page)


def test_both_reports_hold_everything_in_order(folder):
    markdown, _, page = pages(folder, "Simulation 4", "It is supported.", sections())
    expected = [
        "Simulation 4",
        "It is supported.",
        "Accuracy",
        "First paragraph.",
        "Second paragraph.",
        "Means over seeds",
        "The band is a 95 % t interval",
        "Gradients",
        "Norms",
    ]
    shown = page.text[page.text.rindex("Simulation 4") :].replace("\xa0", " ")
    for text in (markdown, shown):
        places = [text.index(words) for words in expected]
        assert places == sorted(places)


def test_the_first_screen_is_banner_question_answers_picture(folder):
    first = {
        "banner": "A demonstration",
        "answers": [("H1. <b>Is</b> it so", "yes, by 7.2 points"), ("H2", "no_")],
        "figure": ("figures/one pixel.png", "All at a glance"),
    }
    path = write_report(folder, "Title", "What was asked.", sections(), **first)

    assert path.read_text("utf-8").startswith(
        "# Title\n\n> **A demonstration**\n\nWhat was asked.\n\n"
        "- H1. &lt;b>Is&lt;/b> it so: **yes, by 7.2 points**\n- H2: **no\\_**\n\n"
        "![All at a glance](figures/one%20pixel.png)\n\nAll at a glance\n\n"
        "## Accuracy\n"
    )
    text = (folder / "report.html").read_text("utf-8")
    page = Page(text)
    words = page.text[page.text.rindex("Title") :]
    expected = ["A demonstration", "What was asked", "H1. <b>Is</b>", "All at", "First"]
    places = [words.index(part) for part in expected]
    assert places == sorted(places)
    assert "<strong>yes, by 7.2 points</strong>" in text
    with pytest.raises(ValueError, match="`figures` must name image files"):
        write_report(folder, "", "", [], figure=("nowhere.png", ""))


def test_markdown_is_what_github_reads(folder):
    markdown, *_ = pages(folder, "Title", "Summary", sections())
    assert markdown == (
        "# Title\n\nSummary\n\n## Accuracy\n\nFirst paragraph.\n\nSecond paragraph.\n\n"
        "- one\n- two\n\nMeans over seeds\n\n"
        "| net | accuracy | parameters | note |\n"
        "| --- | ---: | ---: | --- |\n"
        "| plain | 0.7645 | 59738 | a\\|b |\n"
        "| residual | n/a | 59738 | two lines |\n\n"
        "![The band is a 95 % t interval](figures/one%20pixel.png)\n\n"
        "The band is a 95 % t interval\n\n"
        "## Gradients\n\n![Norms](figures/other.jpg)\n\nNorms\n"
    )


def test_images_in_markdown_exist(folder):
    markdown, *_ = pages(folder, "Title", "Summary", sections())
    targets = [unquote(target) for target in re.findall(r"\]\(([^)]*)\)", markdown)]
    assert targets == ["figures/one pixel.png", "figures/other.jpg"]
    assert all((folder / target).is_file() for target in targets)


def test_html_holds_the_very_bytes_of_the_figures(folder):
    *_, page = pages(folder, "Title", "Summary", sections())
    kinds, contents = [], []
    for image in page.all("img"):
        kind, _, data = image["src"].partition(";base64,")
        kinds.append(kind)
        contents.append(base64.b64decode(data, validate=True))
    assert kinds == ["data:image/png", "data:image/jpeg"]
    assert contents == [PIXEL, OTHER]
    # No line of the page ends before the percent sign.
    assert page.all("img")[0]["alt"] == "The band is a 95\xa0% t interval"


def test_html_needs_nothing_from_outside(folder):
    _, source, page = pages(folder, "Title", "Summary", sections())
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for name in {"href", "src", "srcset", "action", "poster"} & set(attributes):
            assert attributes[name].startswith("data:image/")
        assert not any(name.startswith("on") for name in attributes)
    style = re.search(r"<style>(.*?)</style>", source, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?:|//", re.sub(r'base64,[^"]*', "", source))


def test_html_elements_are_closed_and_nested(folder):
    _, source, _ = pages(folder, "Title", "Summary", sections())
    void, still_open = {"meta", "img"}, []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in void:
                still_open.append(tag)

        def handle_endtag(self, tag):
            assert still_open.pop() == tag

    Nesting().feed(source)
    assert source.startswith("<!DOCTYPE html>")
    assert still_open == []


def test_html_table_holds_the_frame(folder):
    *_, page = pages(folder, "Title", "Summary", sections())
    assert page.cells == [
        ["net", "accuracy", "parameters", "note"],
        ["plain", "0.7645", "59738", "a|b"],
        ["residual", "n/a", "59738", "two\nlines"],
    ]


def test_html_list(folder):
    *_, page = pages(folder, "Title", "Summary", sections())
    assert len(page.all("li")) == 2


def test_hostile_text_is_shown_and_not_obeyed(folder):
    everywhere = [
        Section(
            HOSTILE,
            HOSTILE,
            figures=[("figures/other.jpg", HOSTILE)],
            tables=[(pd.DataFrame({HOSTILE: [HOSTILE]}), HOSTILE)],
        )
    ]
    markdown, source, page = pages(folder, HOSTILE, HOSTILE, everywhere)
    assert "<script" not in source
    assert len(page.all("img")) == 1
    assert page.all("img")[0]["alt"] == HOSTILE
    # Title twice, summary, heading, text, column, cell, two captions.
    assert page.text.count(HOSTILE) == 9
    assert "<" not in markdown
    assert "&lt;script>alert(1)" in markdown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("d_z of val_accuracy", "d_z of val_accuracy"),
        ("*a* `b` _c_", r"\*a\* \`b\` \_c\_"),
        ("![x](http://example.org/y.png)", r"!\[x\](http://example.org/y.png)"),
        ("# no heading", r"\# no heading"),
        ("no heading\n---", "no heading\n\\---"),
        ("p < 0.05 & n > 5", "p &lt; 0.05 &amp; n > 5"),
    ],
)
def test_markdown_in_text_is_escaped(folder, text, expected):
    markdown, *_ = pages(folder, "Title", text, [])
    assert markdown == f"# Title\n\n{expected}\n"


def test_a_heading_stays_on_its_line(folder):
    markdown, *_ = pages(folder, "Two\n\n# lines", "", [])
    assert markdown.splitlines()[0].startswith("# Two")
    assert len(markdown.splitlines()) == 1


def test_index_with_meaning_is_shown(folder):
    frame = table().groupby("net")[["accuracy"]].agg(["mean", "count"])
    *_, page = pages(folder, "T", "", [Section("S", tables=[(frame, "Grouped")])])
    assert page.cells[:2] == [
        ["net", "accuracy mean", "accuracy count"],
        ["plain", "0.7645", "1"],
    ]


def test_numbers_are_readable(folder):
    frame = pd.DataFrame({"x": [1.0, 0.123456, 2.5e-10, 1e20, np.inf], "y": True})
    *_, page = pages(folder, "T", "", [Section("S", tables=[(frame, "")])])
    shown = [row[0] for row in page.cells[1:]]
    assert shown == ["1", "0.1235", "2.5e-10", "1e+20", "inf"]
    assert page.cells[1][1] == "True"


def test_same_input_gives_the_same_bytes(folder):
    write_report(folder, "Title", "Summary", sections())
    first = [(folder / name).read_bytes() for name in ("report.md", "report.html")]
    write_report(folder, "Title", "Summary", sections())
    again = [(folder / name).read_bytes() for name in ("report.md", "report.html")]
    assert again == first


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_earlier_report_survives_a_failing_template(folder, monkeypatch):
    write_report(folder, "Earlier", "Kept", sections())
    before = files_of(folder)
    real = report._render

    def broken(template, content, *, autoescape):
        if template.endswith(".md.jinja"):  # the second of the two
            raise jinja2.TemplateError("broken")
        return real(template, content, autoescape=autoescape)

    monkeypatch.setattr(report, "_render", broken)
    with pytest.raises(jinja2.TemplateError):
        write_report(folder, "Later", "Lost", [])
    assert files_of(folder) == before


def test_earlier_report_survives_a_full_disk(folder, monkeypatch):
    write_report(folder, "Earlier", "Kept", sections())
    before = files_of(folder)
    real = Path.write_text

    def full(path, text, **options):
        real(path, text[:10], **options)
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(folder, "Later", "Lost", [])
    assert files_of(folder) == before


@pytest.mark.parametrize(
    "file", ["figures/none.png", "../outside.png", "figures", "figures/data.csv"]
)
def test_bad_figures_are_refused_before_anything_is_written(folder, file):
    (folder / "figures/data.csv").write_text("a,b\n")
    (folder.parent / "outside.png").write_bytes(PIXEL)
    with pytest.raises(ValueError, match=rf"`figures` must .* Received: '{file}'"):
        write_report(folder, "Title", "", [Section("S", figures=[(file, "")])])
    assert not list(folder.glob("*report*"))


def test_an_absolute_figure_is_refused(folder):
    file = folder / "figures/other.jpg"
    with pytest.raises(ValueError, match="relative to it"):
        write_report(folder, "Title", "", [Section("S", figures=[(file, "")])])


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`folder` must be .* Received: folder="):
        write_report(tmp_path / "none", "Title", "", [])


def test_example_of_the_section_runs():
    namespace = run_blocks(python_blocks(inspect.getdoc(Section)), "Section")
    assert namespace["section"].heading == "Accuracy"
