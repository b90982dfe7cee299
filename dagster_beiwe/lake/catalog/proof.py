"""Prove that the files of older records are still what they were, without reading them again.

No record is ever written a second time. So a run that proved the bytes of a record once can go by how the store lists
its file: name, size, and the time of its last change, which on a disk is the one that nobody can set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dagster_beiwe.lake.catalog.log import missing
from dagster_beiwe.lake.catalog.records import Proof
from dagster_beiwe.lake.layout import LogLayout, record_number
from dagster_beiwe.lake.storage.base import Store


def look(store: Store, layout: LogLayout, known: Proof, last: int, *, first_folder: int = 0) -> tuple[Proof, list[int]]:
    """List the records up to ``last``: what is proven once the folders returned are read, which are not as ``known``.

    Folders before ``first_folder`` are taken as they were. Raises ``IntegrityError`` if a record is missing.
    """
    each = layout.records_per_folder
    digests, unproven = known.digests[:first_folder], []
    for folder in range(first_folder, last // each + 1):
        lines = _listed(store, layout, folder, last)
        proven = known.number + 1 - folder * each
        if _digest(lines[: max(proven, 0)]) != known.digests[folder] if proven > 0 else len(lines) == each:
            unproven.append(folder)  # a full folder of newer records may have been read from its pack
        digests += (_digest(lines),)
    return Proof(last, digests), unproven


def _listed(store: Store, layout: LogLayout, folder: int, last: int) -> list[str]:
    """How the store lists the records of a folder up to ``last``."""
    first = folder * layout.records_per_folder
    lines = {}
    for file in store.scan(layout.record_folder(first)):
        place = record_number(file.path.rpartition("/")[2])
        if place is not None:
            lines[place] = f"{place} {file.size_bytes} {file.written_at:.6f}\n"
    wanted = range(min(layout.records_per_folder, last + 1 - first))
    for place in wanted:
        if place not in lines:
            raise missing(layout.record(first + place))
    return [lines[place] for place in wanted]


def _digest(lines: Sequence[str]) -> bytes:
    return hashlib.sha256("".join(lines).encode()).digest()
