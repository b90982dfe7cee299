"""What the tests of tables share: a place for them, and what lies there."""

from __future__ import annotations

import re
from pathlib import Path

from dagster_beiwe.lake.layout import planned_on
from dagster_beiwe.maintenance.verify import Finding, verify_study
from dagster_beiwe.tables.store import TableStore

KEY = ["beiwe", "sleep", "daily_gps"]


def tables_below(folder: Path) -> list[str]:
    """Tables in the lake: everything but their tokens and manifests, without what makes their names unique."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet*")]
    return sorted(re.sub(r"~\d+-[0-9a-f]{8}(?=\.parquet)", "", path) for path in paths)


def stored_file(folder: Path, name: str = "daily_gps") -> Path:
    """The newest file of a table."""
    paths = folder.glob(f"*/.tables/beiwe/sleep/{name}~*.parquet.lock")
    return max(paths, key=lambda path: planned_on(path.name) or 0)


def stored(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def damaged(store: TableStore) -> list[Finding]:
    return verify_study(store).findings


def laid_back(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).write_bytes(data)
