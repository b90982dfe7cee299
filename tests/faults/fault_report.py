"""Write the tables of docs/reliability.md from the table that the tests are made from.

python tests/faults/fault_report.py              print them
python tests/faults/fault_report.py --write      put them into the document
python tests/faults/fault_report.py --measure    run the cases, count files that are lost, and put that into it, too
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fault_endpoints import ANSWER_CASES, DOWNLOAD_CASES, ENDPOINTS
from fault_matrix import SERVER_FAULTS, TIMES
from machine_faults import MACHINE_FAULTS

sys.path.append(str(Path(__file__).parents[1] / "support"))
import measured

DOCUMENT = measured.RELIABILITY
LOSSES = {
    "faults of the server during a download": ("test_fault_downloads.py",),
    "faults of this machine": ("test_fault_machine.py", "test_fault_kills.py", "test_fault_dagster.py"),
}
_KINDS = {"probe": "probes", "login": "website login", "page": "website settings page", "hashes": "file hashes"}


def tables() -> dict[str, str]:
    """{name: Markdown} of every table."""
    return {"server": "\n".join(_server()), "machine": "\n".join(_machine()), "counts": "\n".join(_counts())}


def filled(document: str) -> str:
    """The document with its tables between the marks renewed."""
    for name, table in tables().items():
        pattern = rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end of {name} -->)"
        document, found = re.subn(pattern, partial(_filled, table), document, flags=re.DOTALL)
        if found != 1:
            raise LookupError(f"The document has {found} places for the table {name!r}, not one.")
    return document


def _filled(table: str, place: re.Match[str]) -> str:
    return f"{place[1]}{table}\n{place[2]}"


def _server() -> Iterator[str]:
    """One row for each kind of fault, with the number of cases; then the endpoints that differ."""
    rows, others = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for fault in SERVER_FAULTS:
        cells = [str(fault.outcome(kind, times) or "-") for kind in ("answers", "downloads") for times in TIMES]
        later = [str(fault.outcome("downloads v2", times)) for times in TIMES]
        if fault.downloads_v2:
            cells[2:] = [
                old if old == new else f"{old} (v1); {new} (v2)" for old, new in zip(cells[2:], later, strict=True)
            ]
        if fault.versions == (2,):
            cells[2:] = [f"{cell} (v2)" for cell in cells[2:]]
        row = (fault.kind or fault.name, *cells)
        rows[row] += 1
        for kind in fault.others:
            both = dict.fromkeys(str(fault.outcome(kind, times)) for times in TIMES)
            others[(_KINDS[kind], fault.kind or fault.name, ", then ".join(both))] += 1
    yield "| failure mode | JSON, once | JSON, every time | get-data, once | get-data, every time |"
    yield "|---|---|---|---|---|"
    yield from _counted(rows)
    yield ""
    yield "Endpoints that differ:"
    yield ""
    yield "| endpoint | failure mode | outcome |"
    yield "|---|---|---|"
    yield from _counted(others, position=1)


def _counted(rows: Counter[tuple[str, ...]], *, position: int = 0) -> Iterator[str]:
    """Rows of a table. One that stands for several cases says so in the cell at ``position``."""
    for row, cases in rows.items():
        cells = [f"{cell} ({cases} cases)" if n == position and cases > 1 else cell for n, cell in enumerate(row)]
        yield f"| {' | '.join(cells)} |"


def _machine() -> Iterator[str]:
    yield "| failure mode | outcome |"
    yield "|---|---|"
    for fault in MACHINE_FAULTS:
        yield f"| {fault.name} | {fault.outcome} |"


def _counts() -> Iterator[str]:
    yield "| what | cases | recovered | error | incomplete |"
    yield "|---|---|---|---|---|"
    endpoints = f"{len(SERVER_FAULTS)} faults of the server"
    answers = Counter(outcome.kind for *_, outcome in ANSWER_CASES)
    downloads = Counter(outcome.kind for *_, outcome in DOWNLOAD_CASES)
    for title, counts in (
        (f"{len(ENDPOINTS)} endpoints that return JSON or text", answers),
        ("get-data/v1 and v2", downloads),
    ):
        kinds = " | ".join(str(counts[kind]) for kind in ("recovered", "error", "incomplete"))
        yield f"| {endpoints} at {title} | {counts.total()} | {kinds} |"
    yield f"| {len(MACHINE_FAULTS)} faults of this machine, see below | {len(MACHINE_FAULTS)} | | | |"


class Tally:
    """What the tests of a file count while they run (a plugin of pytest)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.counts[report.outcome] += 1
            properties = dict.fromkeys(("files watched", "files lost"), 0)
            for name, value in report.user_properties:
                properties[name] += int(str(value))
            self.counts.update(properties)
            self.counts["with files"] += properties["files watched"] > 0


def losses() -> str:
    """Run the cases that have committed files to lose, and count them."""
    rows = []
    for what, files in LOSSES.items():
        tally = Tally()
        pytest.main(["-q", "--no-header", *(str(Path(__file__).with_name(name)) for name in files)], plugins=[tally])
        names = ("with files", "failed", "files watched", "files lost")
        rows.append((what, *(f"{tally.counts[name]:,}" for name in names)))
    return measured.table(("what", "cases that watch files", "tests failed", "committed files watched", "lost"), rows)


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measured.write("losses", losses(), command="python tests/faults/fault_report.py --measure")
    if {"--write", "--measure"} & set(sys.argv):
        DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n\n".join(tables().values()))
