"""Which tables lie in the lake, as their seals say it themselves: nothing is authenticated or unlocked here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from dagster_beiwe.lake.seals import FOLDER, table_path
from dagster_beiwe.lake.storage import Storage

_TEMPORARY = re.compile(r"^\.(?:[0-9a-f]+-[0-9a-f]{16}-)?(?=[^.])")


@dataclass(frozen=True, kw_only=True)
class TableEntry:
    """A table and who sealed it; ``stem`` is its path without suffix."""

    stem: str
    owner: str
    asset_key: tuple[str, ...]
    partition: str | None


def list_tables(storage: Storage) -> Iterator[TableEntry]:
    """Tables whose seal can be read and names the place where it lies."""
    for path in storage.walk(FOLDER):
        if path.endswith(".json"):
            with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                document = json.loads(storage.read(path))
                entry = TableEntry(
                    stem=path.removesuffix(".json"),
                    owner=str(document["owner"]),
                    asset_key=tuple(document["asset_key"]),
                    partition=document["partition"],
                )
                if table_path(entry.asset_key, entry.partition) == entry.stem:
                    yield entry


def stem_of(path: str) -> str:
    """The stem of the table that a file below ``.tables`` belongs to: its seal, its data, or a temporary file of them.

    Names of tables have no dot of their own.
    """
    folder, _, name = path.rpartition("/")
    return f"{folder}/{_TEMPORARY.sub('', name).partition('.')[0]}"
