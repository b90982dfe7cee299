"""The default world: three studies in three time zones, with the oddities of real studies."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from dagster_beiwe.simulator.content import ContentPlan
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan

_WEEK, _DAY = timedelta(weeks=1), timedelta(days=1)
_SMALL = ContentPlan(rows_by_stream={"accelerometer": 40}, audio_bytes=12_000)
_STREAMS = (
    "accelerometer",
    "app_log",
    "audio_recordings",
    "calls",
    "gps",
    "identifiers",
    "ios_log",
    "power_state",
    "survey_answers",
    "survey_timings",
    "texts",
)
_OFF = ("bluetooth", "devicemotion", "gyro", "magnetometer", "proximity", "reachability", "wifi")


def demo_plans(now: datetime) -> tuple[StudyPlan, ...]:
    """Plans whose data ends near ``now``."""
    return (_sleep_and_mood(now), _pain_and_sleep(now), _monsoon(now))


def _sleep_and_mood(now: datetime) -> StudyPlan:
    start = now - 7 * _WEEK
    return StudyPlan(
        name="Sleep and Mood",
        time_zone="America/New_York",
        start=start,
        hours=(1, 7, 13, 19),
        streams=(*_STREAMS, "ambient_audio"),
        settings=_settings(hours=6) | {"ambient_audio": True},
        content=_SMALL,
        participants=(
            ParticipantPlan(fields={"cohort": "A"}, interventions={"Discharge": (start + 10 * _DAY).date()}),
            ParticipantPlan(os="IOS", start=now - 6 * _WEEK, share=0.8, wrong_clock=True, fields={"cohort": "B"}),
            # In a place without WiFi: heartbeats arrive, data does not.
            ParticipantPlan(id="48213957", start=now - 5 * _WEEK, offline_since=now - 8 * _DAY, fields={"cohort": "A"}),
            # Withdrew the permission to locate the phone.
            ParticipantPlan(
                os="IOS",
                start=now - 4 * _WEEK,
                share=0.95,
                stream_ends={"gps": now - 6 * _DAY},
                fields={"cohort": "B"},
            ),
            ParticipantPlan(start=start, end=now - 3 * _WEEK, retired=True, fields={"cohort": "A"}),
            ParticipantPlan(os="", start=now - 2 * _WEEK),
        ),
    )


def _pain_and_sleep(now: datetime) -> StudyPlan:
    return StudyPlan(
        name="Étude Schmerz & Schlaf",
        time_zone="Europe/Berlin",
        start=now - 5 * _WEEK,
        hours=(7, 18),
        streams=_STREAMS,
        settings=_settings(hours=12),
        content=_SMALL,
        interventions=("Operation",),
        participants=(
            ParticipantPlan(),
            ParticipantPlan(os="IOS"),
            ParticipantPlan(start=now - 4 * _WEEK, share=0.9),
            ParticipantPlan(os="IOS", start=now - 2 * _WEEK),
            ParticipantPlan(start=now - 1 * _WEEK),
            ParticipantPlan(os="", start=now - 1 * _WEEK),
        ),
    )


def _monsoon(now: datetime) -> StudyPlan:
    return StudyPlan(
        name="Monsoon Activity",
        time_zone="Asia/Kolkata",
        start=now - 6 * _WEEK,
        hours=(4, 18),
        streams=_STREAMS,
        settings=_settings(hours=12),
        content=_SMALL,
        interventions=(),
        fields=(),
        participants=(
            ParticipantPlan(),
            ParticipantPlan(share=0.85),
            ParticipantPlan(os="IOS", start=now - 3 * _WEEK),
            ParticipantPlan(start=now - 3 * _WEEK, end=now - 2 * _WEEK, retired=True),
            ParticipantPlan(os="", start=now - 1 * _WEEK),
            ParticipantPlan(start=now - 2 * _WEEK),
        ),
    )


def _settings(*, hours: int) -> dict[str, Any]:
    """Sensors that are on for ten minutes every so many hours, so that a small study has all that is expected."""
    seconds: dict[str, Any] = {}
    for sensor in ("accelerometer", "gps"):
        seconds[f"{sensor}_on_duration_seconds"] = 600
        seconds[f"{sensor}_off_duration_seconds"] = hours * 3600 - 600
    return {**dict.fromkeys(_OFF, False), **seconds}
