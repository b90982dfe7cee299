"""Which hours a counted day has: found from the zone that the server's row names. No side effects.

The server does not count a day again when a study's zone changes, so each row names the zone it was counted in, by the
abbreviation at the end of the day (``EDT``). Zones share abbreviations (``IST`` is three), so it is looked up among the
zones that the study is known to have had.
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
    """The zones that a study is known to have had; ``certain`` is False where the ``current`` one is a guess."""

    current: tzinfo
    former: tuple[tzinfo, ...] = ()
    certain: bool = True

    @property
    def known(self) -> tuple[tzinfo, ...]:
        return (self.current, *self.former)


@dataclass(frozen=True)
class DayHours:
    """When a counted day begins and ends.

    Where that is not ``exact`` it is the likeliest of several readings. It is ``certain`` if it is exact, and by a zone
    that the study is known to have had.
    """

    start: datetime
    end: datetime
    exact: bool
    certain: bool


@lru_cache(maxsize=65536)
def day_hours(zones: StudyZones, day: date, name: str | None) -> DayHours:
    """The hours of a day whose row names a zone, or does not (None): then it is the present one.

    The zones of that name that the study is known to have had are asked first. If there is none, all zones of the world
    are: most names have one meaning. Where there is no answer at all, it is taken as the present zone. A name that has
    more than one meaning in the world is certain only if the present zone is.
    """
    present = local_day(day, zones.current)
    if name is None:
        return DayHours(*present, exact=zones.certain, certain=zones.certain)
    known = _readings(day, name, zones.known)
    readings = known or _readings(day, name, _every_zone())
    certain = len(known) == 1 and (zones.certain or len(_readings(day, name, _every_zone())) == 1)
    return DayHours(*(readings or [present])[0], exact=len(readings) == 1, certain=certain)


@lru_cache(maxsize=65536)
def other_hours(zones: StudyZones, day: date, name: str | None) -> tuple[Span, ...]:
    """What else a day's row may mean: any zone of its name, and the study's other zones, since a stream without files
    on the newly counted day keeps its older count."""
    hours = day_hours(zones, day, name)
    spans = [local_day(day, zone) for zone in zones.known]
    if name is not None:
        spans += _readings(day, name, _every_zone())
    return tuple(span for span in dict.fromkeys(spans) if span != (hours.start, hours.end))


def _readings(day: date, name: str, zones: tuple[tzinfo, ...]) -> list[Span]:
    """The different spans of the day in those of the zones that have this name then."""
    moment = datetime.combine(day, time.max)
    return list(dict.fromkeys(local_day(day, zone) for zone in zones if zone.tzname(moment) == name))


@lru_cache(maxsize=1)
def _every_zone() -> tuple[tzinfo, ...]:
    return tuple(ZoneInfo(name) for name in sorted(available_timezones()))
