"""The studies that are played: one with a real one's files and bytes, and two with fewer files of the same kinds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from benchmarks.cost.needs import Size
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World
from dagster_beiwe.sync import FetchPolicy

HOURLY = (
    "accelerometer", "app_log", "bluetooth", "devicemotion", "gps", "gyro", "ios_log", "magnetometer", "power_state",
    "proximity", "reachability", "wifi",
)  # fmt: skip
DAILY = ("calls", "survey_answers", "survey_timings", "texts")
STREAMS = (*HOURLY, *DAILY, "audio_recordings")
ROWS = {"accelerometer": 4100, "gyro": 950, "magnetometer": 450, "gps": 200, "wifi": 20}

WEEK_FILES, WEEK_BYTES = 1_450, 79_900_000
"""What a participant-week of such data has, of which thinner studies have a part."""

_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Played:
    """A study to play: its size, and how thin it is. The data begins ``days`` before the last two of the world.

    The limits of a request are as thin as the data, so that requests cover as many weeks as in a real study.
    """

    size: Size
    hours: tuple[int, ...] = tuple(range(24))
    rows: int | None = None
    rows_by_stream: Mapping[str, int] = field(default_factory=dict)
    audio_bytes: int = 300
    policy: FetchPolicy = field(default_factory=FetchPolicy)

    def world(self, now: datetime) -> World:
        """The data up to ``now``, a midnight. Participants have Android and iOS phones alternately."""
        people = [
            ParticipantPlan(id=f"cost{number:04d}", os="IOS" if number % 2 else "ANDROID")
            for number in range(self.size.participants)
        ]
        content = ContentPlan(rows=self.rows, rows_by_stream=self.rows_by_stream, audio_bytes=self.audio_bytes)
        plan = StudyPlan(
            name="Benchmark",
            participants=people,
            start=now - self.size.days * _DAY,
            streams=STREAMS,
            hours=self.hours,
            content=content,
        )
        world = World.build(plan, now=now, cache_bytes=512 * 1024**2)
        world.unchunked_lag = False
        return world


_DEFAULT = FetchPolicy()
_THIN_HOURS = (9,)


def _thin(participants: int, days: int) -> Played:
    """An hour of each day, with a row in each file."""
    files, size_bytes = 83 / WEEK_FILES, 22_600 / WEEK_BYTES
    policy = FetchPolicy(
        request_bytes=int(_DEFAULT.request_bytes * size_bytes), registry_bytes=int(_DEFAULT.registry_bytes * files)
    )
    size = Size(participants=participants, days=days)
    return Played(size=size, hours=_THIN_HOURS, rows=1, policy=policy)


STUDIES: Mapping[str, Played] = {
    "real": Played(size=Size(participants=2, days=21), rows_by_stream=ROWS, audio_bytes=1_500_000),
    "hundredth": _thin(3, 365),
    "tenth": _thin(32, 365),
    "least": _thin(1, 7),
}
"""A hundredth and a tenth are those of 321 participants. The least has nearly nothing in it."""
