"""Tables of figures that a command measures and writes into a document, between ``<!-- name: ... -->`` and its end.

The figures are those of the day that stands below them. Tests compare the names of the rows with the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def write(name: str, markdown: str, *, command: str, document: Path = RELIABILITY) -> None:
    """Put a table in its place, with the command that measured it and today's date."""
    text = document.read_text(encoding="utf-8")
    said = f"Measured on {date.today():%Y-%m-%d} by `{command}`."
    filled, found = re.subn(_place(name), lambda match: f"{match[1]}{markdown}\n\n{said}\n{match[3]}", text)
    _check(name, found)
    document.write_text(filled, encoding="utf-8")


def rows(name: str, document: Path = RELIABILITY) -> list[str]:
    """The first cell of every row of a table in the document."""
    places = re.findall(_place(name), document.read_text(encoding="utf-8"))
    _check(name, len(places))
    return re.findall(r"(?m)^\| (.*?) \|", places[0][1])[1:]


def _place(name: str) -> str:
    return rf"(<!-- {name}: [^\n]* -->\n)((?s:.*?))(<!-- end of {name} -->)"


def _check(name: str, found: int) -> None:
    if found != 1:
        raise LookupError(f"The document has {found} places for the table {name!r}, not one.")
