"""What a materialization of ``coverage`` shows, and how little of it Dagster keeps for good."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pandas as pd
from coverage_frames import coverage_frame

from dagster_beiwe.assets.coverage_pictures import picture_metadata
from dagster_beiwe.coverage import SilenceLimits, find_silent
from dagster_beiwe.pictures.study_charts import StudyCharts

NOW = datetime(2026, 3, 20, 12, tzinfo=timezone.utc)
IN_PLACE = {"silent", "who is silent", "day by day"}
DRAWN = {"pictures drawn", "pictures in run"}


def shown(
    before: dict[str, Any], *, run_id: str, now: datetime = NOW, quality: pd.DataFrame | None = None
) -> dict[str, Any]:
    frame = coverage_frame({"anna": "##....?", "bert": "######?"})
    silent = find_silent(frame, {})
    charts = StudyCharts(coverage=frame, silent=[each.participant for each in silent])
    return picture_metadata(
        charts, silent, SilenceLimits(), quality=lambda: quality, before=before, run_id=run_id, now=now
    )


def test_every_materialization_names_the_silent_in_place() -> None:
    """As a number that Dagster plots, as a table, and as a picture."""
    found = shown({}, run_id="first")
    assert found["silent"] == dg.MetadataValue.int(1)
    assert found["who is silent"].value.startswith("1 of 2 silent for 3 days or more, in all streams.")
    assert "| `anna` | 4 | 2026-03-15 | everything |" in found["who is silent"].value
    assert found["day by day"].value.startswith("![7 days of 2 participants](data:image/png;base64,")
    assert all(len(found[name].value) < 1000 for name in ("who is silent", "day by day"))


def test_full_pictures_are_recorded_once_a_day() -> None:
    """A materialization without them names the run that has them, also if it is not the one before."""
    first = shown({}, run_id="first")
    assert first.keys() > IN_PLACE | DRAWN | {"heat map", "data volume by day"}
    second = shown(first, run_id="second", now=NOW + timedelta(hours=6))
    third = shown(second, run_id="third", now=NOW + timedelta(hours=23))
    assert second.keys() == third.keys() == IN_PLACE | DRAWN
    assert third["pictures in run"] == dg.MetadataValue.dagster_run("first")
    tomorrow = shown(third, run_id="fourth", now=NOW + timedelta(hours=24))
    assert "heat map" in tomorrow
    assert tomorrow["pictures in run"] == dg.MetadataValue.dagster_run("fourth")


def test_hours_are_valid_ones_as_soon_as_quality_has_measured_them() -> None:
    """By date, and since enrollment."""
    pictures = ("hours of GPS and accelerometer", "hours since enrollment")
    assert all("### Hours with files of gps" in shown({}, run_id="first")[name].value for name in pictures)
    quality = pd.DataFrame({"participant": ["anna"], "stream": ["gps"], "files": [24], "valid_hours": [9]})
    quality = quality.assign(valid_minutes=[540], day=pd.Timestamp("2026-03-14"))
    found = shown({}, run_id="first", quality=quality)
    for name, since in zip(pictures, ("", ", since enrollment"), strict=True):
        titles = [line for line in found[name].value.splitlines() if line.startswith("###")]
        assert titles == [f"### Valid hours of gps{since}", f"### Valid minutes of gps{since}"]


def test_a_study_without_participants_shows_nothing() -> None:
    """There is nothing to draw."""
    frame = coverage_frame({"anna": "#"}).iloc[:0]
    charts = StudyCharts(coverage=frame)
    found = picture_metadata(charts, (), SilenceLimits(), quality=lambda: None, before={}, run_id="x", now=NOW)
    assert found == {}
