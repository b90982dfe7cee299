"""Find the windows whose counts changed on the server since they were committed, while reading little.

If all windows of a participant agree with the lake, the participant is up to date: a short fingerprint of the totals
and of what the lake holds is kept, and days are not compared again until the fingerprint moves. Each fingerprint also
moves once a week, on different days, in case bytes that came and went on different days add up to nothing.

Requesting the counts of every day is expensive, and most changes are recent. So only the counts of the newest windows
are requested if a participant's totals less those are what they were: then nothing older changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta

from dagster_beiwe.automation.limits import PARTITIONS_PER_TICK, RUNS_PER_TICK
from dagster_beiwe.automation.requested import Change
from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.partitions.rectangles import Rectangle, cover
from dagster_beiwe.sync import DailyIndex, dirty_cells
from dagster_beiwe.typed_json import read_json
from dagster_beiwe.windows import Window

LOOK_SECONDS = 25.0
"""An evaluation may take 60 s, including its requests. The next one begins with the participants that are left."""

LOOK_AGAIN_DAYS = 7

RECENT_DAYS = 14
"""Windows that ended since then, and the present one, are recent."""

_WIDEST_DAY = timedelta(days=2)
"""In any time zone, a calendar day dated this long after a window starts (UTC) lies entirely after that start."""

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class ChangesCursor:
    """What an evaluation leaves for the next: fingerprints of participants that are up to date, and where to begin.

    ``older`` are fingerprints of what participants have before the recent windows, if that is up to date. Each names
    the first window that was recent then.
    ``zone`` and ``zone_source`` are the study's time zone as last reported, at ``zone_at``; ``former_zones`` are those
    before it. ``looked_at`` is when the server was last asked for counts. Both times are Unix times in seconds.
    ``unchecked`` is set if no check has run since the last run of raw data; ``recorded`` names the newest window that
    was seen to be recorded. The cursor takes about 65 bytes per participant.
    """

    up_to_date: Mapping[str, str] = field(default_factory=dict)
    older: Mapping[str, str] = field(default_factory=dict)
    next: str = ""
    zone: str = ""
    zone_source: str = ""
    former_zones: tuple[str, ...] = ()
    zone_at: float = 0.0
    looked_at: float = 0.0
    unchecked: bool = False
    recorded: str = ""

    def to_text(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> ChangesCursor:
        """A text that can't be read is logged, and every participant is compared again, which only costs time.

        Times in the future, from before a clock was set back, count as 0: otherwise the server would not be asked.
        """
        cursor = read_json(text or "{}", cls)
        if cursor is None:
            logger.warning("The sensor's cursor can't be read. Every participant is compared again.")
            return cls()
        now = time.time()
        zone_at, looked_at = (at if at <= now else 0.0 for at in (cursor.zone_at, cursor.looked_at))
        return replace(cursor, zone_at=zone_at, looked_at=looked_at)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """All partitions of a study, and what else fingerprints depend on: the streams and the date."""

    participants: Sequence[str]
    windows: Sequence[Window]
    streams: Sequence[str]
    today: date

    @property
    def recent(self) -> Grid:
        """The same with the recent windows alone."""
        since = self.today - timedelta(days=RECENT_DAYS)
        return replace(self, windows=[each for each in self.windows if each.end.date() > since] or self.windows[-1:])

    def counts_fingerprints(
        self, totals: Mapping[str, Mapping[str, int]], *, zone: str, held: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """A short digest of each participant's totals and of what the lake holds (``held``).

        It also moves if the time zone or the start changes, if a stream with data appears or disappears, and once a
        week. A new window alone does not move it, as it is empty until totals move; for data dated after all windows,
        see ``to_keep``.
        """
        common = (zone, self.windows[0].key)
        found = {}
        for participant in self.participants:
            sizes = totals.get(participant, {})
            lake = (held or {}).get(participant, "")
            turn = self._turn(participant)
            counted = [(stream, sizes[stream]) for stream in sorted(self.streams) if sizes.get(stream)]
            found[participant] = _digest(repr((common, lake, turn, counted)))
        return found

    def older_fingerprint(
        self,
        totals: Mapping[str, Mapping[str, int]],
        zone: str,
        daily: DailyIndex,
        held: Held,
        participant: str,
        begin: int,
    ) -> str:
        """A short digest of what the server counts, and the lake holds, of a participant before a window, and its key.

        ``begin`` is the window's number. ``daily`` has at least the days around it and all later windows. Days that
        may have hours before it count as older. The digest moves in the same cases as ``counts_fingerprints``. The key
        says what to compare it with when that window is no longer recent.
        """
        window = self.windows[begin]
        first = (window.start + _WIDEST_DAY).date()
        sizes = [row.sizes for day, row in daily.days.get(participant, {}).items() if day >= first]
        counted = [
            (stream, left)
            for stream in sorted(self.streams)
            if (left := totals.get(participant, {}).get(stream, 0) - sum(each.get(stream, 0) for each in sizes))
        ]
        keys = {each.key for each in self.windows[begin:]}
        commits = sorted((key, each[-1].at) for key, each in held.versions.items() if each and key not in keys)
        common = (zone, self.windows[0].key, self._turn(participant))
        return f"{_digest(repr((common, commits, counted)))} {window.key}"

    def begins(self, older: Mapping[str, str]) -> dict[str, int]:
        """The number of the window that each older fingerprint names, if it names one."""
        numbers = {window.key: number for number, window in enumerate(self.windows)}
        named = {participant: kept.partition(" ")[2] for participant, kept in older.items()}
        return {participant: numbers[key] for participant, key in named.items() if key in numbers}

    def _turn(self, participant: str) -> int:
        """A number that changes once a week, on different days."""
        return (self.today.toordinal() + int(_digest(participant), 16)) // LOOK_AGAIN_DAYS

    def still_up_to_date(self, kept: str | None, fingerprint: str) -> bool:
        """Whether the fingerprint that was kept for a participant still holds."""
        return kept in (fingerprint, self._until_next_window(fingerprint))

    def to_keep(self, fingerprint: str, participant: str, daily: DailyIndex) -> str:
        """What to keep for a participant that is up to date. Data dated after the last window lies in a later one."""
        later = daily.counts_after(participant, self.windows[-1].end)
        return self._until_next_window(fingerprint) if later else fingerprint

    def _until_next_window(self, fingerprint: str) -> str:
        return f"{fingerprint} {self.windows[-1].key}"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one evaluation found: dirty windows, fingerprints as in the cursor, and where time ran out."""

    dirty: Mapping[CellKey, Change] = field(default_factory=dict)
    up_to_date: Mapping[str, str] = field(default_factory=dict)
    older: Mapping[str, str] = field(default_factory=dict)
    looked_at: int = 0
    stopped_at: str = ""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the lake holds of a participant: each window's retained versions, newest last, and the secret that counts
    fingerprints are made with."""

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


Ask = Callable[[Sequence[str], Sequence[Window]], DailyIndex]
"""Returns the counts of some participants on the days around some windows."""

OlderFingerprint = Callable[[DailyIndex, Held, str, int], str]
"""``Grid.older_fingerprint`` of the server's totals and the study's time zone."""

Batches = Callable[[Sequence[str], Sequence[Window]], Iterable[Sequence[str]]]
"""Splits participants, in their order, into those for whom the counts around some windows are requested together."""


def _one_by_one(participants: Sequence[str], windows: Sequence[Window]) -> Iterable[Sequence[str]]:  # noqa: ARG001
    return ([each] for each in participants)


def look_for_changes(
    grid: Grid,
    ask: Ask,
    held: Callable[[str], Held],
    *,
    fingerprints: Mapping[str, str],
    cursor: ChangesCursor,
    older_fingerprint: OlderFingerprint | None = None,
    batches: Batches = _one_by_one,
    busy: Collection[CellKey] = (),
    is_recorded: Callable[[CellKey], bool] = lambda _: True,
    seconds: float = LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Compare counts with what is committed, beginning where the last evaluation ended.

    Each call of ``ask`` is one request, for the first of the ``batches`` of those who are left. At least one is made,
    and none after ``seconds``. Participants whose older fingerprints in the cursor name the same window are requested
    together, from that window on. If such a fingerprint moved, or there is none, all windows are requested.

    ``held`` returns what the lake holds of a participant. If ``fingerprints`` is empty, because the server has no
    totals, nobody counts as up to date. ``busy`` cells are left to the runs that they are in. Committed windows that
    Dagster has not recorded are dirty, too.
    """
    deadline = clock() + seconds
    comparison = _Comparison(grid, fingerprints, cursor, older_fingerprint, is_recorded)
    start = CellKey.parse(cursor.next).participant
    order = left = [each for each in _beginning_at(grid.participants, start) if each not in comparison.up_to_date]
    while left:
        begin = comparison.begin(left[0])
        alike = [each for each in left if comparison.begin(each) == begin]
        batch = next(iter(batches(alike, grid.windows[begin:])))
        daily = ask(batch, grid.windows[begin:])
        compared = {each for each in batch if comparison.compare(each, held(each), daily)}
        left = [each for each in left if each not in compared]
        if clock() > deadline:
            break
    return Look(
        dirty={cell: change for cell, change in comparison.dirty.items() if cell not in busy},
        up_to_date=comparison.up_to_date,
        older=comparison.older,
        looked_at=len(order) - len(left),
        stopped_at=left[0] if left else "",
    )


class _Comparison:
    """What one evaluation has found so far, in the terms of ``Look``."""

    def __init__(
        self,
        grid: Grid,
        fingerprints: Mapping[str, str],
        cursor: ChangesCursor,
        older_fingerprint: OlderFingerprint | None,
        is_recorded: Callable[[CellKey], bool],
    ) -> None:
        self._grid, self._fingerprints, self._is_recorded = grid, fingerprints, is_recorded
        self._older_fingerprint = older_fingerprint or (lambda *_: "")
        self._recent = {window.key for window in grid.recent.windows}
        self.dirty: dict[CellKey, Change] = {}
        self.up_to_date = {
            name: cursor.up_to_date[name]
            for name, fingerprint in fingerprints.items()
            if grid.still_up_to_date(cursor.up_to_date.get(name), fingerprint)
        }
        self.older = {name: kept for name, kept in cursor.older.items() if older_fingerprint and name in fingerprints}
        self._begins = grid.begins(self.older)

    def begin(self, participant: str) -> int:
        """The number of the first window to request: the one that the older fingerprint names, or that of all."""
        return self._begins.get(participant, 0)

    def compare(self, participant: str, held: Held, daily: DailyIndex) -> bool:
        """Compare a participant's windows. False if older ones changed: then all must be requested."""
        begin, kept = self._begins.pop(participant, 0), self.older.pop(participant, "")
        if begin and self._older_fingerprint(daily, held, participant, begin) != kept:
            return False
        part = replace(self._grid, windows=self._grid.windows[begin:])
        found = _changes(part, daily, held, participant, self._is_recorded)
        self.dirty.update(found)
        if not found and participant in self._fingerprints:
            self.up_to_date[participant] = self._grid.to_keep(self._fingerprints[participant], participant, daily)
        older = self._older_fingerprint(daily, held, participant, len(self._grid.windows) - len(self._recent))
        if older and all(cell.window in self._recent for cell in found):
            self.older[participant] = older
        return True


def _changes(
    grid: Grid, daily: DailyIndex, held: Held, participant: str, is_recorded: Callable[[CellKey], bool]
) -> dict[CellKey, Change]:
    """A participant's dirty windows, and why they are dirty."""
    committed = held.counts()
    moved = set(
        dirty_cells(
            daily, committed, secret=held.secret, participant=participant, windows=grid.windows, streams=grid.streams
        )
    )
    cells = [Cell(participant, window) for window in grid.windows]
    return {
        cell.key: Change(
            committed=committed.get(cell.window.key, ""),
            counted=daily.fingerprint(participant, cell.window, grid.streams, b""),
            commits=held.commits(cell.window.key),
        )
        for cell in cells
        if cell in moved or (committed.get(cell.window.key) and not is_recorded(cell.key))
    }


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The runs to request now, the first cell of those that must wait (empty if none must), and how many wait."""

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
    """Few runs that cover exactly these cells. Runs that are too many for one evaluation wait.

    Runs are ordered by their first cells, from ``start`` on and then from the beginning. Those that wait come first
    next time, so that runs that keep failing do not keep others from their turn.
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
    """The order, rotated so that it begins at ``first``."""
    start = order.index(first) if first in order else 0
    return [*order[start:], *order[:start]]
