"""Decide what to ask for in one request, and how to cut what failed. No side effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dagster_beiwe.cells import Cell
from dagster_beiwe.lake import FileRecord
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.registry import base64_of, registry_hash
from dagster_beiwe.sync.results import FetchPolicy
from dagster_beiwe.windows import Window

_NO_SHA1 = base64_of(bytes(20).hex())

Estimate = Callable[[str, Window], int | None]
"""Plain bytes that the server is expected to have of a participant in a window; None if nobody knows."""


@dataclass(frozen=True)
class DownloadRequest:
    """What one request asks for: a participant, consecutive hours, streams."""

    participant: str
    window: Window
    streams: tuple[str, ...]

    def halves(self) -> tuple[DownloadRequest, DownloadRequest] | None:
        """The request cut in two, by time down to one hour and then by streams; None if it can't be cut."""
        if times := self.window.halves():
            return replace(self, window=times[0]), replace(self, window=times[1])
        if len(self.streams) > 1:
            middle = len(self.streams) // 2
            return replace(self, streams=self.streams[:middle]), replace(self, streams=self.streams[middle:])
        return None

    def covers(self, moment: datetime, stream: str) -> bool:
        return moment in self.window and stream in self.streams


def stretches(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """The cells of each participant in runs of windows that follow one another without a gap."""
    current: list[Cell] = []
    for cell in sorted(set(cells)):
        if current and (cell.participant, cell.window.start) != (current[-1].participant, current[-1].window.end):
            yield current
            current = []
        current.append(cell)
    if current:
        yield current


def next_cells(cells: Sequence[Cell], estimate: Estimate, guess_hours: int, policy: FetchPolicy) -> list[Cell]:
    """The first cells of a stretch that fit into one request; always at least one.

    ``guess_hours`` bounds the length where the estimate knows nothing.
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
    """How many hours to ask for next, after ``hours`` held ``size_bytes``; grows at most eightfold."""
    fitting = hours * policy.request_bytes // size_bytes if size_bytes else policy.longest_request_hours
    return max(1, min(fitting, previous_guess * 8, policy.longest_request_hours))


def registry_of(records: Iterable[FileRecord], request: DownloadRequest) -> dict[str, str]:
    """What to tell the server about files already held: short key and base64 SHA-1 of the plain bytes.

    The MD5 of the same bytes where the server knows the file by that only, if it is recorded. Files that were deleted
    upstream are left out, so that they come again if they are back. Only files inside the request: the rest would be
    ballast.
    """
    return {
        record.key: registry_hash(record.known_by, record)
        for record in records
        if record.present and request.covers(record.moment, record.stream)
    }


def registry_asking_for_sha1(study_id: str, request: DownloadRequest) -> dict[str, str]:
    """What to tell the server where nothing is held: an hourly file with a hash that no content has.

    It keeps nothing out, also if there is such a file. To a request that lists anything, servers since 2025-12 answer
    the SHA-1 of every file; to others the MD5 of hourly files, and nothing of recordings and survey answers.
    """
    stream = next((name for name in request.streams if stream_named(name).chunked), "accelerometer")
    return {f"{study_id}/{request.participant}/{stream}/{request.window.start:%Y-%m-%dT%H:%M:%S}.csv": _NO_SHA1}


def registry_size(registry: Mapping[str, str]) -> int:
    """About the bytes that a registry takes in a form, where ``/``, ``:`` and ``"`` become three each."""
    return sum(len(key) + len(value) + 45 for key, value in registry.items())
