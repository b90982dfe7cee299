"""A small study in a lake, and the coverage table that is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
from core_helpers import DAY, HOUR, NOW, PERSON, START, STUDY, commit_request, finished, stage
from coverage_frames import coverage_frame

from dagster_beiwe.coverage import Enrollment
from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.coverage.measure import Basis, measure_coverage
from dagster_beiwe.lake import LakeWriter, StudyLake
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window, out_of_range_windows, windows_between

UTC = StudyZone(name="UTC", source="server")
WEEKS = list(windows_between("weekly", START, NOW))
NOON = NOW - DAY + 12 * HOUR
FIRST, TODAY = START.date(), NOON.date()
GPS_ALWAYS = {"gps": True, "gps_on_duration_seconds": 60, "gps_off_duration_seconds": 600}
ALWAYS = Enrollment(participant=PERSON)
ENROLLED = Enrollment(participant=PERSON, created=FIRST, registered=FIRST, system="android")


def basis(**changed: Any) -> Basis:
    """A study of two weeks in which GPS is always on; it is noon of the last day."""
    usual: dict[str, Any] = {
        "windows": WEEKS,
        "streams": ("gps",),
        "roster": {PERSON: ENROLLED},
        "history": [SettingsRecord(seen=START, values=GPS_ALWAYS)],
        "zone": UTC,
        "now": NOON,
    }
    return Basis(**{**usual, **changed})


def put(
    lake: StudyLake,
    moments: Iterable[datetime],
    *,
    stream: str = "gps",
    participant: str = PERSON,
    windows: Sequence[Window] = WEEKS,
) -> None:
    """Commit files of ten bytes, each to its own window."""
    before, after = out_of_range_windows(windows[0].start, windows[-1].end)
    for window in (before, *windows, after):
        names = [
            f"{participant}/{stream}/{moment:%Y-%m-%d %H_%M_%S}+00_00.csv" for moment in moments if moment in window
        ]
        if names:
            with LakeWriter(lake, run_id="run-1") as writer:
                plan = writer.plan(participant, [window])
                files = [stage(writer, lake, b"ten bytes.", name=name, key=f"{STUDY}/{name}") for name in names]
                finished(writer, writer.commit(plan, commit_request(window, participant=participant), files))


def measured(
    lake: StudyLake,
    study: Basis,
    daily: DailyIndex | None = None,
    *,
    participants: Iterable[str] = (PERSON,),
    earlier: pd.DataFrame | None = None,
) -> pd.DataFrame:
    frame = measure_coverage(lake, study, [(list(participants), daily)], earlier=earlier)
    assert list(frame.dtypes.astype(str).items()) == list(coverage_frame({"a": "#"}).dtypes.astype(str).items())
    return frame


def of(frame: pd.DataFrame, stream: str = "gps", participant: str = PERSON) -> pd.DataFrame:
    """One participant's rows of a stream, by date."""
    rows: pd.DataFrame = frame[(frame["stream"] == stream) & (frame["participant"] == participant)]
    rows.index = pd.Index(rows["day"].dt.date)
    return rows


def hours_of(day: datetime, count: int = 24) -> list[datetime]:
    return [day + number * HOUR for number in range(count)]
