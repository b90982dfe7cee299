"""The server's byte counts per participant, day, and stream, which one cheap request returns for a whole study.

A file counts toward the day in which its hour starts, in the time zone that the day's row names. Counts are the sums of
the plain sizes of the day's files, from get-summary-statistics/v1 (936 of 937 cells compared were equal to the byte;
unchunked files that arrive alone may be counted late). There is one row per participant and date. After a change of the
study's zone, rows from before and after it lie side by side, so a moment may belong to two of them, or to none.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, tzinfo
from functools import cache

from msgspec import Struct

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.sync.day_zones import DayHours, Span, StudyZones, day_hours, other_hours
from dagster_beiwe.windows import Window

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_NEAR = (-2, -1, 0, 1, 2)
"""No two zones are more than 26 hours apart, so a moment may be two dates later in another one."""

_FORM = "3:"
_TAG, _PART = 2, 6  # characters of base 64: which stream, and with the hash of its counts


class CountedDay(Struct, frozen=True, gc=False):
    """One participant's calendar day: its hours, and what the server counts in them.

    ``row`` names the server's row (date and zone); it is empty if there is none. ``zone`` is the zone that the row
    names, or None.
    """

    day: date
    hours: DayHours
    sizes: Mapping[str, int]
    row: str = ""
    zone: str | None = None

    def __contains__(self, moment: datetime) -> bool:
        return self.hours.start <= moment < self.hours.end

    @property
    def certain(self) -> bool:
        """Whether it is known which files the counts include."""
        return bool(self.row) and self.hours.certain

    @property
    def whole_hours(self) -> Window:
        """The full hours of files that are counted toward the day.

        In zones offset by half an hour, the day shares an hour with the day before: hourly files belong to the day
        before, and files that the phone opened in the hour's second half to the day itself.
        """
        return Window(_hour_of(self.hours.start), _hour_of(self.hours.end + _HOUR - timedelta(microseconds=1)))

    @property
    def reach(self) -> Window:
        """The full hours in which its files may lie, with the days beside it if its hours are not known."""
        hours = self.whole_hours
        return hours if self.hours.exact else Window(hours.start - _DAY, hours.end + _DAY)

    def touches(self, window: Window) -> bool:
        """Whether files counted toward it may lie in a window."""
        slack = timedelta(0) if self.hours.exact else _DAY
        return self.hours.start - slack < window.end and window.start < self.hours.end + slack

    def hours_in(self, window: Window) -> Window | None:
        """Its full hours in a window, if any."""
        return self.whole_hours.intersection(window)

    def reach_in(self, window: Window) -> Window | None:
        """The hours of a window in which its files may lie, if any."""
        return self.reach.intersection(window)


@dataclass(frozen=True)
class DailyIndex:
    """Daily byte counts of one study, by participant and date; made by ``of``."""

    zones: StudyZones
    days: Mapping[str, Mapping[date, CountedDay]]
    uncounted: frozenset[str] = frozenset()
    _mixed: frozenset[str] = frozenset()
    """Participants with a row that was not counted in the current zone."""
    _dates: dict[datetime, date] = field(default_factory=dict, repr=False, compare=False)
    _blank: dict[date, CountedDay] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        zone: tzinfo,
        records: Iterable[DailyBytes],
        *,
        former: Iterable[tzinfo] = (),
        certain: bool = True,
        uncounted: frozenset[str] = frozenset(),
    ) -> DailyIndex:
        """Index the server's rows.

        ``zone`` is the study's current zone, ``former`` are earlier ones; ``certain`` is False if the current one is a
        guess. The server does not count ``uncounted`` streams, so nothing follows from their absence.
        """
        zones = StudyZones(zone, tuple(former), certain)
        days: dict[str, dict[date, CountedDay]] = {}
        mixed = set()

        @cache
        def read(day: date, name: str | None) -> tuple[DayHours, str, bool]:
            """The hours of a row, its name, and whether they are those of the current zone: most people have it."""
            hours, current = day_hours(zones, day, name), day_hours(zones, day, None)
            row = f"{day.isoformat()} {name or zone}"
            return hours, row, (hours.start, hours.end) == (current.start, current.end)

        for record in records:
            hours, row, is_current = read(record.day, record.zone)
            if not is_current:
                mixed.add(record.participant)
            own = days.setdefault(record.participant, {})
            if record.day in own:  # servers have one row for each date
                hours = replace(hours, exact=False, certain=False)
            own[record.day] = CountedDay(record.day, hours, record.bytes_by_stream, row, record.zone)
        return cls(zones, days, uncounted, frozenset(mixed))

    def days_of(self, participant: str, moment: datetime) -> tuple[CountedDay, ...]:
        """The days toward which a file with this bin time is counted.

        A date without a row is a day of the current zone without counts. There is no day if the date has a row from
        another zone in which the moment belongs to another date: nothing counts it.
        """
        days = self.days.get(participant, {})
        current = self._dates.get(moment)
        if current is None:
            current = self._dates[moment] = moment.astimezone(self.zones.current).date()
        if participant in self._mixed:
            near = (days.get(current + number * _DAY) for number in _NEAR)
            if found := tuple(day for day in near if day and moment in day):
                return found
            return () if current in days else (self.day(participant, current),)
        return (self.day(participant, current),)

    def day(self, participant: str, day: date) -> CountedDay:
        """What the server counts of a participant's date; a day without counts if it has no row."""
        if counted := self.days.get(participant, {}).get(day):
            return counted
        blank = self._blank.get(day)
        if blank is None:
            blank = self._blank[day] = CountedDay(day, day_hours(self.zones, day, None), {})
        return blank

    def counts_in_other_zones(self, participant: str) -> bool:
        """Whether a row of a participant was not counted in the study's current zone."""
        return participant in self._mixed

    def readings(self, day: CountedDay) -> tuple[Span, ...]:
        """The hours that a day's count may cover, the likeliest first."""
        others = other_hours(self.zones, day.day, day.zone) if day.row else ()
        return ((day.hours.start, day.hours.end), *others)

    def is_outdated(self, participant: str, day: CountedDay) -> bool:
        """Whether a day's count may lack files that came after the study's zone changed.

        That is so if it was counted in a former zone and shares hours with a day of another one, because changes in
        these hours are counted there alone.
        """
        if participant not in self._mixed or day.hours == day_hours(self.zones, day.day, None):
            return False
        near = (self.days[participant].get(day.day + number * _DAY) for number in _NEAR if number)
        return any(other.hours.start < day.hours.end and day.hours.start < other.hours.end for other in near if other)

    def counts_anything(self, participant: str) -> bool:
        """Whether the server counts any bytes of a participant."""
        return any(any(day.sizes.values()) for day in self.days.get(participant, {}).values())

    def counts_after(self, participant: str, moment: datetime) -> bool:
        """Whether the server counts anything of a participant on days that begin later."""
        days = self.days.get(participant, {}).values()
        return any(day.hours.start >= moment and any(day.sizes.values()) for day in days)

    def expected_bytes(self, participant: str, window: Window) -> int:
        """About how much a window holds: the sum of the days that overlap it."""
        return sum(sum(day.sizes.values()) for day in self.counted_days(participant, window) if day.hours_in(window))

    def fingerprint(self, participant: str, window: Window, streams: Collection[str], secret: bytes) -> str:
        """The counts fingerprint of a window: a digest of the counts of days that may overlap it.

        It changes if any count does. It has one part per counted stream, so that ``agrees`` can ignore streams that
        come and go. Nobody can compare it with the server's counts without the participant's ``secret``.
        """
        counted: dict[str, list[tuple[str, int]]] = {}
        for day in self.counted_days(participant, window):
            for stream, size_bytes in day.sizes.items():
                if size_bytes and stream in streams:
                    counted.setdefault(stream, []).append((day.day.isoformat(), size_bytes))
        parts = (
            _tag(stream) + _short_hash(f"{stream}{sizes}".encode(), secret, _PART - _TAG)
            for stream, sizes in counted.items()
        )
        return _FORM + "".join(sorted(parts))

    def agrees(
        self, fingerprint: str, participant: str, window: Window, streams: Collection[str], secret: bytes | None
    ) -> bool:
        """Whether a window's counts are those of an earlier fingerprint, for these streams.

        A stream that was not requested then agrees if nothing of it is counted.
        """
        if secret is None or not fingerprint.startswith(_FORM):
            return False
        tags = {_tag(stream) for stream in streams}
        parts = [fingerprint[start : start + _PART] for start in range(len(_FORM), len(fingerprint), _PART)]
        same = _FORM + "".join(part for part in parts if part[:_TAG] in tags)
        return same == self.fingerprint(participant, window, streams, secret)

    def counted_days(self, participant: str, window: Window) -> list[CountedDay]:
        """The days with counts that overlap a window, or may because their hours are not known; oldest first."""
        days = self.days.get(participant, {})
        first = window.start.date() - 2 * _DAY
        length = (window.end.date() - first).days + 3
        if length > len(days):  # out-of-range windows span a century
            found: Iterable[CountedDay | None] = (days[day] for day in sorted(days))
        else:
            found = (days.get(first + number * _DAY) for number in range(length))
        return [day for day in found if day and day.sizes and day.touches(window)]


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _tag(stream: str) -> str:
    return _short_hash(stream.encode(), b"", _TAG)


def _short_hash(data: bytes, secret: bytes, length: int) -> str:
    return base64.urlsafe_b64encode(hmac.digest(secret, data, "sha256"))[:length].decode()
