"""The documentation as a reader gets it: pages of HTML and what they refer to."""

from html.parser import HTMLParser
from pathlib import Path

_EMPTY = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """Ids, references and signatures of one page."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.ids: set[str] = set()
        self.references: list[str] = []
        self.signatures: list[str] = []
        self._open: list[bool] = []  # for each open element: does it hold a signature?
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if identifier := attributes.get("id"):
            self.ids.add(identifier)
        for name in ("href", "src"):
            if reference := attributes.get(name):
                self.references.append(reference)
        if tag not in _EMPTY:
            signature = "doc-signature" in (attributes.get("class") or "").split()
            if signature:
                self.signatures.append("")
            self._open.append(signature)

    def handle_endtag(self, tag):
        if tag not in _EMPTY and self._open:
            self._open.pop()

    def handle_data(self, data):
        if any(self._open):
            self.signatures[-1] += data


def read_site(folder: Path) -> dict[Path, Page]:
    """Returns the pages of a built site by their path."""
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}
