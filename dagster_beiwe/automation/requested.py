"""What was requested lately, window by window. No side effects.

A window is not requested twice for the same change within some hours: the run may have failed, and would fail again. A
run remembers in a tag what each of its windows was requested for, so that nothing has to be kept elsewhere, and the
memory does not depend on how windows are grouped into runs.
"""

from __future__ import annotations

import base64
import hashlib
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dagster_beiwe.covering import Place, Rectangle

_CHARACTERS = 5
"""Of a code: Postgres has an index of tags, which refuses values above some 2,600 bytes, and a run has 500 windows."""

_COUNTED = slice(0, 3)
_COMMITTED = slice(3, 4)
_GENERATION = 4
_DIGITS = string.ascii_letters + string.digits + "-_"


@dataclass(frozen=True)
class Change:
    """Why a window is requested: what is ``counted`` has another counts fingerprint than it was ``committed`` with.

    ``committed`` is empty for a window that was never committed or is incomplete; ``generation`` counts its commits.
    """

    committed: str
    counted: str
    generation: int = 0

    @property
    def code(self) -> str:
        """The change in a few characters. Two counts of a window share theirs once in 262,144 times."""
        return _short(self.counted, 3) + _short(self.committed, 1) + _DIGITS[self.generation % len(_DIGITS)]

    def is_that_of(self, code: str) -> bool:
        """Whether a window was requested for this change.

        One that its run left incomplete has lost the fingerprint it was committed with: then the counts decide. One
        that somebody else committed since has changed anew, even if it changed back.
        """
        own = self.code
        if own[_COUNTED] != code[_COUNTED]:
            return False
        commits = _DIGITS.index(own[_GENERATION]) - _DIGITS.index(code[_GENERATION])
        by_its_run_only = commits % len(_DIGITS) <= 1
        return not self.committed or (own[_COMMITTED] == code[_COMMITTED] and by_its_run_only)


def codes_of(run: Rectangle, changes: Mapping[Place, Change]) -> str:
    """What a run's windows are requested for, as its tag keeps it."""
    return "".join(changes[place].code for place in run.places())


def latest_requests(runs: Iterable[tuple[Rectangle, str]]) -> dict[Place, str]:
    """What each window was last requested for, of runs with their codes, newest first.

    A run whose codes do not fit its windows is left out: a participant of it is no partition any more.
    """
    latest: dict[Place, str] = {}
    for run, codes in runs:
        if len(codes) == len(run) * _CHARACTERS:
            for number, place in enumerate(run.places()):
                latest.setdefault(place, codes[number * _CHARACTERS : (number + 1) * _CHARACTERS])
    return latest


def not_requested(changes: Mapping[Place, Change], latest: Mapping[Place, str]) -> dict[Place, Change]:
    """The changes that windows were not last requested for."""
    return {place: change for place, change in changes.items() if not change.is_that_of(latest.get(place, ""))}


def _short(text: str, characters: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:characters].decode()
