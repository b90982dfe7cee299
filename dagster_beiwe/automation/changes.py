"""Find the windows whose counts moved on the server since they were committed, with little reading.

A participant all of whose windows agree with the lake is up to date; a short fingerprint of the participant's totals
and of what the lake holds is kept, and days are not looked at again until the fingerprint moves. Fingerprints also move
once a week, each on a day of its own, in case bytes that came and went on different days add up to nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date

from dagster_beiwe.automation.limits import PARTITIONS_PER_TICK, RUNS_PER_TICK
from dagster_beiwe.automation.requested import Change
from dagster_beiwe.cells import CellKey
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.state import Version
from dagster_beiwe.partitions.rectangles import Rectangle, cover
from dagster_beiwe.sync import DailyIndex, dirty_cells
from dagster_beiwe.windows import Window

LOOK_SECONDS = 25.0
"""A sensor has 60 s for an evaluation, with its requests. Who was not looked at is the first the next time."""

LOOK_AGAIN_DAYS = 7

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class ChangesCursor:
    """What an evaluation leaves for the next: fingerprints of participants who are up to date, and the place to go on
    at.

    ``zone`` and ``zone_source`` are the study's time zone as it was last told, at ``zone_at``; ``former_zones`` are
    those before it. ``looked_at`` is when the server was last asked for counts (both Unix times in seconds).
    ``unchecked`` is set while runs were requested or seen after which nothing has been checked yet; ``recorded`` names
    the newest window that was seen to be recorded.
    Small: some 25 bytes per participant.
    """

    up_to_date: Mapping[str, str] = field(default_factory=dict)
    next: str = ""
    zone: str = ""
    zone_source: str = ""
    former_zones: Sequence[str] = ()
    zone_at: float = 0.0
    looked_at: float = 0.0
    unchecked: bool = False
    recorded: str = ""

    def to_text(self) -> str:
        told = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> ChangesCursor:
        """A text that can't be read is logged, and everybody is looked at again: that costs time only."""
        try:
            value = json.loads(text) if text else {}
            return cls(
                up_to_date={str(name): str(fingerprint) for name, fingerprint in value.get("up_to_date", {}).items()},
                next=str(value.get("next", "")),
                zone=str(value.get("zone", "")),
                zone_source=str(value.get("zone_source", "")),
                former_zones=tuple(map(str, value.get("former_zones", ()))),
                zone_at=float(value.get("zone_at", 0)),
                looked_at=float(value.get("looked_at", 0)),
                unchecked=bool(value.get("unchecked", False)),
                recorded=str(value.get("recorded", "")),
            )
        except (ValueError, TypeError, AttributeError):
            logger.warning("The sensor's cursor can't be read; every participant is looked at again.")
            return cls()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All partitions of a study, and what else fingerprints depend on: the streams, and ``today``."""

    participants: Sequence[str]
    windows: Sequence[Window]
    streams: Sequence[str]
    today: date

    @property
    def days(self) -> int:
        return (self.windows[-1].end - self.windows[0].start).days

    def counts_fingerprints(
        self, totals: Mapping[str, Mapping[str, int]], *, zone: str, held: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """A short digest of each participant's totals and of what the lake holds (``held``).

        Moved by another zone or start too, by a stream that comes with data or goes, and once a week. A new window
        alone does not move it: it is empty until totals move. Data that are dated later than all windows are another
        matter; see ``to_keep``.
        """
        common = (zone, self.windows[0].key)
        found = {}
        for participant in self.participants:
            sizes = totals.get(participant, {})
            lake = (held or {}).get(participant, "")
            turn = (self.today.toordinal() + int(_digest(participant), 16)) // LOOK_AGAIN_DAYS
            counted = [(stream, sizes[stream]) for stream in sorted(self.streams) if sizes.get(stream)]
            found[participant] = _digest(repr((common, lake, turn, counted)))
        return found

    def still_up_to_date(self, kept: str | None, fingerprint: str) -> bool:
        """Whether the fingerprint that was kept of a participant who is up to date stands."""
        return kept in (fingerprint, self._until_next_window(fingerprint))

    def to_keep(self, fingerprint: str, participant: str, daily: DailyIndex) -> str:
        """What to keep of a participant who is up to date. Data from after the last window will lie in a later one."""
        later = daily.counts_after(participant, self.windows[-1].end)
        return self._until_next_window(fingerprint) if later else fingerprint

    def _until_next_window(self, fingerprint: str) -> str:
        return f"{fingerprint} {self.windows[-1].key}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one evaluation found: dirty windows, who is up to date (with fingerprints), and where time ran out."""

    dirty: Mapping[CellKey, Change] = field(default_factory=dict)
    up_to_date: Mapping[str, str] = field(default_factory=dict)
    looked_at: int = 0
    stopped_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the lake holds of a participant: each window's retained versions, newest last, and the secret of the
    fingerprints."""

    versions: Mapping[str, Sequence[Version]] = field(default_factory=dict)
    secret: bytes | None = None

    @classmethod
    def of(cls, lake: StudyLake, participant: str) -> Held:
        return cls(versions=lake.versions(participant), secret=lake.counts_secret(participant))

    def counts(self) -> dict[str, str]:
        """Each window's counts fingerprint; empty for one that is incomplete."""
        newest = ((key, versions[-1]) for key, versions in self.versions.items())
        return {key: version.counts for key, version in newest if version.readable}

    def commits(self, window: str) -> tuple[int, ...]:
        return tuple(version.at for version in self.versions.get(window, ()))


def commit_fingerprints(lake: StudyLake) -> dict[str, str]:
    """A short digest of each participant's commits."""
    return {
        participant: _digest(repr([(key, version.at) for key, version in lake.index(participant).items()]))
        for participant in lake.participants()
    }


def _one_by_one(participants: Sequence[str]) -> Iterable[Sequence[str]]:
    return ([each] for each in participants)


def look_for_changes(
    grid: Grid,
    ask: Callable[[Sequence[str]], DailyIndex],
    held: Callable[[str], Held],
    *,
    fingerprints: Mapping[str, str],
    cursor: ChangesCursor,
    batches: Callable[[Sequence[str]], Iterable[Sequence[str]]] = _one_by_one,
    busy: Collection[CellKey] = (),
    is_recorded: Callable[[CellKey], bool] = lambda _: True,
    seconds: float = LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Compare counts with what is committed, beginning where the last evaluation ended.

    ``ask`` gives the counts of some participants, of each of the ``batches`` in turn, so that no more than one is in
    memory. ``held`` gives what the lake holds of a participant; ``fingerprints`` is empty where nobody knows them, and
    then nobody counts as up to date. ``busy`` windows are those of runs that wait or run: they are left to them.
    Committed windows that are not recorded as materialized are dirty too. At least one batch is looked at, however
    little time there is.
    """
    deadline = clock() + seconds
    up_to_date = {
        name: cursor.up_to_date[name]
        for name, fingerprint in fingerprints.items()
        if grid.still_up_to_date(cursor.up_to_date.get(name), fingerprint)
    }
    dirty: dict[CellKey, Change] = {}
    looked_at = 0
    begin = CellKey.parse(cursor.next).participant
    order = [each for each in _beginning_at(grid.participants, begin) if each not in up_to_date]
    for batch in batches(order):
        if looked_at and clock() > deadline:
            return Look(dirty=dirty, up_to_date=up_to_date, looked_at=looked_at, stopped_at=batch[0])
        daily = ask(batch)
        for participant in batch:
            looked_at += 1
            known = held(participant)
            counted = known.counts()
            found = _dirty_windows(grid, daily, counted, known.secret, participant, is_recorded)
            if not found and participant in fingerprints:
                up_to_date[participant] = grid.to_keep(fingerprints[participant], participant, daily)
            for window in found:
                cell = CellKey(participant, window.key)
                if cell not in busy:
                    dirty[cell] = Change(
                        committed=counted.get(window.key, ""),
                        counted=daily.fingerprint(participant, window, grid.streams, b""),
                        commits=known.commits(window.key),
                    )
    return Look(dirty=dirty, up_to_date=up_to_date, looked_at=looked_at)


def _dirty_windows(
    grid: Grid,
    daily: DailyIndex,
    counted: Mapping[str, str],
    secret: bytes | None,
    participant: str,
    is_recorded: Callable[[CellKey], bool],
) -> list[Window]:
    cells = dirty_cells(
        daily, counted, secret=secret, participant=participant, windows=grid.windows, streams=grid.streams
    )
    moved = {cell.window.key for cell in cells}
    return [
        window
        for window in grid.windows
        if window.key in moved or (counted.get(window.key) and not is_recorded(CellKey(participant, window.key)))
    ]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The runs to request now, and the first cell of those that have to wait (empty if none has)."""

    runs: tuple[Rectangle, ...]
    next: str = ""
    waiting: int = 0


def choose_runs(
    grid: Grid,
    cells: Collection[CellKey],
    *,
    start: str,
    largest: int,
    most_runs: int = RUNS_PER_TICK,
    most_partitions: int = PARTITIONS_PER_TICK,
) -> Choice:
    """Few runs that cover the windows and no others; what is too much for one evaluation waits.

    Runs are taken in the order of their first cells, from ``start`` on and then from the beginning: whoever waits is
    among the first next time, so that runs which fail again and again do not keep others from their turn.
    """
    windows = [window.key for window in grid.windows]
    found = cover(cells, participants=grid.participants, windows=windows, largest=largest)
    number = {each: index for index, each in enumerate(grid.participants)}
    column = {each: index for index, each in enumerate(windows)}
    begin = CellKey.parse(start)
    first = (number.get(begin.participant, 0), column.get(begin.window, 0))

    def turn(run: Rectangle) -> tuple[bool, tuple[int, int]]:
        place = (number[run.first.participant], column[run.first.window])
        return place < first, place

    ordered = sorted(found, key=turn)
    taken = partitions = 0
    for run in ordered[:most_runs]:
        partitions += len(run)
        if taken and partitions > most_partitions:
            break
        taken += 1
    waiting = ordered[taken:]
    return Choice(runs=tuple(ordered[:taken]), next=str(waiting[0].first) if waiting else "", waiting=len(waiting))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _beginning_at(order: Sequence[str], first: str) -> list[str]:
    """The order, turned so that it begins at ``first``."""
    start = order.index(first) if first in order else 0
    return [*order[start:], *order[:start]]
