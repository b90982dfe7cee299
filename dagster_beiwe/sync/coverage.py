"""Compare what the lake holds with what the server counts: per participant, local day and stream."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.sync.daily import DailyIndex
from dagster_beiwe.sync.facts import Cell
from dagster_beiwe.windows import Window

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A day of a stream of which the lake and the server differ, in plain bytes.

    ``windows`` are the keys of the windows that the day lies in: those to run again.
    """

    participant: str
    day: date
    stream: str
    server_bytes: int
    lake_bytes: int
    windows: tuple[str, ...]


@dataclass
class Coverage:
    """What was compared. ``days`` counts participant, day and stream with anything on either side.

    ``gaps`` are what the lake lacks, ``surplus`` what only the lake (still) has. ``stray_bytes`` lie outside all
    windows, by participant. Days cut by the first or last window's edge can't be compared and are not counted.
    """

    days: int = 0
    server_bytes: int = 0
    lake_bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)
    surplus: list[Gap] = field(default_factory=list)
    stray_bytes: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.gaps

    @property
    def partitions(self) -> list[str]:
        """Partition keys to run again, sorted."""
        return sorted({f"{gap.participant}|{window}" for gap in self.gaps for window in gap.windows})


def measure_coverage(
    lake: StudyLake,
    daily: DailyIndex,
    *,
    participants: Iterable[str],
    windows: Sequence[Window],
    streams: Collection[str],
) -> Coverage:
    """Compare the windows (consecutive, oldest first) of participants. Raises ``IntegrityError`` for bad manifests."""
    result = Coverage()
    if windows:
        span = Window(windows[0].start, windows[-1].end)
        for participant in participants:
            keys = {window.key for window in windows}
            held = _held(lake, participant, keys, daily, streams)
            counted = daily.counts.get(participant, {})
            _compare(result, participant, counted, held, span=span, windows=windows, daily=daily, streams=streams)
    return result


def dirty_cells(
    daily: DailyIndex,
    committed: Mapping[str, str],
    *,
    participant: str,
    windows: Sequence[Window],
    streams: Collection[str],
) -> list[Cell]:
    """The windows of a participant whose counts have moved since they were committed.

    ``committed`` has the digest of the counts for each committed window; a window that was never committed, or has
    open holes, is dirty as soon as the server has anything in it.
    """
    counts = daily.counts.get(participant, {})
    cells = []
    for window in windows:
        known = committed.get(window.key)
        if not known and not any(counts.get(day) for day in daily.days_of(window)):
            continue
        if known != daily.digest(participant, window, streams):
            cells.append(Cell(participant, window))
    return cells


def _held(
    lake: StudyLake, participant: str, keys: Collection[str], daily: DailyIndex, streams: Collection[str]
) -> dict[tuple[date, str], int]:
    """Plain bytes in the lake by local day and stream, of what the server had when it was last looked at."""
    held: dict[tuple[date, str], int] = {}
    for key in lake.windows(participant):
        manifest = lake.manifest(participant, key) if key in keys else None
        for record in manifest.files if manifest else ():
            if record.present and record.stream in streams:
                place = (daily.day_of(record.moment), record.stream)
                held[place] = held.get(place, 0) + record.size_bytes
    return held


def _compare(
    result: Coverage,
    participant: str,
    counted: Mapping[date, Mapping[str, int]],
    held: Mapping[tuple[date, str], int],
    *,
    span: Window,
    windows: Sequence[Window],
    daily: DailyIndex,
    streams: Collection[str],
) -> None:
    places = {(day, stream) for day, sizes in counted.items() for stream in sizes if stream in streams} | held.keys()
    for day, stream in sorted(places):
        server_bytes, lake_bytes = counted.get(day, {}).get(stream, 0), held.get((day, stream), 0)
        hours = daily.hours_of(day, span)
        if hours is None:
            if server_bytes:
                result.stray_bytes[participant] = result.stray_bytes.get(participant, 0) + server_bytes
            continue
        if hours != daily.hours_of(day, Window(hours.start - _DAY, hours.end + _DAY)):
            continue
        result.days += 1
        result.server_bytes += server_bytes
        result.lake_bytes += lake_bytes
        if server_bytes != lake_bytes:
            gap = Gap(
                participant=participant,
                day=day,
                stream=stream,
                server_bytes=server_bytes,
                lake_bytes=lake_bytes,
                windows=tuple(
                    window.key for window in windows if window.start < hours.end and hours.start < window.end
                ),
            )
            (result.gaps if server_bytes > lake_bytes else result.surplus).append(gap)
