"""Find the windows whose counts changed on the server since they were committed, while reading little.

If all windows of a participant agree with the lake, the participant is up to date: a short fingerprint of the totals
and of what the lake holds is kept, and days are not compared again until the fingerprint moves. Each fingerprint also
moves once a week, on different days, in case bytes that came and went on different days add up to nothing.

The counts of all days are much to ask for, and nearly everything that changes is recent. So only the counts of the
newest windows are requested if a participant's totals less those are what they were: then nothing older changed.
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
from dagster_beiwe.windows import Window

LOOK_SECONDS = 25.0
"""An evaluation may take 60 s, including its requests. The next one begins with the participants that are left."""

LOOK_AGAIN_DAYS = 7

RECENT_DAYS = 14
"""Windows that ended since then, and the present one, are recent."""

_WIDEST_DAY = timedelta(days=2)
"""A calendar day that begins so much later than a window, in UTC, has no hour before it, whatever its zone."""

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class ChangesCursor:
    """What an evaluation leaves for the next: fingerprints of participants that are up to date, and where to begin.

    ``older`` are fingerprints of what participants have before the recent windows, if that is up to date.
    ``zone`` and ``zone_source`` are the study's time zone as last reported, at ``zone_at``; ``former_zones`` are those
    before it. ``looked_at`` is when the server was last asked for counts. Both times are Unix times in seconds.
    ``unchecked`` is set if no check has run since the last run of raw data; ``recorded`` names the newest window that
    was seen to be recorded. The cursor takes about 50 bytes per participant.
    """

    up_to_date: Mapping[str, str] = field(default_factory=dict)
    older: Mapping[str, str] = field(default_factory=dict)
    next: str = ""
    zone: str = ""
    zone_source: str = ""
    former_zones: Sequence[str] = ()
    zone_at: float = 0.0
    looked_at: float = 0.0
    unchecked: bool = False
    recorded: str = ""

    def to_text(self) -> str:
        known = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(known, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> ChangesCursor:
        """A text that can't be read is logged, and every participant is compared again, which only costs time."""
        try:
            value = json.loads(text) if text else {}
            return cls(
                up_to_date=_texts(value.get("up_to_date", {})),
                older=_texts(value.get("older", {})),
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
            logger.warning("The sensor's cursor can't be read. Every participant is compared again.")
            return cls()


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
        self, totals: Mapping[str, Mapping[str, int]], zone: str, daily: DailyIndex, held: Held, participant: str
    ) -> str:
        """A short digest of what the server counts, and the lake holds, of a participant before the recent windows.

        ``daily`` has at least the days around the recent windows. Days that may have hours before them count as older.
        It moves in the same cases as ``counts_fingerprints``, and when a window stops being recent.
        """
        recent = self.recent.windows
        first = (recent[0].start + _WIDEST_DAY).date()
        sizes = [row.sizes for day, row in daily.days.get(participant, {}).items() if day >= first]
        counted = [
            (stream, left)
            for stream in sorted(self.streams)
            if (left := totals.get(participant, {}).get(stream, 0) - sum(each.get(stream, 0) for each in sizes))
        ]
        keys = {window.key for window in recent}
        commits = sorted((key, each[-1].at) for key, each in held.versions.items() if each and key not in keys)
        common = (zone, self.windows[0].key, recent[0].key, self._turn(participant))
        return _digest(repr((common, commits, counted)))

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


def _one_by_one(participants: Sequence[str], windows: Sequence[Window]) -> Iterable[Sequence[str]]:  # noqa: ARG001
    return ([each] for each in participants)


def look_for_changes(
    grid: Grid,
    ask: Ask,
    held: Callable[[str], Held],
    *,
    fingerprints: Mapping[str, str],
    cursor: ChangesCursor,
    older_fingerprint: Callable[[DailyIndex, Held, str], str] | None = None,
    batches: Callable[[Sequence[str], Sequence[Window]], Iterable[Sequence[str]]] = _one_by_one,
    busy: Collection[CellKey] = (),
    is_recorded: Callable[[CellKey], bool] = lambda _: True,
    seconds: float = LOOK_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Look:
    """Compare counts with what is committed, beginning where the last evaluation ended.

    ``ask`` is called for one of the ``batches`` after the other, so that only one is in memory, and for at least one,
    however little time is left. ``held`` returns what the lake holds of a participant. If ``fingerprints`` is empty,
    because the server has no totals, nobody counts as up to date. With ``older_fingerprint``, only the recent windows
    are requested of participants for whom it is what the cursor remembers. ``busy`` cells are left to the runs that
    they are in. Committed windows that Dagster has not recorded are dirty, too.
    """
    deadline = clock() + seconds
    up_to_date = {
        name: cursor.up_to_date[name]
        for name, fingerprint in fingerprints.items()
        if grid.still_up_to_date(cursor.up_to_date.get(name), fingerprint)
    }
    older = {name: kept for name, kept in cursor.older.items() if older_fingerprint and name in fingerprints}
    dirty: dict[CellKey, Change] = {}
    looked_at: set[str] = set()
    begin = CellKey.parse(cursor.next).participant
    order = [each for each in _beginning_at(grid.participants, begin) if each not in up_to_date]

    for part in (grid.recent, grid):
        whole = part.windows == grid.windows
        left = [each for each in order if each not in looked_at and (whole or each in older)]
        for batch in batches(left, part.windows):
            if looked_at and clock() > deadline:
                return Look(
                    dirty=dirty, up_to_date=up_to_date, older=older, looked_at=len(looked_at), stopped_at=batch[0]
                )
            daily = ask(batch, part.windows)
            for participant in batch:
                own = held(participant)
                before = older_fingerprint(daily, own, participant) if older_fingerprint else ""
                if not whole and before != older[participant]:
                    continue
                looked_at.add(participant)
                found = _changes(part, daily, own, participant, is_recorded)
                if not found and participant in fingerprints:
                    up_to_date[participant] = grid.to_keep(fingerprints[participant], participant, daily)
                if whole:
                    older.pop(participant, None)
                    if before and _all_recent(grid, found):
                        older[participant] = before
                dirty.update((cell, change) for cell, change in found.items() if cell not in busy)
    return Look(dirty=dirty, up_to_date=up_to_date, older=older, looked_at=len(looked_at))


def _all_recent(grid: Grid, cells: Iterable[CellKey]) -> bool:
    recent = {window.key for window in grid.recent.windows}
    return all(cell.window in recent for cell in cells)


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


def _texts(value: Mapping[object, object]) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _beginning_at(order: Sequence[str], first: str) -> list[str]:
    """The order, rotated so that it begins at ``first``."""
    start = order.index(first) if first in order else 0
    return [*order[start:], *order[:start]]
