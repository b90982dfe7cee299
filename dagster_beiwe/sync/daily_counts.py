"""The server's byte counts per participant, day and stream: what one cheap request tells about a whole study.

A file counts to the day in which its hour starts, by the zone that the day's row names. Source: the server's
get-summary-statistics/v1, whose counts are the sums of the plain sizes of that day's files (936 of 937 cells compared
were equal to the byte; unchunked files that arrive alone may be counted late). There is one row per participant and
date. After a change of the study's zone, rows counted before it and after it lie side by side: a moment may belong to
two of them, or to none.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, tzinfo

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.sync.day_zones import DayHours, Span, StudyZones, day_hours, other_hours
from dagster_beiwe.windows import Window

_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_NEAR = (-2, -1, 0, 1, 2)
"""No two zones are more than 26 hours apart: a moment may be two dates further on in another one."""

_FORM = "3:"
_TAG, _PART = 2, 6  # characters of base 64: which stream, and with the hash of its counts


@dataclass(frozen=True)
class CountedDay:
    """One participant's calendar day: its hours, and what the server counts in them.

    ``row`` names the row (date and zone) that it comes from; it is empty for a day of which the server has none.
    ``zone`` is what the row names, None if it does not.
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
        """Whether it is known which files the counts are of."""
        return bool(self.row) and self.hours.certain

    @property
    def whole_hours(self) -> Window:
        """The full hours in which files lie that are counted to the day.

        In zones offset by half an hour, the day before and the day itself share an hour: its hourly files belong to
        the former, what the phone opened in its second half to the latter.
        """
        return Window(_hour_of(self.hours.start), _hour_of(self.hours.end + _HOUR - timedelta(microseconds=1)))

    @property
    def reach(self) -> Window:
        """The full hours in which its files may lie: with the days beside it, if its hours are not known."""
        hours = self.whole_hours
        return hours if self.hours.exact else Window(hours.start - _DAY, hours.end + _DAY)

    def touches(self, window: Window) -> bool:
        """Whether files counted to it may lie in a window."""
        slack = timedelta(0) if self.hours.exact else _DAY
        return self.hours.start - slack < window.end and window.start < self.hours.end + slack

    def hours_in(self, window: Window) -> Window | None:
        """Its full hours that lie in a window, if any."""
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
    """Participants with a row that was not counted in the present zone."""
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
        """``zone`` is the study's at present, ``former`` what else it is known to have had; ``certain`` is False if the
        present one is a guess. Of ``uncounted`` streams the server tells no bytes, so that nothing follows from their
        having none here."""
        zones = StudyZones(zone, tuple(former), certain)
        days: dict[str, dict[date, CountedDay]] = {}
        mixed = set()
        for record in records:
            hours, present = (day_hours(zones, record.day, name) for name in (record.zone, None))
            if (hours.start, hours.end) != (present.start, present.end):
                mixed.add(record.participant)
            own = days.setdefault(record.participant, {})
            if record.day in own:  # servers have one row for each date
                hours = replace(hours, exact=False, certain=False)
            row = f"{record.day.isoformat()} {record.zone or zone}"
            own[record.day] = CountedDay(record.day, hours, record.bytes_by_stream, row, record.zone)
        return cls(zones, days, uncounted, frozenset(mixed))

    def days_of(self, participant: str, moment: datetime) -> tuple[CountedDay, ...]:
        """The days to which a file with this bin time is counted.

        A date without a row is a day by the present zone, of which nothing is counted. None where the date has a row
        that was counted in another zone, in which the moment is of no day: nobody counts it.
        """
        days = self.days.get(participant, {})
        present = self._dates.get(moment)
        if present is None:
            present = self._dates[moment] = moment.astimezone(self.zones.current).date()
        if participant in self._mixed:
            near = (days.get(present + number * _DAY) for number in _NEAR)
            if found := tuple(day for day in near if day and moment in day):
                return found
            return () if present in days else (self.day(participant, present),)
        return (self.day(participant, present),)

    def day(self, participant: str, day: date) -> CountedDay:
        """What the server counts of a participant's date; a day without counts where it has no row."""
        if counted := self.days.get(participant, {}).get(day):
            return counted
        blank = self._blank.get(day)
        if blank is None:
            blank = self._blank[day] = CountedDay(day, day_hours(self.zones, day, None), {})
        return blank

    def readings(self, day: CountedDay) -> tuple[Span, ...]:
        """The hours that a day's count may be of, the likeliest first."""
        others = other_hours(self.zones, day.day, day.zone) if day.row else ()
        return ((day.hours.start, day.hours.end), *others)

    def is_outdated(self, participant: str, day: CountedDay) -> bool:
        """Whether a day's count may lack what came since the study's zone changed.

        Then it was counted in a former zone, and shares hours with a day of another one: what changes in these hours is
        counted there alone.
        """
        if participant not in self._mixed or day.hours == day_hours(self.zones, day.day, None):
            return False
        near = (self.days[participant].get(day.day + number * _DAY) for number in _NEAR if number)
        return any(other.hours.start < day.hours.end and day.hours.start < other.hours.end for other in near if other)

    def counts_anything(self, participant: str) -> bool:
        """Whether the server counts any byte of a participant."""
        return any(any(day.sizes.values()) for day in self.days.get(participant, {}).values())

    def counts_after(self, participant: str, moment: datetime) -> bool:
        """Whether the server counts anything of a participant on days that begin later."""
        days = self.days.get(participant, {}).values()
        return any(day.hours.start >= moment and any(day.sizes.values()) for day in days)

    def expected_bytes(self, participant: str, window: Window) -> int:
        """About what a window holds: the sum of the days that overlap it."""
        return sum(sum(day.sizes.values()) for day in self.counted_days(participant, window) if day.hours_in(window))

    def digest(self, participant: str, window: Window, streams: Collection[str], secret: bytes) -> str:
        """A fingerprint of what is counted for the days that may overlap a window; it moves when any count does.

        It has a part for each stream that is counted, so that streams which come and go do not move it: see
        ``agrees``. Nobody can compare it with the server's counts without the participant's ``secret``.
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
        self, counted: str, participant: str, window: Window, streams: Collection[str], secret: bytes | None
    ) -> bool:
        """Whether a window's counts are those of an earlier fingerprint, as far as it is about these streams.

        A stream that was not asked for then agrees where nothing of it is counted.
        """
        if secret is None or not counted.startswith(_FORM):
            return False
        tags = {_tag(stream) for stream in streams}
        parts = [counted[start : start + _PART] for start in range(len(_FORM), len(counted), _PART)]
        same = _FORM + "".join(part for part in parts if part[:_TAG] in tags)
        return same == self.digest(participant, window, streams, secret)

    def counted_days(self, participant: str, window: Window) -> list[CountedDay]:
        """The days with a count that overlap a window, or may where their hours are not known; oldest first."""
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
