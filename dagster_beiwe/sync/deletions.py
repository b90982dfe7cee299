"""Distinguish files that were deleted upstream from files that the server has only lost. No side effects.

A file that is missing from an archive proves nothing. Since October 2025, a server leaves out an object that is lost
from its storage as silently as one that was deleted, and the lake may then have the last copy. But the server keeps
counting what it lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from dagster_beiwe.lake import FetchedFile, FileRecord
from dagster_beiwe.sync.daily_counts import CountedDay, DailyIndex
from dagster_beiwe.sync.requests import DownloadRequest
from dagster_beiwe.windows import Window

Place = tuple[date, str]
"""A counted day (the date of its row) and a stream."""


@dataclass(frozen=True)
class HeldFile:
    """A file that the lake holds of one day and stream.

    ``counted``: the day's row is known to have counted it. ``sent``: the server sent it now. Both with this content.
    """

    key: str
    size_bytes: int
    counted: bool
    sent: bool


def deleted_upstream(count: int, files: Iterable[HeldFile]) -> set[str]:
    """Keys of files that the server cannot have any more; ``count`` is its row's count of their day and stream.

    The server writes a row as a whole, from all files that it has at that moment. A file that was counted once stays in
    the count until it is deleted, whether its object can be read or not. So a file is deleted if files that were sent,
    and were counted before, account for every byte of the count, which leaves no room for it.

    | why else a file may not be sent | why that is ruled out |
    |---|---|
    | its object is lost | it would still be counted, and the count would be larger |
    | lost, and an uncounted file of the same size was sent | uncounted files do not account for bytes of the count |
    | lost, with another size since | however small, it would be counted |
    | lost before it was ever counted | it was counted before |
    | deleted, but the row was not written again, or it was the last file | the count is larger: nothing follows |
    | the row is missing or empty | from an empty count nothing follows |
    """
    held = list(files)
    accounted = sum(file.size_bytes for file in held if file.counted and file.sent)
    if not 0 < accounted == count:
        return set()
    return {file.key for file in held if file.counted and not file.sent}


@dataclass(frozen=True)
class Ledger:
    """The held files of a participant in and around some windows, and the server's counts of their days."""

    daily: DailyIndex
    participant: str
    held: Mapping[str, FileRecord]

    def deleted(self, not_sent: Collection[str], fetched_files: Mapping[str, FetchedFile]) -> set[str]:
        """The ``not_sent`` files that were deleted upstream. ``fetched_files`` are all files of their days."""
        found: set[str] = set()
        wanted = {place for key in not_sent if key in self.held for place in self._places(self.held[key])}
        for (date_, stream), files in self._by_place(self.held.values()).items():
            day = self.daily.day(self.participant, date_)
            if day.certain and (date_, stream) in wanted:
                counted = _counted_by(day.row, files)
                found |= deleted_upstream(
                    day.sizes.get(stream, 0),
                    (
                        HeldFile(
                            each.key, each.size_bytes, each.key in counted, _same(each, fetched_files.get(each.key))
                        )
                        for each in files
                    ),
                )
        return found & set(not_sent)

    def surplus(
        self, fetched_files: Mapping[str, FetchedFile], streams: Collection[str]
    ) -> list[tuple[CountedDay, str]]:
        """Days and streams of which the server counts less than before, apart from files that have just changed.

        Something may have been deleted there.
        """
        held = (
            record
            for key, record in self.held.items()
            if record.stream in streams and (key not in fetched_files or _same(record, fetched_files[key]))
        )
        found = []
        for (date_, stream), files in sorted(self._by_place(held).items()):
            day = self.daily.day(self.participant, date_)
            counted = _counted_by(day.row, files) if day.certain else set()
            if sum(each.size_bytes for each in files if each.key in counted) > day.sizes.get(stream, 0) > 0:
                found.append((day, stream))
        return found

    def contradicted(self, mislisted: Collection[str], fetched_files: Mapping[str, FetchedFile]) -> set[str]:
        """The ``mislisted`` files whose size does not fit the server's count of their day.

        The count is not the sum of the day's files then. Without a count, every size fits.
        """
        found = set()
        sums = self.sums(fetched_files) if mislisted else {}
        for key in mislisted & fetched_files.keys():
            member = fetched_files[key].member
            for day in self.daily.days_of(self.participant, member.time):
                count = day.sizes.get(member.stream, 0)
                if day.certain and count and count != sums[day.day, member.stream][0]:
                    found.add(key)
        return found

    def counted(self, fetched_files: Mapping[str, FetchedFile], deleted: Collection[str]) -> dict[str, str]:
        """{key: row} of files that their row is known to count: all of a day and stream, if the count is their sum.

        ``fetched_files`` replace what was held; ``deleted`` files are left out.
        """
        found: dict[str, str] = {}
        for (date_, stream), (size_bytes, keys) in self.sums(fetched_files, deleted).items():
            day = self.daily.day(self.participant, date_)
            if day.certain and size_bytes == day.sizes.get(stream, 0):
                found.update(dict.fromkeys(keys, day.row))
        return found

    def sums(
        self, fetched_files: Mapping[str, FetchedFile], deleted: Collection[str] = ()
    ) -> dict[Place, tuple[int, list[str]]]:
        """Bytes and keys of the files of each day and stream; ``fetched_files`` replace what was held."""
        files = {
            key: (record.moment, record.stream, record.size_bytes)
            for key, record in self.held.items()
            if record.present and key not in deleted
        }
        for key, fetched_file in fetched_files.items():
            files[key] = (fetched_file.member.time, fetched_file.member.stream, fetched_file.staged.size_bytes)
        found: dict[Place, tuple[int, list[str]]] = {}
        for key, (moment, stream, size_bytes) in files.items():
            for day in self.daily.days_of(self.participant, moment):
                known, keys = found.get((day.day, stream), (0, []))
                keys.append(key)
                found[day.day, stream] = (known + size_bytes, keys)
        return found

    def _by_place(self, records: Iterable[FileRecord]) -> dict[Place, list[FileRecord]]:
        found: dict[Place, list[FileRecord]] = {}
        for record in records:
            for place in self._places(record) if record.present else ():
                found.setdefault(place, []).append(record)
        return found

    def _places(self, record: FileRecord) -> Iterator[Place]:
        for day in self.daily.days_of(self.participant, record.moment):
            yield day.day, record.stream


def _counted_by(row: str, files: Iterable[FileRecord]) -> set[str]:
    """Keys of the files of a day and stream that its row is known to have counted.

    When the row was last seen to count everything that was held, that included files in a neighboring window, whose
    records such a commit does not write.
    """
    held = list(files)
    seen = max((each.counted_at for each in held if each.counted_in == row), default="")
    return {
        each.key
        for each in held
        # A file that another row counted was not counted in this one, whatever the row's hours are taken to be by now.
        if each.counted_in == row
        or (not each.counted_in and each.fetched_at < seen and not each.times_deleted_upstream)
    }


def _same(record: FileRecord, fetched_file: FetchedFile | None) -> bool:
    return fetched_file is not None and fetched_file.staged.sha256 == record.sha256


def requests_for_days(
    participant: str, places: Iterable[tuple[CountedDay, str]], *, request_bytes: int
) -> list[DownloadRequest]:
    """Requests for everything of some days and streams; consecutive days share a request if they fit into one."""
    streams: dict[date, tuple[CountedDay, list[str]]] = {}
    for day, stream in places:
        streams.setdefault(day.day, (day, []))[1].append(stream)
    found: list[DownloadRequest] = []
    size_bytes = 0
    for _, (day, names) in sorted(streams.items(), key=lambda item: item[1][0].hours.start):
        hours, named = day.whole_hours, tuple(names)
        expected = sum(day.sizes.get(name, 0) for name in named)
        last = found[-1] if found else None
        size_bytes += expected
        if last and last.streams == named and hours.start <= last.window.end and size_bytes <= request_bytes:
            found[-1] = DownloadRequest(participant, Window(last.window.start, max(last.window.end, hours.end)), named)
        else:
            found.append(DownloadRequest(participant, hours, named))
            size_bytes = expected
    return found


def requests_for_rest_of_days(
    daily: DailyIndex, participant: str, span: Window, not_sent: Iterable[FileRecord]
) -> list[DownloadRequest]:
    """Requests for the rest of the days of ``not_sent`` files, after all of ``span`` was requested."""
    places = {
        (day.whole_hours, record.stream) for record in not_sent for day in daily.days_of(participant, record.moment)
    }
    return [
        DownloadRequest(participant, part, (stream,))
        for hours, stream in sorted(places)
        for part in _outside(hours, span)
    ]


def _outside(hours: Window, span: Window) -> Sequence[Window]:
    """The parts of ``hours`` before and after ``span``."""
    parts = ((hours.start, min(hours.end, span.start)), (max(hours.start, span.end), hours.end))
    return [Window(start, end) for start, end in parts if start < end]
