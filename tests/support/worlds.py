"""Small simulated worlds whose data lie in whole weeks that are known beforehand."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, StudyPlan, World

NOW = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
MONDAY = (NOW - timedelta(days=NOW.weekday())).date()
START = MONDAY - timedelta(weeks=3)
WEEKS = [(START + timedelta(weeks=n)).isoformat() for n in range(4)]
TABLES = (
    "roster",
    "settings",
    "data_volume",
    "interventions",
    "survey_history",
    "forest_tasks",
    "forest_statistics",
)
ASSETS = (*TABLES, "participant", "restatements", "coverage", "quality", "report", "out_of_range", "raw_data")
PASSPHRASE = "a passphrase for tests only"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=timezone.utc)


def small_world(*names: str, participants: int = 3) -> World:
    """Studies with one file of GPS and one of power state per day since ``START``."""
    plans = [
        StudyPlan(
            name=name,
            participants=tuple(ParticipantPlan() for _ in range(participants)),
            start=_midnight(START),
            hours=(12,),
            streams=("gps", "power_state"),
            content=ContentPlan(rows_by_stream={"gps": 5, "power_state": 3}),
        )
        for name in names
    ]
    return World.build(*plans)
