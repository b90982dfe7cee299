"""Plan: decide what to download in one request, and how to split a request that failed. No side effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dagster_beiwe.cells import Cell
from dagster_beiwe.retries import DOWNLOAD_ATTEMPTS
from dagster_beiwe.windows import Window

Estimate = Callable[[str, Window], int | None]
"""Plain bytes that the server is expected to have of a participant in a window; None if unknown."""


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """How much to download at a time. Sizes are plain bytes.

    A request covers a participant's consecutive hours: ``request_bytes`` if the size is known or can be guessed,
    ``first_request_hours`` if not, and never more than ``longest_request_hours``. It is sent ``attempts`` times before
    it is split. ``workers`` threads check and write files while the archive arrives. Small files are encrypted
    ``batch_bytes`` at a time, and at most ``buffer_bytes`` of them are held in memory. ``registry_bytes`` bounds the
    list of files already held, because proxies refuse request bodies over 1 MB. ``remove_deleted_upstream`` removes
    files that the daily counts prove to be deleted upstream, instead of keeping and marking them. In an object store,
    windows wait for those of the next participant to share a record, unless work on them began more than
    ``uncommitted_seconds`` ago: so much, and one participant's download, is at stake if the process dies. Progress is
    reported every ``progress_seconds``.
    """

    request_bytes: int = 256 * 1024 * 1024
    first_request_hours: int = 14 * 24
    longest_request_hours: int = 366 * 24
    attempts: int = DOWNLOAD_ATTEMPTS
    workers: int = 4
    batch_bytes: int = 64 * 1024 * 1024
    buffer_bytes: int = 96 * 1024 * 1024
    registry_bytes: int = 900_000
    remove_deleted_upstream: bool = False
    uncommitted_seconds: float = 10.0
    progress_seconds: float = 10.0


@dataclass(frozen=True)
class DownloadRequest:
    """What one request downloads: consecutive hours of one participant, and streams."""

    participant: str
    window: Window
    streams: tuple[str, ...]

    @classmethod
    def of_hour(cls, participant: str, moment: datetime, stream: str) -> DownloadRequest:
        """The full hour around a moment, of one stream."""
        hour = _hour_of(moment)
        return cls(participant, Window(hour, hour + timedelta(hours=1)), (stream,))

    def halves(self) -> tuple[DownloadRequest, DownloadRequest] | None:
        """The request split in two, by time down to one hour and then by streams; None if it cannot be split."""
        if times := self.window.halves():
            return replace(self, window=times[0]), replace(self, window=times[1])
        if len(self.streams) > 1:
            middle = len(self.streams) // 2
            return replace(self, streams=self.streams[:middle]), replace(self, streams=self.streams[middle:])
        return None

    def covers(self, moment: datetime, stream: str) -> bool:
        return moment in self.window and stream in self.streams

    def around(self, places: Iterable[tuple[datetime, str]]) -> DownloadRequest:
        """The smallest part of the request that covers these moments and streams."""
        moments, streams = zip(*places, strict=True)
        window = Window(_hour_of(min(moments)), _hour_of(max(moments)) + timedelta(hours=1))
        return replace(self, window=window, streams=tuple(stream for stream in self.streams if stream in streams))


def consecutive(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The cells of each participant in groups of windows that follow one another without a gap."""
    current: list[Cell] = []
    for cell in sorted(set(cells)):
        if current and (cell.participant, cell.window.start) != (current[-1].participant, current[-1].window.end):
            yield current
            current = []
        current.append(cell)
    if current:
        yield current


def next_cells(cells: Sequence[Cell], estimate: Estimate, guess_hours: int, policy: FetchPolicy) -> list[Cell]:
    """The first of some consecutive cells that fit into one request, at least one.

    ``guess_hours`` bounds the length if the estimate is unknown.
    """
    taken: list[Cell] = []
    hours = size_bytes = 0
    for cell in cells:
        expected = estimate(cell.participant, cell.window)
        hours += cell.window.hours
        size_bytes += expected or 0
        longest = policy.longest_request_hours if expected is not None else guess_hours
        if taken and (hours > longest or size_bytes > policy.request_bytes):
            break
        taken.append(cell)
    return taken


def requests_for(
    cells: Sequence[Cell], streams: tuple[str, ...], estimate: Estimate, policy: FetchPolicy
) -> list[DownloadRequest]:
    """The requests for consecutive cells: one, or several for a single window that is too large."""
    participant = cells[0].participant
    window = Window(cells[0].window.start, cells[-1].window.end)
    expected = estimate(participant, window) or 0
    count = -(-expected // policy.request_bytes)
    hours = -(-window.hours // max(1, count))
    return [DownloadRequest(participant, part, streams) for part in window.split(hours)]


def guess_hours(*, hours: int, size_bytes: int, previous_guess: int, policy: FetchPolicy) -> int:
    """How many hours to request next, after ``hours`` had ``size_bytes``; grows at most eightfold."""
    fitting = hours * policy.request_bytes // size_bytes if size_bytes else policy.longest_request_hours
    return max(1, min(fitting, previous_guess * 8, policy.longest_request_hours))


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
