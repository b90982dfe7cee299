"""What was requested lately, window by window. No side effects.

A window is not requested twice for the same change within some hours: the run may have failed, and would fail again. A
run remembers in a tag what each of its windows was requested for, so that nothing has to be kept elsewhere, and the
memory does not depend on how windows are grouped into runs.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.rectangles import Rectangle

_CHARACTERS = 4
"""Of a code: Postgres has an index of tags, which refuses values above some 2,600 bytes, and a run has 500 windows."""

_COUNTED = slice(0, 3)
_COMMITTED = slice(3, 4)


class Request(NamedTuple):
    """What a window was requested for, and the newest record of the study's log at that time."""

    code: str
    record: int


@dataclass(frozen=True)
class Change:
    """Why a window is requested: what is ``counted`` has another counts fingerprint than it was ``committed`` with.

    ``committed`` is empty for a window that was never committed or is incomplete; ``commits`` are the records that
    committed the versions of it that the lake still has.
    """

    committed: str
    counted: str
    commits: tuple[int, ...] = ()

    @property
    def code(self) -> str:
        """The change in a few characters. Two counts of a window share theirs once in 262,144 times."""
        return _short(self.counted, 3) + _short(self.committed, 1)

    def is_that_of(self, request: Request) -> bool:
        """Whether a window was requested for this change.

        One that its run left incomplete has lost the fingerprint it was committed with: then the counts decide. One
        that somebody else committed since has changed anew, even if it changed back.
        """
        own = self.code
        if own[_COUNTED] != request.code[_COUNTED]:
            return False
        by_its_run_only = sum(record > request.record for record in self.commits) <= 1
        return not self.committed or (own[_COMMITTED] == request.code[_COMMITTED] and by_its_run_only)


def request_tag(run: Rectangle, changes: Mapping[CellKey, Change], *, record: int) -> str:
    """What a run's windows are requested for, as its tag keeps it; ``record`` is the newest of the study's log."""
    return f"{record}:" + "".join(changes[cell].code for cell in run.cells())


def latest_requests(runs: Iterable[tuple[Rectangle, str]]) -> dict[CellKey, Request]:
    """What each window was last requested for, of runs with their tags, newest first.

    A run whose tag does not fit its windows is left out: a participant of it is no partition any more.
    """
    latest: dict[CellKey, Request] = {}
    for run, tag in runs:
        record, _, codes = tag.partition(":")
        if record.isdecimal() and len(codes) == len(run) * _CHARACTERS:
            for number, cell in enumerate(run.cells()):
                code = codes[number * _CHARACTERS : (number + 1) * _CHARACTERS]
                latest.setdefault(cell, Request(code, int(record)))
    return latest


def not_requested(changes: Mapping[CellKey, Change], latest: Mapping[CellKey, Request]) -> dict[CellKey, Change]:
    """The changes that windows were not last requested for."""
    return {
        cell: change
        for cell, change in changes.items()
        if not ((request := latest.get(cell)) and change.is_that_of(request))
    }


def _short(text: str, characters: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:characters].decode()
