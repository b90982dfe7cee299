"""Compare what the lake holds with what the server counts, per participant, local day, and stream."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from functools import lru_cache

from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.sync.daily_counts import DailyIndex
from dagster_beiwe.sync.day_zones import Span
from dagster_beiwe.windows import Window


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A day of a stream on which the lake and the server differ, in plain bytes.

    ``windows`` are the keys of the windows in which the day lies, which need to run again. A day is ``cut`` if it
    begins before the first window or ends after the last one: what is missing may be in a window or out of range.
    """

    participant: str
    day: date
    stream: str
    server_bytes: int
    lake_bytes: int
    windows: tuple[str, ...]
    cut: bool = False


@dataclass
class Completeness:
    """The result of a comparison. ``days`` counts combinations of participant, day, and stream with data on either
    side.

    ``gaps`` are what the lake lacks in windows, ``surplus`` is what only the lake has. On days outside every window,
    the server counts ``out_of_range_bytes`` and the lake holds ``out_of_range_lake_bytes``; ``out_of_range`` are the
    days on which these differ. A day that is cut by the first or last window is compared as a whole, windows and
    out-of-range files together. ``not_compared`` are streams of which the lake has files, and that are not requested or
    that the server does not count.
    """

    days: int = 0
    server_bytes: int = 0
    lake_bytes: int = 0
    out_of_range_bytes: int = 0
    out_of_range_lake_bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)
    surplus: list[Gap] = field(default_factory=list)
    out_of_range: list[Gap] = field(default_factory=list)
    not_compared: set[str] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        return not self.gaps

    @property
    def partitions(self) -> list[str]:
        """Partition keys to run again, sorted."""
        return sorted({str(CellKey(gap.participant, window)) for gap in self.gaps for window in gap.windows})


def measure_completeness(
    lake: StudyLake,
    daily: DailyIndex,
    *,
    participants: Iterable[str],
    windows: Sequence[Window],
    streams: Collection[str],
) -> Completeness:
    """Compare the windows (consecutive, oldest first) of participants. A damaged manifest raises ``IntegrityError``."""
    result = Completeness()
    lake = lake.at()
    if windows:
        span = Window(windows[0].start, windows[-1].end)
        for participant in participants:
            held = _held(lake, participant, windows=windows, span=span, daily=daily, streams=streams)
            result.not_compared |= held.not_compared | daily.uncounted.intersection(streams)
            _compare(result, participant, held, span=span, windows=windows, daily=daily, streams=streams)
    return result


def dirty_cells(
    daily: DailyIndex,
    committed: Mapping[str, str],
    *,
    secret: bytes | None,
    participant: str,
    windows: Sequence[Window],
    streams: Collection[str],
) -> list[Cell]:
    """The windows of a participant whose counts have changed since they were committed.

    ``committed`` has each committed window's counts fingerprint, made with the participant's ``secret``. A window that
    was never committed, or is incomplete, is dirty as soon as the server has anything in it.
    """
    cells = []
    for window in windows:
        known = committed.get(window.key, "")
        if not known and not daily.counted_days(participant, window):
            continue
        if not daily.agrees(known, participant, window, streams, secret):
            cells.append(Cell(participant, window))
    return cells


_Sizes = dict[tuple[date, str], int]
"""Plain bytes by counted day and stream."""


@dataclass(frozen=True)
class _Held:
    """What the lake holds of a participant, in windows and outside all of them, without files deleted upstream.

    ``files`` are the bin time and size of every file, by stream, in order.
    """

    windows: _Sizes = field(default_factory=dict)
    out_of_range: _Sizes = field(default_factory=dict)
    not_compared: set[str] = field(default_factory=set)
    files: dict[str, list[tuple[datetime, int]]] = field(default_factory=dict)

    def explains(self, count: int, stream: str, readings: Iterable[Span], *, outdated: bool) -> bool:
        """Whether a count is right for some reading of its day; an ``outdated`` count may lack newer files."""
        files = self.files.get(stream, [])
        for start, end in readings:
            part = files[bisect_left(files, (start,)) : bisect_left(files, (end,))]
            size_bytes = sum(size_bytes for _, size_bytes in part)
            if size_bytes == count or (outdated and size_bytes > count):
                return True
        return False


def _held(
    lake: StudyLake,
    participant: str,
    *,
    windows: Sequence[Window],
    span: Window,
    daily: DailyIndex,
    streams: Collection[str],
) -> _Held:
    """Count each file once.

    A file in a window is no longer out of range; an out-of-range file whose window has begun in the meantime is not yet
    in that window. Windows from before a changed start of the study are out of range, too.
    """
    held = _Held()
    keys = {window.key for window in windows}
    for key, stream, moment, size_bytes in _present(lake, participant, keys):
        if stream not in streams or stream in daily.uncounted:
            held.not_compared.add(stream)
        elif key in keys or moment not in span:
            sizes = held.windows if key in keys else held.out_of_range
            held.files.setdefault(stream, []).append((moment, size_bytes))
            for day in daily.days_of(participant, moment):
                place = (day.day, stream)
                sizes[place] = sizes.get(place, 0) + size_bytes
    for files in held.files.values():
        files.sort()
    return held


def _present(lake: StudyLake, participant: str, windows: Collection[str]) -> Iterator[tuple[str, str, datetime, int]]:
    """Window, stream, bin time and plain size of each file that was not deleted upstream."""
    committed = lake.windows(participant)
    if all(key in windows for key in committed):  # no file is in two of them, and their sizes are all that is needed
        for each in lake.sizes(participant, windows):
            for number, seconds, size_bytes in zip(each.stream, each.seconds, each.size_bytes, strict=True):
                yield each.window, each.streams[number], _moment(seconds), size_bytes
        return
    known: set[str] = set()
    for key in sorted(committed, key=lambda key: key not in windows):
        manifest = lake.manifest(participant, key)
        for record in manifest.files if manifest else ():
            if record.key not in known:
                known.add(record.key)
                if record.present:
                    yield key, record.stream, record.moment, record.size_bytes


@lru_cache(maxsize=1 << 16)
def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _compare(
    result: Completeness,
    participant: str,
    held: _Held,
    *,
    span: Window,
    windows: Sequence[Window],
    daily: DailyIndex,
    streams: Collection[str],
) -> None:
    counted = {
        (day.day, stream)
        for day in daily.days.get(participant, {}).values()
        for stream in day.sizes
        if stream in streams
    }
    for date_, stream in sorted(counted | held.windows.keys() | held.out_of_range.keys()):
        day = daily.day(participant, date_)
        server_bytes = day.sizes.get(stream, 0)
        lake_bytes = held.windows.get((date_, stream), 0) + held.out_of_range.get((date_, stream), 0)
        if 0 < server_bytes != lake_bytes and held.explains(
            server_bytes, stream, daily.readings(day), outdated=daily.is_outdated(participant, day)
        ):
            lake_bytes = server_bytes
        hours = day.hours_in(span)
        if hours is None:
            result.out_of_range_bytes += server_bytes
            result.out_of_range_lake_bytes += lake_bytes
        else:
            result.days += 1
            result.server_bytes += server_bytes
            result.lake_bytes += lake_bytes
        if server_bytes == lake_bytes:
            continue
        reach = day.reach_in(span) if hours else None
        gap = Gap(
            participant=participant,
            day=date_,
            stream=stream,
            server_bytes=server_bytes,
            lake_bytes=lake_bytes,
            windows=tuple(window.key for window in windows if reach and window.intersection(reach)),
            cut=hours is not None and hours != day.whole_hours,
        )
        found = result.gaps if server_bytes > lake_bytes else result.surplus
        (found if hours else result.out_of_range).append(gap)
