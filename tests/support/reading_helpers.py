"""A small simulated study in a lake, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import Cell, DailyIndex, StudySync, WindowReport
from dagster_beiwe.windows import windows_between

PASSPHRASE = "a passphrase for tests only"
NOW = datetime(2024, 3, 20, 12, tzinfo=timezone.utc)
START = datetime(2024, 3, 4, tzinfo=timezone.utc)  # a Monday
WEEKS = ["2024-03-04", "2024-03-11", "2024-03-18"]
STREAMS = ("gps", "accelerometer", "power_state", "survey_answers", "survey_timings", "audio_recordings")
ANDROID, IOS = "android1", "iphone22"


def reading_world() -> World:
    """One study of an Android and an iOS phone, with data at 10 and 22 o'clock."""
    plan = StudyPlan(
        name="Sleep and Mood",
        participants=(ParticipantPlan(id=ANDROID), ParticipantPlan(id=IOS, os="IOS")),
        start=START,
        hours=(10, 22),
        streams=STREAMS,
        content=ContentPlan(rows=4, audio_bytes=3000),
    )
    return World.build(plan, now=NOW)


def client_of(server: SimulatedServer) -> BeiweClient:
    return BeiweClient(Credentials(url=server.url, access_key=server.access_key, secret_key=server.secret_key))


def study_lake(folder: Path, world: World, **settings: Any) -> StudyLake:
    (study_id,) = world.studies
    return BeiweLake(folder).study(study_id, **{"passphrase": PASSPHRASE, **settings})


def cells_of(*participants: str, weeks: int = 3) -> list[Cell]:
    windows = list(windows_between("weekly", START, NOW))[:weeks]
    return [Cell(participant, window) for participant in participants or (ANDROID, IOS) for window in windows]


def fill(
    server: SimulatedServer,
    lake: StudyLake,
    cells: Sequence[Cell] | None = None,
    *,
    run_id: str = "run",
    counted: bool = False,
) -> list[WindowReport]:
    """Bring windows of the study into the lake: by default all. ``counted``: notice what the server no longer has."""
    with client_of(server) as client:
        daily = None
        if counted:
            zone = ZoneInfo(server.world.study(lake.study_id).time_zone)
            daily = DailyIndex.of(zone, client.summary_statistics(lake.study_id))
        return list(StudySync(client, lake, run_id=run_id, daily=daily).run(cells or cells_of()))


def stored_files(world: World, participant: str, stream: str) -> dict[datetime, bytes]:
    """The plain content of the server's files, by bin time."""
    (study_id,) = world.studies
    return {file.bin: file.read() for file in world.files(study_id, participants=[participant], streams=[stream])}
