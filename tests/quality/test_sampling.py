"""What the settings promise of hours with data, and which days have far less."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dagster_beiwe.coverage.expected import SettingsRecord
from dagster_beiwe.coverage.frame import AS_OF, TIME_ZONE
from dagster_beiwe.quality.days import DAY_TYPES, EXPECTED
from dagster_beiwe.quality.findings import CHECKS, find_faults
from dagster_beiwe.quality.sampling import expected_in_an_hour, with_expected
from dagster_beiwe.simulator.surveys import default_device_settings

TODAY = date(2026, 3, 20)
NEW_YORK = ZoneInfo("America/New_York")
SETTINGS = {name: value for name, value in default_device_settings().items() if isinstance(value, (bool, int))}


def table(*rows: Mapping[str, Any]) -> pd.DataFrame:
    """Days of GPS that lie in the past, with nothing wrong but what is given."""
    usual: dict[str, Any] = dict.fromkeys(DAY_TYPES, 0) | dict.fromkeys(EXPECTED, math.nan)
    usual |= {"participant": "anna0001", "day": "2026-03-10", "stream": "gps", "rows": 1000, "valid_hours": 24}
    days: pd.DataFrame = pd.DataFrame([{**usual, **row} for row in rows])[list(DAY_TYPES)].astype(DAY_TYPES)
    days.attrs = {AS_OF: f"{TODAY}T12:00:00+00:00", TIME_ZONE: "America/New_York"}
    return days


@pytest.mark.parametrize(
    ("stream", "minutes", "rows"),
    [
        ("accelerometer", 60, 24_000),  # 40 s of each minute, ten times per second
        ("gyro", 3600 / 660, 3600 / 660 * 60 * 10),
        ("gps", 3600 / 690 * 1.5, math.nan),  # 90 s of each 690
        ("wifi", 12, math.nan),  # a scan every five minutes
        ("survey_answers", math.nan, math.nan),
        ("omniring", math.nan, math.nan),
    ],
)
def test_settings_promise_minutes_and_rows_of_an_hour(stream: str, minutes: float, rows: float) -> None:
    """As the simulated study has them. Rows, where there is a frequency; nothing of events."""
    assert expected_in_an_hour(stream, SETTINGS) == pytest.approx((minutes, rows), nan_ok=True)


def test_a_sensor_that_is_switched_off_promises_nothing() -> None:
    """And one that is never off promises each minute."""
    assert all(map(math.isnan, expected_in_an_hour("gps", {**SETTINGS, "gps": False})))
    always = {**SETTINGS, "gps_off_duration_seconds": 0, "gps_on_duration_seconds": 0}
    assert expected_in_an_hour("gps", always)[0] == 60


def test_settings_hold_from_the_day_on_which_they_were_seen() -> None:
    """On which the lesser of both counts. The first ones hold for all days before; hours without data owe nothing."""
    often = SettingsRecord(seen=datetime(2026, 3, 1, tzinfo=timezone.utc), values=SETTINGS)
    midnight = datetime(2026, 3, 11, 3, 30, tzinfo=timezone.utc)  # late on the day before in New York
    rarely = SettingsRecord(seen=midnight, values={**SETTINGS, "gps_off_duration_seconds": 1710})
    days = table(*({"day": f"2026-{day}"} for day in ("02-01", "03-09", "03-10", "03-11")), {"valid_hours": 1})
    found = with_expected(days, [rarely, often], NEW_YORK)
    hourly = (found["expected_minutes"] / found["valid_hours"]).tolist()
    assert hourly == pytest.approx([7.826, 7.826, 3, 3, 3], abs=0.001)
    assert with_expected(days, [], NEW_YORK)["expected_minutes"].isna().all()


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"valid_minutes": 47, "expected_minutes": 188.0}, False),
        ({"valid_minutes": 46, "expected_minutes": 188.0}, True),
        ({"valid_minutes": 1}, False),
        ({"rows": 100, "expected_rows": 401.0, "stream": "accelerometer"}, True),
        ({"valid_minutes": 1, "expected_minutes": 188.0, "day": "2026-03-19"}, False),  # may be on its way
        ({"valid_minutes": 1, "expected_minutes": 188.0, "day": "2026-03-18"}, True),
    ],
)
def test_days_with_far_less_than_promised_are_found(row: dict[str, Any], found: bool) -> None:
    """Less than a quarter, once the data has had time to arrive."""
    assert bool(find_faults(table(row), "sampling")) is found


@pytest.mark.parametrize(
    ("check", "row", "severity"),
    [
        ("timestamps", {"repeated_timestamps": 11}, "warning"),
        ("timestamps", {"disordered_timestamps": 1}, "error"),
        ("coordinates", {"coordinates_out_of_range": 1}, "warning"),
        ("answers_and_timings", {"answers_without_timings": 1}, "warning"),
        ("answers_and_timings", {"submissions_without_answers": 1}, "warning"),
        ("clock", {"dated_ahead": 1}, "warning"),
        ("clock", {"contradicting_times": 1}, "warning"),
        ("clock", {"outside_hour": 1}, "error"),
    ],
)
def test_each_check_has_its_faults(check: str, row: dict[str, int], severity: str) -> None:
    """What servers promise is an error where it is broken; what phones do is a warning."""
    days = table({}, {**row, "participant": "bert0002"})
    (finding,) = find_faults(days, check)
    assert (finding.participant, finding.stream, finding.severity) == ("bert0002", "gps", severity)
    assert (finding.days, finding.number) == ((date(2026, 3, 10),), next(iter(row.values())))
    others = [find_faults(days, name) for name in CHECKS if name != check]
    assert others == [()] * 4


def test_a_few_repeated_times_are_usual() -> None:
    """Phones write them; and the rows of one scan share their time."""
    few, scans = {"repeated_timestamps": 10}, {"repeated_timestamps": 900, "stream": "wifi"}
    assert find_faults(table(few, scans), "timestamps") == ()


def test_whoever_is_affected_last_comes_first() -> None:
    """With all days of a stream together."""
    days = [date(2026, 3, 1) + timedelta(days=number) for number in range(3)]
    rows = [{"day": str(day), "coordinates_out_of_range": 2} for day in days[:2]]
    rows.append({"day": str(days[2]), "coordinates_out_of_range": 1, "participant": "bert0002"})
    found = find_faults(table(*rows), "coordinates")
    assert [(each.participant, each.days, each.number) for each in found] == [
        ("bert0002", (days[2],), 1),
        ("anna0001", (days[0], days[1]), 4),
    ]
