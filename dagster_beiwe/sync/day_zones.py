"""Find which hours a counted day covers, from the zone that the server's row names. No side effects.

The server does not count a day again when a study's time zone changes, so each row names the zone in which it was
counted, by its abbreviation at the end of the day (``EDT``). Zones share abbreviations (``IST`` is three zones), so the
abbreviation is looked up among the zones that the study is known to have had.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from dagster_beiwe.windows import local_day

Span = tuple[datetime, datetime]
"""First and last-plus-one moment of a day, in UTC."""


@dataclass(frozen=True)
class StudyZones:
    """The zones that a study is known to have had; ``certain`` is False if the ``current`` one is a guess."""

    current: tzinfo
    former: tuple[tzinfo, ...] = ()
    certain: bool = True

    @property
    def known(self) -> tuple[tzinfo, ...]:
        return (self.current, *self.former)


@dataclass(frozen=True)
class DayHours:
    """When a counted day begins and ends.

    If that is not ``exact``, it is the likeliest of several readings. It is ``certain`` if it is exact and the study is
    known to have had the zone.
    """

    start: datetime
    end: datetime
    exact: bool
    certain: bool


@lru_cache(maxsize=65536)
def day_hours(zones: StudyZones, day: date, name: str | None) -> DayHours:
    """The hours of a day whose row names a zone. Without a name (None), it is the current zone.

    The name is looked up among the zones that the study is known to have had, then among all zones of the world, since
    most names have one meaning. If that fails, too, the current zone is used. A name with more than one meaning in the
    world is certain only if the current zone is.
    """
    current = local_day(day, zones.current)
    if name is None:
        return DayHours(*current, exact=zones.certain, certain=zones.certain)
    known = _readings(day, name, zones.known)
    readings = known or _readings(day, name, _every_zone())
    certain = len(known) == 1 and (zones.certain or len(_readings(day, name, _every_zone())) == 1)
    return DayHours(*(readings or [current])[0], exact=len(readings) == 1, certain=certain)


@lru_cache(maxsize=65536)
def other_hours(zones: StudyZones, day: date, name: str | None) -> tuple[Span, ...]:
    """Other readings of a day's row: any zone of its name, and the study's other zones.

    The latter because a stream without files on the newly counted day keeps its older count.
    """
    hours = day_hours(zones, day, name)
    spans = [local_day(day, zone) for zone in zones.known]
    if name is not None:
        spans += _readings(day, name, _every_zone())
    return tuple(span for span in dict.fromkeys(spans) if span != (hours.start, hours.end))


def _readings(day: date, name: str, zones: tuple[tzinfo, ...]) -> list[Span]:
    """The different spans of the day in the zones that have this name then."""
    moment = datetime.combine(day, time.max)
    return list(dict.fromkeys(local_day(day, zone) for zone in zones if zone.tzname(moment) == name))


@lru_cache(maxsize=1)
def _every_zone() -> tuple[tzinfo, ...]:
    return tuple(ZoneInfo(name) for name in sorted(available_timezones()))
