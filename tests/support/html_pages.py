"""HTML pages as a reader has them: their tables as text, and all else that a test asks about."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = frozenset({"meta", "img", "br", "link", "input", "hr"})


@dataclass
class Table:
    """A table by its caption; the first row holds the names of its columns."""

    caption: str = ""
    rows: list[list[str]] = field(default_factory=list)
    scopes: list[list[str | None]] = field(default_factory=list)

    def column(self, name: str) -> list[str]:
        place = self.rows[0].index(name)
        return [row[place] for row in self.rows[1:]]


class Page(HTMLParser):
    """A parsed page. Raises ``AssertionError`` for elements that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element with a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    def table(self, beginning: str) -> Table:
        """The table whose caption begins so."""
        (found,) = (table for table in self.tables if table.caption.startswith(beginning))
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self._open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
            self.tables[-1].scopes.append([])
        elif tag in ("th", "td"):
            self.tables[-1].rows[-1].append("")
            self.tables[-1].scopes[-1].append(dict(attrs).get("scope") if tag == "th" else "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts.append(data)
        if "caption" in self._open:
            self.tables[-1].caption += data
        elif self._open and self._open[-1] in ("th", "td"):
            self.tables[-1].rows[-1][-1] += data
