"""The data of each workload: what the simulated server holds, at three scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Literal

from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.simulator.counts import CountedDay

Scale = Literal["full", "quick", "tiny"]

NOW = datetime(2025, 6, 2, tzinfo=timezone.utc)  # a Monday: weeks of data are weekly windows
RECORDING_BYTES = 1_500_000
MEMORY_RECORDING_BYTES = 5_000_000
WATCHED_BYTES = 50_000
COVERAGE_DAYS: Mapping[Scale, int] = {"full": 52 * 7, "quick": 8 * 7, "tiny": 7}
_ACCELEROMETER_ROWS = (3600, 5000, 6400, 7800, 9200, 10_600)  # 0.3 to 0.9 MB
_CACHE_BYTES = 2 * 1024**3
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A world and what clients are to fetch of it: streams in [start, end), of all participants of its only study.

    The server answers a request to a ``prepared`` route from memory if it was sent before. One that is ``hashed`` knows
    its files' SHA-1 from the start, as a real one does. ``costs`` are what its requests and files cost, as
    ``SimulatedServer`` takes them.
    """

    world: World
    streams: tuple[str, ...]
    start: datetime
    end: datetime = NOW
    prepared: tuple[str, ...] = ()
    hashed: bool = False
    costs: Mapping[str, Any] = field(default_factory=dict)


def build(workload: str, scale: Scale) -> Data:
    """The data of a workload; the same every time."""
    return _BUILDERS[workload](scale)


def sizes_of_memory(scale: Scale) -> Mapping[str, int]:
    """Megabytes of the archives whose memory is measured, by participant; ``one`` is a single recording."""
    small = {"mb10": 10, "mb50": 50, "mb100": 100, "one": 100}
    full = {"mb10": 10, "mb100": 100, "mb500": 500, "mb2000": 2000, "one": 500}
    return {"full": full, "quick": small, "tiny": {"one": 10}}[scale]


def _accelerometer(scale: Scale) -> Data:
    hours = {"full": 14 * 24, "quick": 48, "tiny": 2}[scale]
    return _hourly("accelerometer", hours, (40,) if scale == "tiny" else _ACCELEROMETER_ROWS)


def _gps(scale: Scale) -> Data:
    hours = {"full": 28 * 24, "quick": 5 * 24, "tiny": 2}[scale]
    return _hourly("gps", hours, (40,) if scale == "tiny" else (50, 120, 240, 480, 760, 1080))  # 4 to 90 kB


def _small(scale: Scale) -> Data:
    return _small_files(["small001"], scale, {"full": 28, "quick": 5, "tiny": 1}[scale])


def _small_files(participants: Sequence[str], scale: Scale, days: int) -> Data:
    """85 files a day of each participant."""
    start = NOW - days * _DAY
    world = _world(participants=participants)
    for participant in participants:
        for day in range(days):
            for stream, count in (("app_log", 24), ("bluetooth", 24), ("power_state", 24), ("wifi", 13)):
                for hour in range(count if scale != "tiny" else 2):
                    world.add_hour(participant, stream, start + day * _DAY + hour * _HOUR, rows=4)
    return Data(world=world, streams=("app_log", "bluetooth", "power_state", "wifi"), start=start)


def _audio(scale: Scale) -> Data:
    count = {"full": 150, "quick": 20, "tiny": 2}[scale]
    start = NOW - 14 * _DAY
    world = _world(participants=["audio001"], content=ContentPlan(audio_bytes=RECORDING_BYTES))
    for number in range(count):
        world.add_hour("audio001", "audio_recordings", start + 2 * number * _HOUR)
    return Data(world=world, streams=("audio_recordings",), start=start)


def _backfill(scale: Scale) -> Data:
    """60 days of data somewhere; the client is told no start."""
    days, hours = {"full": (60, range(24)), "quick": (60, range(12, 14)), "tiny": (2, range(1))}[scale]
    start = NOW - timedelta(days=100)
    plan = ParticipantPlan(id="start001", start=start, end=start + days * _DAY, hours=tuple(hours), streams=("gps",))
    return Data(world=_world(participants=[plan]), streams=("gps",), start=start)


def _refresh(scale: Scale) -> Data:
    people, days = {"full": (20, 28), "quick": (4, 14), "tiny": (1, 1)}[scale]
    start = NOW - days * _DAY
    plans = [
        ParticipantPlan(id=f"again{number:03d}", start=start, end=NOW, streams=("gps", "power_state"))
        for number in range(people)
    ]
    content = ContentPlan(rows_by_stream={"gps": 200, "power_state": 10})
    return Data(world=_world(participants=plans, content=content), streams=("gps", "power_state"), start=start)


def _memory(scale: Scale) -> Data:
    sizes = sizes_of_memory(scale)
    start = NOW - 28 * _DAY
    one = ContentPlan(audio_bytes=sizes["one"] * 1_000_000)
    plans = [ParticipantPlan(id=name, start=NOW) for name in sizes if name != "one"]
    alone = ParticipantPlan(
        id="one", start=start, end=start + _DAY, hours=(0,), streams=("audio_recordings",), content=one
    )
    world = _world(participants=[*plans, alone], content=ContentPlan(audio_bytes=MEMORY_RECORDING_BYTES))
    for plan in plans:
        for number in range(sizes[str(plan.id)] * 1_000_000 // MEMORY_RECORDING_BYTES):
            world.add_hour(str(plan.id), "audio_recordings", start + number * _HOUR)
    return Data(world=world, streams=("audio_recordings",), start=start)


def _reading(scale: Scale) -> Data:
    hours = {"full": 90 * 24, "quick": 10 * 24, "tiny": 3}[scale]
    return _hourly("accelerometer", hours, (40,) if scale == "tiny" else (2600, 3100, 3600))  # >= 500 MB in 90 days


REAL_COSTS: Mapping[str, float] = {"auth_seconds": 0.15, "file_seconds": 0.0035}
"""What a request, and each file of an archive, took a real server on two cores."""


def _month(scale: Scale) -> Data:
    """Four iPhones' months of all their data, with the same contents, from a server with real costs."""
    phones, days, share = {"full": (4, 31, 1.0), "quick": (4, 7, 0.2), "tiny": (1, 1, 0.001)}[scale]
    start = NOW - days * _DAY
    rows = {"accelerometer": 3500, "devicemotion": 400, "gyro": 550, "magnetometer": 400, "gps": 160}
    content = ContentPlan(
        rows_by_stream={stream: max(1, int(count * share)) for stream, count in rows.items()},
        audio_bytes=MEMORY_RECORDING_BYTES,
        shared=True,
    )
    streams = (
        *rows, "ios_log", "power_state", "proximity", "reachability",
        "survey_answers", "survey_timings", "audio_recordings",
    )  # fmt: skip
    plans = [
        ParticipantPlan(id=f"month{number:03d}", os="IOS", start=start, end=NOW, streams=streams)
        for number in range(phones)
    ]
    return Data(world=_world(participants=plans, content=content), streams=streams, start=start, costs=REAL_COSTS)


_COUNTS = ("/get-participant-data-quantities/v1", "/get-summary-statistics/v1")


def _coverage(scale: Scale) -> Data:
    """Participants of whom the server has counts alone: nobody asks for the files."""
    people, days = {"full": 300, "quick": 50, "tiny": 2}[scale], COVERAGE_DAYS[scale]
    start = NOW - days * _DAY
    world = _world(participants=[ParticipantPlan(id=f"cover{number:03d}", start=NOW) for number in range(people)])
    streams = ("accelerometer", "gps", "power_state", "wifi")
    for study in world.studies.values():
        for person in study.participants.values():
            person.created = person.first_registration = start
            person.counts = {
                (start + number * _DAY).date(): CountedDay(
                    zone=study.time_zone, sizes=dict.fromkeys(streams, 1_200_000)
                )
                for number in range(days)
            }
    return Data(world=world, streams=streams, start=start, prepared=_COUNTS)


def _lake_of_hours(scale: Scale) -> Data:
    """Several participants' accelerometer hours: enough that what is done once per study hardly counts."""
    people, hours = {"full": (8, 14 * 24), "quick": (2, 48), "tiny": (1, 2)}[scale]
    start = NOW - hours * _HOUR
    names = [f"hours{number:03d}" for number in range(people)]
    world = _world(participants=names, content=ContentPlan(shared=True))
    for name in names:
        for hour in range(hours):
            rows = 40 if scale == "tiny" else _ACCELEROMETER_ROWS[hour % len(_ACCELEROMETER_ROWS)]
            world.add_hour(name, "accelerometer", start + hour * _HOUR, rows=rows)
    return Data(world=world, streams=("accelerometer",), start=start, hashed=True)


def _lake_of_small(scale: Scale) -> Data:
    people, days = {"full": (8, 56), "quick": (2, 5), "tiny": (1, 1)}[scale]
    return replace(_small_files([f"small{number:03d}" for number in range(people)], scale, days), hashed=True)


def _watched(files_a_day: int, scale: Scale) -> Data:
    """Participants of whom the server has counts alone, until today: what is measured looks at the clock."""
    people, weeks = {"full": (500 if files_a_day == 1 else 50, 52), "quick": (50, 8), "tiny": (2, 2)}[scale]
    end = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=end.weekday(), weeks=weeks - 1)
    world = _world(participants=[f"watch{number:03d}" for number in range(people)], now=end, zone="UTC")
    for study in world.studies.values():
        for person in study.participants.values():
            person.created = person.first_registration = start
            person.counts = {
                (start + number * _DAY).date(): CountedDay(zone="UTC", sizes={"gps": files_a_day * WATCHED_BYTES})
                for number in range((end - start).days)
            }
    return Data(world=world, streams=("gps",), start=start, end=end, prepared=_COUNTS)


_BUILDERS: Mapping[str, Callable[[Scale], Data]] = {
    "accelerometer": _accelerometer,
    "gps": _gps,
    "small": _small,
    "audio": _audio,
    "backfill": _backfill,
    "refresh": _refresh,
    "memory": _memory,
    "reading": _reading,
    "coverage": _coverage,
    "month": _month,
    "lake of hours": _lake_of_hours,
    "lake of small": _lake_of_small,
    "watched, 1 a day": partial(_watched, 1),
    "watched, 24 a day": partial(_watched, 24),
}


def _hourly(stream: str, hours: int, rows: Sequence[int]) -> Data:
    """One participant's hours of one stream, whose files take turns in their numbers of rows."""
    start = NOW - hours * _HOUR
    world = _world(participants=["hours001"])
    for hour in range(hours):
        world.add_hour("hours001", stream, start + hour * _HOUR, rows=rows[hour % len(rows)])
    return Data(world=world, streams=(stream,), start=start)


def _world(
    *,
    participants: Sequence[str | ParticipantPlan],
    content: ContentPlan = ContentPlan(audio_bytes=20_000),  # noqa: B008
    now: datetime = NOW,
    zone: str = "America/New_York",
) -> World:
    """One study. Participants given by their ids alone have no data yet."""
    plans = [ParticipantPlan(id=one, start=now) if isinstance(one, str) else one for one in participants]
    study = StudyPlan(name="Benchmark", time_zone=zone, participants=plans, content=content)
    world = World.build(study, now=now, cache_bytes=_CACHE_BYTES)
    world.unchunked_lag = False  # recordings without sensor data stand for those of a study that has both
    return world
