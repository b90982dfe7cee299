"""Decide which windows are due to be compared with the server by hash. No side effects."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone

from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.client.http import Traffic
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.windows import Window

_NEVER = datetime.max.replace(tzinfo=timezone.utc)

_AGAIN = timedelta(hours=20)
"""New windows are due again after this time: daily, even if an audit begins a little earlier than the day before."""


@dataclass(frozen=True, kw_only=True)
class AuditPolicy:
    """How often windows are compared, and how much a day's comparisons may cost.

    Each window is due every ``days``; windows that ended in the last ``recent_days`` are due every day. 0 ``days`` turn
    the audit off. After ``requests`` in a day (UTC), or ``size_bytes`` sent and received, the rest waits for the next
    day.
    """

    days: int = 30
    recent_days: int = 14
    requests: int = 2_000
    size_bytes: int = 2_000_000_000


DEFAULT_AUDIT = AuditPolicy()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Requests sent, and bytes sent and received."""

    requests: int = 0
    size_bytes: int = 0

    @classmethod
    def of(cls, traffic: Traffic) -> Taken:
        return cls(requests=traffic.requests_sent, size_bytes=traffic.bytes_sent + traffic.bytes_received)

    def __add__(self, other: Taken) -> Taken:
        return Taken(requests=self.requests + other.requests, size_bytes=self.size_bytes + other.size_bytes)


class Budget:
    """What a day's comparisons may still take after what was ``taken`` before; counts the traffic of a client."""

    def __init__(self, policy: AuditPolicy, traffic: Traffic, *, taken: Taken = Taken()) -> None:  # frozen
        self._policy, self._traffic, self._before = policy, traffic, taken

    def is_left(self) -> bool:
        """Whether anything is left."""
        taken = self._before + Taken.of(self._traffic)
        return taken.requests < self._policy.requests and taken.size_bytes < self._policy.size_bytes


def due_windows(
    participant: str,
    windows: Sequence[Window],
    index: Mapping[str, Version],
    *,
    policy: AuditPolicy,
    now: datetime,
) -> list[Window]:
    """A participant's committed windows that are due, oldest first; ``windows`` are all windows of the study.

    All older windows of a participant are due on the same day, so that few requests cover them. Participants have
    different days, so that no day has more to do than others. A window that was never compared is due at once.
    """
    if not policy.days:
        return []
    turn = _latest_turn(participant, now, days=policy.days)
    recent = now - timedelta(days=policy.recent_days) if policy.recent_days else _NEVER

    def is_due(window: Window) -> bool:
        version = index.get(window.key)
        if version is None:
            return False
        due = max(turn, now - _AGAIN if window.end > recent else turn)
        return version.compared < due.timestamp()

    return [window for window in windows if is_due(window)]


def beginning_at(cells: Sequence[Cell], place: CellKey, *, order: Sequence[str]) -> list[Cell]:
    """The cells, rotated to begin at a participant's window or the first one after it.

    The cells are in the ``order`` of participants, and by time for each. An audit continues where the last one stopped,
    so that windows that fail again and again do not keep others from their turn.
    """
    number = {participant: index for index, participant in enumerate(order)}
    first = (number.get(place.participant, 0), place.window if place.participant in number else "")
    start = sum((number[cell.participant], cell.window.key) < first for cell in cells)
    return [*cells[start:], *cells[:start]]


def _latest_turn(participant: str, now: datetime, *, days: int) -> datetime:
    """The start of the participant's most recent day (UTC) in a cycle of ``days``."""
    share = int(hashlib.sha256(participant.encode()).hexdigest()[:8], 16)
    today = now.astimezone(timezone.utc).date()
    age = (today.toordinal() + share) % days
    return datetime.combine(today - timedelta(days=age), time(), timezone.utc)
