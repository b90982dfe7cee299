"""Files of raw data that were measured without a lake, and their days."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pandas as pd

from dagster_beiwe.quality.days import days_of
from dagster_beiwe.quality.measuring import Measurements
from dagster_beiwe.quality.participants import Measured
from dagster_beiwe.simulator.content import Recipe, ms_of, render

PERSON = "abcd1234"
NOON = datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SURVEY_STREAMS = ("survey_answers", "survey_timings")


@dataclass(frozen=True, kw_only=True)
class File:
    """A file as it lies in the lake: its content, and what its name tells."""

    stream: str
    time: datetime
    data: bytes
    survey: str = ""


def power_state(*moments: datetime) -> list[File]:
    """Files with one row at each of these moments, in the hours to which they belong."""
    by_hour: dict[datetime, list[datetime]] = {}
    for moment in sorted(moments):
        by_hour.setdefault(moment.replace(minute=0, second=0, microsecond=0), []).append(moment)
    return [File(stream="power_state", time=hour, data=rows_of(found)) for hour, found in by_hour.items()]


def rows_of(moments: Iterable[datetime]) -> bytes:
    """A file of ``power_state``, with its rows as they come."""
    lines = (f"{ms_of(each)},{each:%Y-%m-%dT%H:%M:%S}.{ms_of(each) % 1000:03d},Screen turned on" for each in moments)
    return "\n".join(["timestamp,UTC time,event", *lines]).encode()


def simulated(stream: str, *, time: datetime = NOON, rows: int = 60, os: str = "ANDROID") -> File:
    """A file as a phone sends it."""
    recipe = Recipe(
        seed=f"{stream}{time}",
        stream=stream,
        os=os,
        participant_id=PERSON,
        survey_id="",
        start_ms=ms_of(time),
        rows=rows,
    )
    return File(stream=stream, time=time, data=render(recipe))


def measure(files: Iterable[File]) -> Measured:
    """What is measured of files."""
    rows = []
    for number, file in enumerate(files):
        measurements = Measurements()
        measurements.add(number, file.data, stream=file.stream, time=file.time, survey=file.survey)
        minute = int(file.time.timestamp()) // 60
        rows.append(measurements.frame().assign(stream=file.stream, minute=minute, dated_ahead=0, unreadable_files=0))
    return Measured(participant=PERSON, rows=pd.concat(rows), files=len(rows), size_bytes=0, changed=True)


def days(files: Iterable[File], *, zone: str = "UTC") -> pd.DataFrame:
    """The days of files, all of whose streams are looked at, indexed by stream and day."""
    listed = list(files)
    streams = {*SURVEY_STREAMS, *(file.stream for file in listed)} - {"audio_recordings"}
    table = days_of([measure(listed)], ZoneInfo(zone), streams=streams)
    indexed: pd.DataFrame = table.assign(day=table["day"].dt.date).set_index(["stream", "day"])
    return indexed


def minutes_and_hours(table: pd.DataFrame) -> Iterator[tuple[date, int, int]]:
    """Day, valid minutes and valid hours, oldest day first."""
    for (_, day), row in table.sort_index().iterrows():
        yield day, int(row["valid_minutes"]), int(row["valid_hours"])
