"""Follow the results of a check, and find the problems that were not reported yet. No side effects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Severity: TypeAlias = Literal["WARN", "ERROR"]

Found: TypeAlias = Mapping[str, Severity]
"""{participant: how severe the problem is}."""

WHOLE_CHECK: Final = ""
"""In place of a participant: the failure of a check that names none."""

_RANK: Final = {"WARN": 1, "ERROR": 2}


@dataclass(frozen=True, order=True)
class Check:
    """A check of an asset, and the key of the study that the asset belongs to."""

    study: str
    asset: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result of a check, and when it was recorded, as a Unix time in seconds.

    ``participants`` are those that a failed check names; empty if it names none, for instance because it could not be
    made.
    """

    at: float
    passed: bool
    severity: Severity
    participants: Found = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """How far a check was followed: the time of the newest result, and what is open since."""

    at: float
    open: Found = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem that began with a check's result, recorded ``at`` a Unix time in seconds.

    ``participant`` is empty if it is about nobody in particular. ``resolved``: a later result no longer has it.
    """

    check: Check
    participant: str
    severity: Severity
    at: float
    resolved: bool = False


def follow(check: Check, before: Followed, results: Iterable[Result]) -> tuple[Followed, list[Problem]]:
    """Follow a check through further results, oldest first; returns what is open now, and what began.

    A problem begins if it was not open, or was only a warning before. A failure that names no participant says nothing
    about those that are open: they stay so, and are not new when they are named again.
    """
    at, still_open = before.at, before.open
    began: dict[str, tuple[Severity, float]] = {}
    for result in results:
        found = _found(result, still_open)
        for participant, severity in found.items():
            if _RANK[severity] > _RANK.get(still_open.get(participant, ""), 0):
                began[participant] = (severity, result.at)
        at, still_open = result.at, found
    problems = [
        Problem(check=check, participant=who, severity=severity, at=since, resolved=who not in still_open)
        for who, (severity, since) in sorted(began.items())
    ]
    return Followed(at=at, open=still_open), problems


def _found(result: Result, still_open: Found) -> Found:
    if result.passed:
        return {}
    return result.participants or {**still_open, WHOLE_CHECK: result.severity}
