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

_FORM = "2:"
_TAG, _PART = 4, 12  # hexadecimal digits: which stream, and with the hash of its counts


@dataclass(frozen=True)
class DailyIndex:
    """Daily byte counts of one study, by participant, day of the study's ``zone``, and stream.

    Where the zone is a guess, ``slack_days`` is 1: no two zones are more than about a day apart, so a file lies at most
    one day beside the day that it is counted to. Of ``uncounted`` streams the server tells no bytes, so that nothing
    follows from their having none here.
    """

    zone: tzinfo
    counts: Mapping[str, Mapping[date, Mapping[str, int]]]
    slack_days: int = 0
    uncounted: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        zone: tzinfo,
        records: Iterable[DailyBytes],
        *,
        slack_days: int = 0,
        uncounted: frozenset[str] = frozenset(),
    ) -> DailyIndex:
        counts: dict[str, dict[date, Mapping[str, int]]] = {}
        for record in records:
            counts.setdefault(record.participant, {})[record.day] = record.bytes_by_stream
        return cls(zone, counts, slack_days, uncounted)

    def bytes_of(self, participant: str, day: date, stream: str) -> int:
        """What the server has of a participant's day; 0 where it has nothing."""
        return self.counts.get(participant, {}).get(day, {}).get(stream, 0)

    def counts_anything(self, participant: str) -> bool:
        """Whether the server counts any byte of a participant."""
        return any(any(sizes.values()) for sizes in self.counts.get(participant, {}).values())

    def expected_bytes(self, participant: str, window: Window) -> int:
        """About what a window holds: the sum of the local days that overlap it."""
        days = self.counts.get(participant, {})
        return sum(sum(days[day].values()) for day in self._counted(participant, window, slack_days=0))

    def digest(self, participant: str, window: Window, streams: Collection[str]) -> str:
        """A fingerprint of what is counted for the days that may overlap a window; it moves when any count does.

        It has a part for each stream that is counted, so that streams which come and go do not move it: see
        ``agrees``.
        """
        days = self.counts.get(participant, {})
        counted: dict[str, list[tuple[str, int]]] = {}
        for day in self.counted_days(participant, window):
            for stream, size_bytes in days[day].items():
                if size_bytes and stream in streams:
                    counted.setdefault(stream, []).append((day.isoformat(), size_bytes))
        return _FORM + "".join(sorted(_tag(stream) + _short_hash(repr(sizes), 8) for stream, sizes in counted.items()))

    def agrees(self, counted: str, participant: str, window: Window, streams: Collection[str]) -> bool:
        """Whether a window's counts are those of an earlier fingerprint, as far as it is about these streams.

        A stream that was not asked for then agrees where nothing of it is counted.
        """
        tags = {_tag(stream) for stream in streams}
        parts = [counted[start : start + _PART] for start in range(len(_FORM), len(counted), _PART)]
        same = _FORM + "".join(part for part in parts if part[:_TAG] in tags)
        return counted.startswith(_FORM) and same == self.digest(participant, window, streams)

    def counted_days(self, participant: str, window: Window) -> list[date]:
        """The days with a count that overlap a window, or may where the zone is a guess; oldest first."""
        return self._counted(participant, window, slack_days=self.slack_days)

    def _counted(self, participant: str, window: Window, *, slack_days: int) -> list[date]:
        days = self.counts.get(participant, {})
        first = self.day_of(window.start) - timedelta(days=slack_days)
        last = self.day_of(window.end - timedelta(seconds=1)) + timedelta(days=slack_days)
        length = (last - first).days + 1
        if length > len(days):  # windows of strays have a hundred years
            return sorted(day for day in days if days[day] and first <= day <= last)
        return [day for number in range(length) if days.get(day := first + timedelta(days=number))]

    def reach_of(self, day: date, window: Window) -> Window | None:
        """The hours of a window in which files counted to a day may lie: with those of the days beside it, if the zone
        is a guess."""
        days = (day + timedelta(days=number) for number in range(-self.slack_days, self.slack_days + 1))
        found = [hours for hours in (self.hours_of(each, window) for each in days) if hours]
        return Window(found[0].start, found[-1].end) if found else None

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
            if stream not in self.uncounted
            and size_bytes > self.bytes_of(participant, day, stream)
            and self.hours_of(day, window)
        ]


def _tag(stream: str) -> str:
    return _short_hash(stream, _TAG)


def _short_hash(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _next_hour(moment: datetime) -> datetime:
    full = moment.replace(minute=0, second=0, microsecond=0)
    return full if full == moment else full + timedelta(hours=1)
