"""People whose lives are known, so that what an analysis finds can be compared with what happened.

They sleep at home, walk to work, to a third place, and back home, call and text three people, and answer a survey. What
the phone senses follows from that: GPS with its noise and pauses, acceleration of steps, logs, and sittings. The same
seed gives the same life.
"""

from __future__ import annotations

import base64
import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

Row = tuple[int, str]
"""Unix milliseconds (UTC), and the text after the time columns."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DAY, _HOUR, _MINUTE, _SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
_METERS_PER_DEGREE = 111_195.0
_WALKS = ((time(8), "home", "work", 20), (time(17), "work", "third", 15), (time(19), "third", "home", 15))
"""Hour of departure, from where, where to, and minutes on foot."""
_WALKING_METERS_PER_MINUTE = 75.0
_LATEST = 25
"""Departures are at most as many minutes later than planned, different ones each day."""
_WAKING_MINUTES = (9 * 60, 21 * 60)
_GPS_NOISE_METERS = 3.0
_STEP_G = 0.35
"""Amplitude of the steps' acceleration."""
_STILL_G = 0.01
_GRAVITY = 9.80665


@dataclass(frozen=True)
class Place:
    """A point in degrees."""

    latitude: float
    longitude: float

    def beyond(self, meters: float, *, bearing: float) -> Place:
        """The point that many meters away; the bearing in radians, clockwise from north."""
        scale = math.cos(math.radians(self.latitude))
        return Place(
            self.latitude + meters * math.cos(bearing) / _METERS_PER_DEGREE,
            self.longitude + meters * math.sin(bearing) / (_METERS_PER_DEGREE * scale),
        )


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A walk in a straight line; [``start``, ``end``), aware UTC."""

    start: datetime
    end: datetime
    origin: Place
    target: Place

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    def place_at(self, moment: datetime) -> Place:
        share = (moment - self.start) / (self.end - self.start)
        return Place(
            self.origin.latitude + share * (self.target.latitude - self.origin.latitude),
            self.origin.longitude + share * (self.target.longitude - self.origin.longitude),
        )


@dataclass(frozen=True, kw_only=True)
class Contacted:
    """A call or a text: when (aware UTC), with whom (hashed), of which kind, and its seconds or letters."""

    at: datetime
    contact: str
    kind: str
    amount: int


@dataclass(frozen=True, kw_only=True)
class Sitting:
    """A survey that was answered, from its first question to its submission (aware UTC)."""

    opened: datetime
    submitted: datetime


@dataclass(frozen=True, kw_only=True)
class Day:
    """What happened on a day in the study's zone. ``start`` and ``end`` are its midnights, aware UTC."""

    start: datetime
    end: datetime
    walks: tuple[Walk, ...]
    calls: tuple[Contacted, ...]
    texts: tuple[Contacted, ...]
    sitting: Sitting

    @property
    def home_seconds(self) -> float:
        """At home: until the first walk, and after the last."""
        return (self.walks[0].start - self.start + (self.end - self.walks[-1].end)).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Life:
    """One person's life. ``cadence`` is in steps per second; the sensors are on and off for so many seconds.

    The phone rests while its owner does: acceleration is recorded only in hours with a walk.
    """

    seed: str
    zone: str
    home: Place
    work: Place
    third: Place
    cadence: float
    contacts: tuple[str, ...]
    gps_on: int
    gps_off: int
    accelerometer_on: int
    accelerometer_off: int
    accelerometer_hertz: int

    @classmethod
    def of(cls, seed: str, *, zone: str, settings: Mapping[str, Any]) -> Life:
        """The life that follows from a seed, sensed as a study's device settings say."""
        rng = random.Random(f"{seed}/life")
        home, bearing = Place(42.35 + rng.uniform(-0.05, 0.05), -71.1 + rng.uniform(-0.05, 0.05)), rng.uniform(0, 6.28)
        work = home.beyond(20 * _WALKING_METERS_PER_MINUTE, bearing=bearing)
        return cls(
            seed=seed,
            zone=zone,
            home=home,
            work=work,
            # Fifteen minutes from home and from work, which are twenty apart.
            third=home.beyond(15 * _WALKING_METERS_PER_MINUTE, bearing=bearing + math.acos(10 / 15)),
            cadence=round(rng.uniform(1.65, 2.0), 2),
            contacts=tuple(_hashed(f"{seed}/contact/{number}") for number in range(3)),
            gps_on=settings["gps_on_duration_seconds"],
            gps_off=settings["gps_off_duration_seconds"],
            accelerometer_on=settings["accelerometer_on_duration_seconds"],
            accelerometer_off=settings["accelerometer_off_duration_seconds"],
            accelerometer_hertz=settings["accelerometer_frequency"],
        )

    def day(self, day: date) -> Day:
        return _day(self, day)

    def days(self, start: datetime, end: datetime) -> Iterator[Day]:
        """The days in the study's zone that have a part in [``start``, ``end``)."""
        first, last = (moment.astimezone(ZoneInfo(self.zone)).date() for moment in (start, end))
        yield from (self.day(first + number * _DAY) for number in range((last - first).days + 1))

    def walk_at(self, moment: datetime) -> Walk | None:
        day = self.day(moment.astimezone(ZoneInfo(self.zone)).date())
        return next((walk for walk in day.walks if walk.start <= moment < walk.end), None)

    def place_at(self, moment: datetime) -> Place:
        day = self.day(moment.astimezone(ZoneInfo(self.zone)).date())
        last = next((walk for walk in reversed(day.walks) if walk.start <= moment), None)
        if last is None:
            return self.home
        return last.place_at(moment) if moment < last.end else last.target

    def sensed_seconds(self, walk: Walk) -> int:
        """The seconds of a walk in which the accelerometer is on."""
        hours = (_hour(walk.start) + number * _HOUR for number in range(3))
        sensed = (each for hour in hours for each in _sensed(hour, self.accelerometer_on, self.accelerometer_off))
        return sum(walk.start <= moment < walk.end for moment in sensed)


def moments(life: Life, stream: str, start: datetime, end: datetime) -> Iterator[datetime]:
    """When files of a lived stream begin, in [``start``, ``end``): full hours, and the submissions of answers."""
    if stream == "survey_answers":
        found = {day.sitting.submitted for day in life.days(start, end)}
    elif stream == "gps":
        found = {start + number * _HOUR for number in range(math.ceil((end - start) / _HOUR))}
    else:
        found = {_hour(moment) for day in life.days(start, end) for moment in _MOMENTS[stream](day)}
    yield from (moment for moment in sorted(found) if start <= moment < end)


def sitting_in(life: Life, hour: datetime) -> Sitting:
    """The survey that was submitted in an hour. Raises ``StopIteration`` if none was."""
    return next(day.sitting for day in life.days(hour, hour) if _hour(day.sitting.submitted) == hour)


def rows(life: Life, stream: str, hour: datetime) -> Iterator[Row]:
    """The rows of an hour of a lived stream, except for those of surveys, in order of time."""
    yield from _ROWS[stream](life, hour)


def _gps(life: Life, hour: datetime) -> Iterator[Row]:
    rng = random.Random(f"{life.seed}/gps/{hour}")
    for moment in _sensed(hour, life.gps_on, life.gps_off):
        place = life.place_at(moment).beyond(abs(rng.gauss(0, _GPS_NOISE_METERS)), bearing=rng.uniform(0, 6.28))
        accuracy = rng.uniform(4, 15)
        yield _ms(moment), f"{place.latitude:.8f},{place.longitude:.8f},{rng.uniform(10, 12):.4f},{accuracy:.3f}"


def _accelerometer(life: Life, hour: datetime) -> Iterator[Row]:
    rng, step = random.Random(f"{life.seed}/accelerometer/{hour}"), 1000 // life.accelerometer_hertz
    for moment in _sensed(hour, life.accelerometer_on, life.accelerometer_off):
        amplitude, begin = _STEP_G if life.walk_at(moment) else 0.0, _ms(moment)
        for ms in range(begin, begin + 1000, step):
            x, y = rng.gauss(0, _STILL_G), rng.gauss(0, _STILL_G)
            z = 1 + amplitude * math.sin(2 * math.pi * life.cadence * (ms % 86_400_000) / 1000) + rng.gauss(0, _STILL_G)
            yield ms, f"unknown,{x * _GRAVITY:.8f},{y * _GRAVITY:.8f},{z * _GRAVITY:.8f}"


def _calls(life: Life, hour: datetime) -> Iterator[Row]:
    for day in life.days(hour, hour):
        for call in day.calls:
            if _hour(call.at) == hour:
                yield _ms(call.at), f"{call.contact},{call.kind},{call.amount}"


def _texts(life: Life, hour: datetime) -> Iterator[Row]:
    for day in life.days(hour, hour):
        for text in day.texts:
            if _hour(text.at) == hour:
                yield _ms(text.at), f"{text.contact},{text.kind},{text.amount},{_ms(text.at) - 1500}"


_ROWS: Mapping[str, Callable[[Life, datetime], Iterator[Row]]] = {
    "accelerometer": _accelerometer,
    "calls": _calls,
    "gps": _gps,
    "texts": _texts,
}

_MOMENTS: Mapping[str, Callable[[Day], list[datetime]]] = {
    "accelerometer": lambda day: [moment for walk in day.walks for moment in (walk.start, walk.end - _SECOND)],
    "calls": lambda day: [call.at for call in day.calls],
    "survey_timings": lambda day: [day.sitting.submitted],
    "texts": lambda day: [text.at for text in day.texts],
}

LIVED_STREAMS = frozenset(("gps", "survey_answers", *_MOMENTS))
"""The streams that follow from a life. All others hold what they always hold."""


@lru_cache(maxsize=256)
def _day(life: Life, day: date) -> Day:
    rng, zone = random.Random(f"{life.seed}/{day}"), ZoneInfo(life.zone)

    def at(clock: time, later: timedelta) -> datetime:
        return (datetime.combine(day, clock, zone).astimezone(timezone.utc)) + later

    places = {"home": life.home, "work": life.work, "third": life.third}
    walks = []
    for departure, origin, target, minutes in _WALKS:
        start = at(departure, rng.randint(0, _LATEST) * _MINUTE)
        end = start + minutes * _MINUTE
        walks.append(Walk(start=start, end=end, origin=places[origin], target=places[target]))

    def contacted(kinds: tuple[str, ...], amounts: tuple[int, int]) -> tuple[Contacted, ...]:
        minutes = sorted(rng.sample(range(*_WAKING_MINUTES), len(kinds)))
        return tuple(
            Contacted(
                at=at(time(), minute * _MINUTE + rng.randrange(60) * _SECOND),
                contact=rng.choice(life.contacts),
                kind=kind,
                amount=0 if kind == "Missed Call" else rng.randint(*amounts),
            )
            for minute, kind in zip(minutes, rng.sample(kinds, len(kinds)), strict=True)
        )

    calls = (
        *("Incoming Call",) * rng.randint(1, 3),
        *("Outgoing Call",) * rng.randint(1, 2),
        *("Missed Call",) * rng.randint(0, 1),
    )
    texts = (*("sent SMS",) * rng.randint(2, 6), *("received SMS",) * rng.randint(2, 6))
    opened = at(time(20, 5), rng.randint(0, 40) * _MINUTE)
    return Day(
        start=at(time(), 0 * _MINUTE),
        end=datetime.combine(day + _DAY, time(), zone).astimezone(timezone.utc),
        walks=tuple(walks),
        calls=contacted(calls, (30, 600)),
        texts=contacted(texts, (2, 160)),
        sitting=Sitting(opened=opened, submitted=opened + rng.randint(60, 180) * _SECOND),
    )


def _sensed(hour: datetime, on: int, off: int) -> Iterator[datetime]:
    """The seconds of an hour in which a sensor is on."""
    first = _ms(hour) // 1000
    return (hour + number * _SECOND for number in range(3600) if (first + number) % (on + off) < on)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _hashed(text: str) -> str:
    return base64.b64encode(hashlib.md5(text.encode(), usedforsecurity=False).digest()).decode()
