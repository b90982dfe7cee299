"""Counts rows per local day, which is all that the stand-in finds, and fails as it is told to by the data."""

import csv
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

FAILS, HANGS, IS_KILLED, EXITS, WRITES_TEXT = 1, 2, 3, 4, 5
"""Altitudes, or lengths of texts, of which a single one makes the stand-in do that."""


def rows_of(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of all files in a folder, as a strict reader reads them."""
    for path in sorted(folder.rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                if None in row or None in row.values():
                    raise ValueError(f"a ragged row: {row}")
                yield row


def days_of(folder: Path, zone: str) -> Counter[str]:
    """{local day: rows}."""
    found: Counter[str] = Counter()
    for row in rows_of(folder):
        misbehave(row)
        moment = datetime.fromtimestamp(int(row["timestamp"]) / 1000, timezone.utc)
        found[moment.astimezone(ZoneInfo(zone)).date().isoformat()] += 1
    return found


def misbehave(row: dict[str, str]) -> None:
    what = row.get("altitude") or row.get("message length")
    if what == str(FAILS):
        print("stand-in:", row)
        raise ValueError(f"cannot read {row}")
    if what == str(HANGS):
        time.sleep(600)
    if what == str(IS_KILLED):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == str(EXITS):
        sys.exit(f"cannot read {row}")


def write(path: Path, columns: list[str], lines: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *lines])
