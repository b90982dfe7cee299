"""Time windows: the second dimension of ``raw_data``'s partitions.

A window is half-open, [start, end), in UTC, and aligned to full hours, because the server matches the hour to which a
file belongs and not the rows inside it. Only ``server_time_range`` makes the server's inclusive end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Literal, get_args

from dagster_beiwe.errors import ConfigurationError, TimeRangeError

Granularity = Literal["daily", "weekly", "monthly"]
GRANULARITIES: tuple[str, ...] = get_args(Granularity)

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_FIRST = datetime(1900, 1, 1, tzinfo=timezone.utc)
_LAST = datetime(2200, 1, 1, tzinfo=timezone.utc)
_WIRE_FORMAT = "%Y-%m-%dT%H:%M:%S"


@dataclass(frozen=True, order=True)
class Window:
    """The half-open time range [start, end) in UTC; ``key`` names it in partitions and in the lake.

    Only the two out-of-range windows have a ``name``, because their bounds change over time.

    Raises ``TimeRangeError`` for naive times, times inside an hour, and a start that is not before the end.
    """

    start: datetime
    end: datetime
    name: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("end", self.end)):
            if value.tzinfo is None:
                raise TimeRangeError(
                    f"The {name} {value.isoformat()} has no time zone. Add one, for instance datetime(..., "
                    "tzinfo=timezone.utc)."
                )
            object.__setattr__(self, name, value.astimezone(timezone.utc))
        for name, value in (("start", self.start), ("end", self.end)):
            if value.minute or value.second or value.microsecond:
                raise TimeRangeError(
                    f"The {name} {value.isoformat()} is not on the full hour. The server keeps one file per hour and "
                    "selects by the hour's start. Round it to a full hour in UTC."
                )
        if self.start >= self.end:
            raise TimeRangeError(
                f"The start {self.start.isoformat()} is not before the end {self.end.isoformat()}. Swap or correct "
                "them."
            )

    @property
    def key(self) -> str:
        """Its name, or the date on which it starts: ``YYYY-MM-DD``, with the hour if that is not midnight."""
        if self.name:
            return self.name
        return self.start.strftime("%Y-%m-%d" if self.start.hour == 0 else "%Y-%m-%dT%H")

    @property
    def hours(self) -> int:
        return int((self.end - self.start) / _HOUR)

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def intersection(self, other: Window) -> Window | None:
        """The hours that both windows have, if any."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Window(start, end) if start < end else None

    def halves(self) -> tuple[Window, Window] | None:
        """The window split in two at a full hour, or None for a single hour."""
        if self.hours < 2:
            return None
        middle = self.start + (self.hours // 2) * _HOUR
        return Window(self.start, middle), Window(middle, self.end)

    def split(self, hours: int) -> list[Window]:
        """The window split into consecutive parts of at most ``hours`` hours."""
        length = max(1, hours) * _HOUR
        starts = [self.start]
        while starts[-1] + length < self.end:
            starts.append(starts[-1] + length)
        return [Window(start, min(start + length, self.end)) for start in starts]


def check_granularity(value: str) -> Granularity:
    """``value`` if it names a window length; raises ``ConfigurationError`` otherwise."""
    for known in get_args(Granularity):
        if value == known:
            return known  # type: ignore[no-any-return]  # get_args() is untyped
    raise ConfigurationError(
        f"{value[:40]!r} is not a length of windows. Set `window` in the study's configuration to one of "
        f"{', '.join(GRANULARITIES)}."
    )


def start_of_key(key: str) -> datetime | None:
    """The start in a window's key; None for out-of-range windows, whose keys are names."""
    for form in ("%Y-%m-%d", "%Y-%m-%dT%H"):
        with suppress(ValueError):
            return datetime.strptime(key, form).replace(tzinfo=timezone.utc)
    return None


def order_of_key(key: str) -> tuple[int, str]:
    """A sort key for window keys, by time, with the out-of-range windows first and last."""
    return {"before": -1, "after": 1}.get(key, 0), key


def window_start(granularity: Granularity, moment: datetime) -> datetime:
    """Start of the window of an aware moment: midnight UTC of its day, Monday, or first of the month."""
    moment = moment.astimezone(timezone.utc)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if granularity == "weekly":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if granularity == "monthly" else day


def window_of(granularity: Granularity, moment: datetime) -> Window:
    """The window that holds an aware moment."""
    start = window_start(granularity, moment)
    if granularity == "monthly":
        return Window(start, (start + 32 * _DAY).replace(day=1))
    return Window(start, start + (7 * _DAY if granularity == "weekly" else _DAY))


def windows_between(granularity: Granularity, start: datetime, end: datetime) -> Iterator[Window]:
    """Every window that overlaps [start, end), oldest first."""
    window = window_of(granularity, start)
    while window.start < end:
        yield window
        window = window_of(granularity, window.end)


def out_of_range_windows(start: datetime, end: datetime) -> tuple[Window, Window]:
    """All time before ``start`` and from ``end`` on, for files of phones with a wrong clock."""
    return Window(_FIRST, start, name="before"), Window(end, _LAST, name="after")


def local_day(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """First and last-plus-one moment of a calendar day in a time zone, in UTC.

    The day has 23 or 25 hours if clocks change, and starts at half past an hour if the zone is offset by half an hour.
    The server's daily byte counts are per day of the study's zone.
    """
    start = datetime.combine(day, time(), zone)
    end = datetime.combine(day + _DAY, time(), zone)
    return start.astimezone(timezone.utc), end.astimezone(timezone.utc)


def server_time_range(window: Window) -> tuple[str, str]:
    """``time_start`` and ``time_end`` as the server wants them: naive UTC, whole seconds, both inclusive."""
    last_second = window.end - timedelta(seconds=1)
    return window.start.strftime(_WIRE_FORMAT), last_second.strftime(_WIRE_FORMAT)
