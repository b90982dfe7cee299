"""What was requested lately, window by window. Pure.

A window is not requested twice for the same change within some hours, because a run that failed would fail again. Each
run has a tag that says what each of its windows was requested for. So nothing is kept elsewhere, and it does not matter
how windows are grouped into runs.
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
"""Length of a code. Postgres has an index of tags that refuses values above about 2,600 bytes, and a run has up to 500
windows."""

_COUNTED = slice(0, 3)
_COMMITTED = slice(3, 4)


class Request(NamedTuple):
    """What a window was requested for, and the newest record of the study's log at that time."""

    code: str
    record: int


@dataclass(frozen=True)
class Change:
    """Why a window is requested: its current counts fingerprint, ``counted``, differs from that it was ``committed``
    with.

    ``committed`` is empty if the window was never committed or is incomplete. ``commits`` are the records that
    committed the versions that the lake still has.
    """

    committed: str
    counted: str
    commits: tuple[int, ...] = ()

    @property
    def code(self) -> str:
        """The change in a few characters. Two counts of a window have the same code once in 262,144 times."""
        return _short(self.counted, 3) + _short(self.committed, 1)

    def is_that_of(self, request: Request) -> bool:
        """Whether a window was requested for this change.

        If the run left the window incomplete, the fingerprint it was committed with is lost, and the counts decide. If
        another run committed the window since, the change is a new one, even if the counts changed back.
        """
        own = self.code
        if own[_COUNTED] != request.code[_COUNTED]:
            return False
        by_its_run_only = sum(record > request.record for record in self.commits) <= 1
        return not self.committed or (own[_COMMITTED] == request.code[_COMMITTED] and by_its_run_only)


def request_tag(run: Rectangle, changes: Mapping[CellKey, Change], *, record: int) -> str:
    """The value of a run's tag: what its windows are requested for. ``record`` is the newest of the study's log."""
    return f"{record}:" + "".join(changes[cell].code for cell in run.cells())


def latest_requests(runs: Iterable[tuple[Rectangle, str]]) -> dict[CellKey, Request]:
    """What each window was last requested for, given runs with their tags, newest first.

    A run whose tag does not fit its windows is left out: one of its participants is no longer a partition.
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
    """The changes that their windows were not last requested for."""
    return {
        cell: change
        for cell, change in changes.items()
        if not ((request := latest.get(cell)) and change.is_that_of(request))
    }


def _short(text: str, characters: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:characters].decode()
