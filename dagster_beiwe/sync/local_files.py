"""Files that are here already, outside the lake, and take part in a download of their windows.

They are staged before the first request, as if an archive had broken off after them. So the request lists their hashes,
and the server sends what differs and what is missing. What it does not send has the hash that was listed, or does not
exist on the server: for that, the daily counts have to account for it, or its hours are listed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from dagster_beiwe.cells import Cell
from dagster_beiwe.lake import FetchedFile, LakeWriter
from dagster_beiwe.streams import stream_named
from dagster_beiwe.sync.deletions import Ledger
from dagster_beiwe.sync.requests import DownloadRequest
from dagster_beiwe.sync.results import DownloadResult
from dagster_beiwe.windows import Window

_HOUR = timedelta(hours=1)
_AROUND = timedelta(hours=26)
"""A day of another time zone may begin or end so far from one that begins here."""


@dataclass(frozen=True)
class LocalSize:
    """Key, stream, bin time, and plain size of a file that is here."""

    key: str
    stream: str
    time: datetime
    size_bytes: int


class LocalFiles(Protocol):
    """Where files are that need not be downloaded if the server has the same."""

    def stage(self, cells: Sequence[Cell], writer: LakeWriter, held: Collection[str]) -> Mapping[str, FetchedFile]:
        """Files of consecutive windows by key, staged and not ``checked``, without those that the lake has ``held``.

        Only files whose content a server compares: survey answers are compared by their keys.
        """

    def sizes(self, participant: str, hours: Window) -> Iterable[LocalSize]:
        """What ``stage`` would stage of some hours."""

    def note(self, cells: Sequence[Cell], staged: Mapping[str, FetchedFile], result: DownloadResult) -> None:
        """What became of the staged files, once all requests for their windows are done."""

    def close(self) -> None:
        """End what was begun ahead. Called once, however the sync ends, before its writer is closed."""


def listed_key(file: FetchedFile) -> str:
    """The key under which a request lists a file.

    Servers leave out a recording whose key is listed, whatever its content, or whose SHA-1 is listed under any key. So
    one that was never compared is listed under a key that no file has.
    """
    return file.key if file.checked or stream_named(file.member.stream).chunked else f"{file.key}.local"


def not_sent(local: Mapping[str, FetchedFile], fetched_files: Mapping[str, FetchedFile]) -> dict[str, FetchedFile]:
    """The local files that no file from the server has replaced."""
    found = {key: (file, fetched_files.get(key)) for key, file in local.items()}
    return {key: file for key, (file, fetched) in found.items() if fetched and fetched.staged is file.staged}


def unproven(
    kept: Mapping[str, FetchedFile],
    ledger: Ledger,
    fetched_files: Mapping[str, FetchedFile],
    beside: Iterable[LocalSize],
) -> set[str]:
    """Keys of the ``kept`` files that the server's counts do not account for: it may not have them.

    They do if they count every byte that is here of a day and stream. An empty file adds nothing to a count, so it is
    never proven. ``beside`` are files of the hours around, which belong to the same days.
    """
    around: dict[tuple[date, str], int] = {}
    for size in beside:
        if size.key not in ledger.held:
            for day in ledger.daily.days_of(ledger.participant, size.time):
                around[day.day, size.stream] = around.get((day.day, size.stream), 0) + size.size_bytes
    proven: set[str] = set()
    for (date_, stream), (size_bytes, keys) in ledger.sums(fetched_files).items():
        day = ledger.daily.day(ledger.participant, date_)
        if day.certain and day.sizes.get(stream, 0) == size_bytes + around.get((date_, stream), 0):
            proven.update(keys)
    return {key for key, file in kept.items() if key not in proven or not file.staged.size_bytes}


def hours_beside(span: Window) -> tuple[Window, Window]:
    """The hours around consecutive windows in which files of the same days may lie."""
    return Window(span.start - _AROUND, span.start), Window(span.end, span.end + _AROUND)


def requests_for_files(
    participant: str, files: Iterable[FetchedFile], *, request_bytes: int
) -> Iterator[DownloadRequest]:
    """Requests for the hours of some files, each with about as many bytes. What lies between is listed as held."""
    group: list[FetchedFile] = []
    size_bytes = 0
    for file in sorted(files, key=lambda file: file.member.time):
        if group and size_bytes + file.staged.size_bytes > request_bytes:
            yield _request_around(participant, group)
            group, size_bytes = [], 0
        group.append(file)
        size_bytes += file.staged.size_bytes
    if group:
        yield _request_around(participant, group)


def _request_around(participant: str, files: Sequence[FetchedFile]) -> DownloadRequest:
    start, end = (files[at].member.time.replace(minute=0, second=0, microsecond=0) for at in (0, -1))
    streams = tuple(sorted({file.member.stream for file in files}))
    return DownloadRequest(participant, Window(start, end + _HOUR), streams)
