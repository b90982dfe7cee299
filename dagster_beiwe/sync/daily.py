"""The server's byte counts per participant, day and stream: what one cheap request tells about a whole study.

A day is one of the study's time zone; a file counts to the day in which its hour starts. Source: the server's
get-summary-statistics/v1, whose counts are the sums of the plain sizes of that day's files (936 of 937 cells compared
were equal to the byte; unchunked files that arrive alone may be counted late).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.windows import Window, local_day


@dataclass(frozen=True)
class DailyIndex:
    """Daily byte counts of one study, by participant, day of the study's ``zone``, and stream."""

    zone: tzinfo
    counts: Mapping[str, Mapping[date, Mapping[str, int]]]

    @classmethod
    def of(cls, zone: tzinfo, records: Iterable[DailyBytes]) -> DailyIndex:
        counts: dict[str, dict[date, Mapping[str, int]]] = {}
        for record in records:
            counts.setdefault(record.participant, {})[record.day] = record.bytes_by_stream
        return cls(zone, counts)

    def bytes_of(self, participant: str, day: date, stream: str) -> int:
        """What the server has of a participant's day; 0 where it has nothing."""
        return self.counts.get(participant, {}).get(day, {}).get(stream, 0)

    def counts_anything(self, participant: str) -> bool:
        """Whether the server counts any byte of a participant."""
        return any(any(sizes.values()) for sizes in self.counts.get(participant, {}).values())

    def expected_bytes(self, participant: str, window: Window) -> int:
        """About what a window holds: the sum of the local days that overlap it."""
        days = self.counts.get(participant, {})
        return sum(sum(days[day].values()) for day in self.days_of(window) if day in days)

    def digest(self, participant: str, window: Window, streams: Collection[str]) -> str:
        """A short digest of what is counted for the days that overlap a window; it moves when any of them does."""
        days = self.counts.get(participant, {})
        counted = [
            (day.isoformat(), stream, size_bytes)
            for day in self.days_of(window)
            for stream, size_bytes in sorted(days.get(day, {}).items())
            if size_bytes and stream in streams
        ]
        return hashlib.sha256(repr(counted).encode()).hexdigest()[:16]

    def days_of(self, window: Window) -> list[date]:
        """The local days that overlap a window, oldest first."""
        first = window.start.astimezone(self.zone).date()
        last = (window.end - timedelta(seconds=1)).astimezone(self.zone).date()
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def day_of(self, moment: datetime) -> date:
        """The local day that a file with this bin time is counted to."""
        return moment.astimezone(self.zone).date()

    def day_hours(self, day: date) -> Window:
        """The full hours in which files lie that are counted to a local day.

        In zones offset by half an hour, the day before and the day itself share an hour: its hourly files belong to
        the former, what the phone opened in its second half to the latter.
        """
        start, end = local_day(day, self.zone)
        return Window(start.replace(minute=0, second=0), _next_hour(end))

    def hours_of(self, day: date, window: Window) -> Window | None:
        """The hours of a day that lie in a window, if any."""
        hours = self.day_hours(day)
        start, end = max(hours.start, window.start), min(hours.end, window.end)
        return Window(start, end) if start < end else None

    def shrunken(
        self, participant: str, files: Iterable[tuple[datetime, str, int]], window: Window
    ) -> list[tuple[date, str]]:
        """Days and streams of a window of which more is held than the server counts: something has vanished there.

        ``files`` are the bin time, stream and size of all that is held of the participant in and around the window.
        """
        held: dict[tuple[date, str], int] = {}
        for moment, stream, size_bytes in files:
            place = (self.day_of(moment), stream)
            held[place] = held.get(place, 0) + size_bytes
        return [
            (day, stream)
            for (day, stream), size_bytes in sorted(held.items())
            if size_bytes > self.bytes_of(participant, day, stream) and self.hours_of(day, window)
        ]


def _next_hour(moment: datetime) -> datetime:
    full = moment.replace(minute=0, second=0, microsecond=0)
    return full if full == moment else full + timedelta(hours=1)
