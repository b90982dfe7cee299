"""Prove that the files of older records are still what they were, without reading them again.

No record is ever written a second time. So a run that proved the bytes of a record once can rely on how the store lists
its file: name, size, and the time of its last change, which on a disk is the one that nobody can set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from dagster_beiwe.errors import IntegrityError
from dagster_beiwe.lake.catalog.log import missing
from dagster_beiwe.lake.catalog.records import Proof
from dagster_beiwe.lake.catalog.state import State
from dagster_beiwe.lake.layout import LogLayout, record_number
from dagster_beiwe.lake.storage.base import Store


def prove(store: Store, layout: LogLayout, state: State, read_again: Callable[[int, int], object]) -> Proof:
    """That the records of a state have the bytes that it was made from; those of changed files are ``read_again``.

    Raises ``IntegrityError`` if a record is missing or has changed.
    """
    proof, unproven = _look(store, layout, state)
    for folder in unproven:
        first = folder * layout.records_per_folder
        last = min(first + layout.records_per_folder - 1, state.number)
        if not read_again(first, last):
            raise IntegrityError(
                f"Records {first} to {last} of the log at {layout.log!r} are not those that the newest record follows. "
                "Nothing was written. They were changed or rolled back: run `dagster-beiwe verify --repair`, or "
                "restore the study from a backup."
            )
    return proof


def extended(store: Store, layout: LogLayout, state: State) -> Proof:
    """The proof of a state, with the records that this process has read or written since."""
    proof, unproven = _look(store, layout, state, first_folder=max(state.proof.number, 0) // layout.records_per_folder)
    return state.proof if unproven else proof  # the next run finds out what was changed


def _look(store: Store, layout: LogLayout, state: State, *, first_folder: int = 0) -> tuple[Proof, list[int]]:
    """List the records: what is proven once the folders returned are read, where the proof so far does not hold."""
    each, known = layout.records_per_folder, state.proof
    digests, unproven = known.digests[:first_folder], []
    for folder in range(first_folder, state.number // each + 1):
        lines = _listed(store, layout, folder, state.number)
        proven = known.number + 1 - folder * each
        if _digest(lines[:proven]) != known.digests[folder] if proven > 0 else len(lines) == each:
            unproven.append(folder)  # a full folder of newer records may have been read from its pack
        digests += (_digest(lines),)
    return Proof(state.number, digests), unproven


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
