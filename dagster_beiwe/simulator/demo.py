"""The default world: three studies in three time zones, with the oddities of real studies."""

from __future__ import annotations

from datetime import datetime, timedelta

from dagster_beiwe.simulator.content import ContentPlan
from dagster_beiwe.simulator.plans import ParticipantPlan, StudyPlan

_WEEK = timedelta(weeks=1)
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


def demo_plans(now: datetime) -> tuple[StudyPlan, ...]:
    """Plans whose data ends near ``now``."""
    return (
        StudyPlan(
            name="Sleep and Mood",
            time_zone="America/New_York",
            start=now - 7 * _WEEK,
            hours=(13, 20),
            streams=(*_STREAMS, "ambient_audio"),
            content=_SMALL,
            participants=(
                ParticipantPlan(),
                ParticipantPlan(os="IOS", start=now - 6 * _WEEK),
                ParticipantPlan(id="48213957", start=now - 5 * _WEEK),
                ParticipantPlan(os="IOS", start=now - 4 * _WEEK, wrong_clock=True),
                ParticipantPlan(start=now - 7 * _WEEK, end=now - 3 * _WEEK, retired=True),
                ParticipantPlan(os="", start=now - 2 * _WEEK),
            ),
        ),
        StudyPlan(
            name="Étude Schmerz & Schlaf",
            time_zone="Europe/Berlin",
            start=now - 5 * _WEEK,
            hours=(7, 18),
            streams=_STREAMS,
            content=_SMALL,
            interventions=("Operation",),
            participants=(
                ParticipantPlan(),
                ParticipantPlan(os="IOS"),
                ParticipantPlan(start=now - 4 * _WEEK),
                ParticipantPlan(os="IOS", start=now - 2 * _WEEK),
                ParticipantPlan(start=now - 1 * _WEEK),
                ParticipantPlan(os="", start=now - 1 * _WEEK),
            ),
        ),
        StudyPlan(
            name="Monsoon Activity",
            time_zone="Asia/Kolkata",
            start=now - 6 * _WEEK,
            hours=(4, 18),
            streams=_STREAMS,
            content=_SMALL,
            interventions=(),
            fields=(),
            participants=(
                ParticipantPlan(),
                ParticipantPlan(),
                ParticipantPlan(os="IOS", start=now - 3 * _WEEK),
                ParticipantPlan(start=now - 3 * _WEEK, end=now - 2 * _WEEK, retired=True),
                ParticipantPlan(os="", start=now - 1 * _WEEK),
                ParticipantPlan(start=now - 2 * _WEEK),
            ),
        ),
    )
