"""Find the windows whose counts moved on the server since they were committed, with little reading.

A participant all of whose windows agree with the lake is settled; a short mark of the participant's totals is kept, and
neither days nor the lake are looked at again until the mark moves. Marks also move once a day, in case the lake itself
has changed (a repair, a restored backup), or bytes that came and went add up to nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime

from dagster_beiwe.covering import Place, Rectangle, cover
from dagster_beiwe.sync import DailyIndex, dirty_cells
from dagster_beiwe.windows import Window

LOOK_SECONDS = 25.0
"""A sensor has 60 s for an evaluation, with its request. Who was not looked at is the first the next time."""

RUNS_PER_TICK = 25
PARTITIONS_PER_TICK = 4_000
"""Dagster submits small runs five in a second, but needs 8 s for one of 500 partitions."""

RETRY_SECONDS = 6 * 3600
"""The same windows with the same counts are requested again after this time: their run may have failed."""

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class ChangesCursor:
    """What an evaluation leaves for the next: marks of settled participants, and the place to go on at.

    ``zone`` and ``zone_source`` are the study's time zone where the server had to be asked. ``unchecked`` is set while
    runs were requested after which nothing has been checked yet. Small: some 25 bytes per participant.
    """

    settled: Mapping[str, str] = field(default_factory=dict)
    next: str = ""
    zone: str = ""
    zone_source: str = ""
    unchecked: bool = False

    def to_text(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> ChangesCursor:
        """A text that can't be read is logged, and everybody is looked at again: that costs time only."""
        try:
            value = json.loads(text) if text else {}
            return cls(
                settled={str(name): str(mark) for name, mark in value.get("settled", {}).items()},
                next=str(value.get("next", "")),
                zone=str(value.get("zone", "")),
                zone_source=str(value.get("zone_source", "")),
                unchecked=bool(value.get("unchecked", False)),
            )
        except (ValueError, TypeError, AttributeError):
            logger.warning("The sensor's cursor can't be read; every participant is looked at again.")
            return cls()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All partitions of a study, and what a mark depends on beside the totals: the streams, and ``today``."""

    participants: Sequence[str]
    windows: Sequence[Window]
    streams: Sequence[str]
    today: date

    def marks(self, totals: Mapping[str, Mapping[str, int]], *, zone: str) -> dict[str, str]:
        """A short digest of each participant's totals, moved by a new day, window, zone or other streams too."""
        common = (zone, self.today.isoformat(), self.windows[0].key, self.windows[-1].key, sorted(self.streams))
        found = {}
        for participant in self.participants:
            sizes = totals.get(participant, {})
            text = repr((common, [sizes.get(stream, 0) for stream in sorted(self.streams)]))
            found[participant] = hashlib.sha256(text.encode()).hexdigest()[:12]
        return found


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one evaluation found: dirty windows, marks of settled participants, and at whom it stopped for time."""

    dirty: Mapping[Place, str]
    """{participant and window key: digest of the window's counts}."""
    settled: Mapping[str, str]
    looked_at: int
    stopped_at: str = ""


def look_for_changes(
    grid: Grid,
    daily: DailyIndex,
    committed: Callable[[str], Mapping[str, str]],
    *,
    marks: Mapping[str, str],
    cursor: ChangesCursor,
    busy: Collection[Place] = (),
    seconds: float = LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Compare counts with what is committed, beginning where the last evaluation ended.

    ``committed`` gives the digests of the counts of a participant's committed windows; ``marks`` is empty where nobody
    knows them, and then nobody settles. ``busy`` windows are those of runs that wait or run: they are left to them. At
    least one participant is looked at, however little time there is.
    """
    deadline = clock() + seconds
    settled = {name: mark for name, mark in marks.items() if cursor.settled.get(name) == mark}
    dirty: dict[Place, str] = {}
    looked_at = 0
    for participant in _beginning_at(grid.participants, cursor.next.rpartition("|")[0]):
        if participant in settled:
            continue
        if looked_at and clock() > deadline:
            return Look(dirty=dirty, settled=settled, looked_at=looked_at, stopped_at=participant)
        looked_at += 1
        known = committed(participant)
        cells = dirty_cells(daily, known, participant=participant, windows=grid.windows, streams=grid.streams)
        if not cells and participant in marks:
            settled[participant] = marks[participant]
        for cell in cells:
            if (participant, cell.window.key) not in busy:
                digest = daily.digest(participant, cell.window, grid.streams)
                dirty[participant, cell.window.key] = digest
    return Look(dirty=dirty, settled=settled, looked_at=looked_at)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The runs to request now, and the first cell of those that have to wait (empty if none has)."""

    runs: tuple[Rectangle, ...]
    next: str = ""
    waiting: int = 0


def choose_runs(grid: Grid, dirty: Collection[Place], *, start: str, largest: int) -> Choice:
    """Few runs that cover the dirty windows and no others; what is too much for one evaluation waits.

    Runs are taken in the order of their first cells, from ``start`` on and then from the beginning: whoever waits is
    among the first next time, so that runs which fail again and again do not keep others from their turn.
    """
    windows = [window.key for window in grid.windows]
    found = cover(dirty, participants=grid.participants, windows=windows, largest=largest)
    number = {each: index for index, each in enumerate(grid.participants)}
    column = {each: index for index, each in enumerate(windows)}
    participant, _, window = start.rpartition("|")
    begin = (number.get(participant, 0), column.get(window, 0))

    def turn(run: Rectangle) -> tuple[bool, tuple[int, int]]:
        place = (number[run.first[0]], column[run.first[1]])
        return place < begin, place

    ordered = sorted(found, key=turn)
    taken = partitions = 0
    for run in ordered[:RUNS_PER_TICK]:
        partitions += len(run)
        if taken and partitions > PARTITIONS_PER_TICK:
            break
        taken += 1
    waiting = ordered[taken:]
    return Choice(runs=tuple(ordered[:taken]), next="|".join(waiting[0].first) if waiting else "", waiting=len(waiting))


def run_key(run: Rectangle, dirty: Mapping[Place, str], *, now: datetime) -> str:
    """The same for the same windows with the same counts, for some hours."""
    digest = hashlib.sha256("".join(dirty[place] for place in run.places()).encode()).hexdigest()[:12]
    return f"{run.range} {digest} {int(now.timestamp() // RETRY_SECONDS)}"


def _beginning_at(order: Sequence[str], first: str) -> list[str]:
    """The order, turned so that it begins at ``first``."""
    start = order.index(first) if first in order else 0
    return [*order[start:], *order[:start]]
