"""What is counted in the rows of a file, and how hours of UTC become days of a study."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_helpers import HOUR, MINUTE, NOON, File, days, minutes_and_hours, power_state, rows_of, simulated

from dagster_beiwe.quality.days import DAY_TYPES
from dagster_beiwe.simulator.faulty_rows import FAULTS, spoiled
from dagster_beiwe.windows import local_day

DAY = date(2026, 3, 4)
ZONES = ("UTC", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana")
FAULTY_COUNTS = [*list(DAY_TYPES)[list(DAY_TYPES).index("repeated_timestamps") :], "rows"]


def every_minute(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE


def spoil(file: File, fault: str) -> File:
    return File(stream=file.stream, time=file.time, data=spoiled(file.data, fault), survey=file.survey)


def test_minutes_and_hours_with_a_row_are_valid() -> None:
    """However many rows they have."""
    moments = [NOON, NOON + MINUTE / 2, NOON + 5 * MINUTE, NOON + 3 * HOUR]
    assert list(minutes_and_hours(days(power_state(*moments)))) == [(DAY, 3, 2)]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Asia/Kolkata", date(2026, 3, 4), 24),
        ("America/Havana", date(2026, 3, 8), 23),  # it begins at one o'clock
    ],
)
def test_a_day_has_all_its_minutes_whatever_clocks_do(zone: str, day: date, hours: int) -> None:
    """Also where it begins at half past an hour of UTC."""
    start, end = local_day(day, ZoneInfo(zone))
    table = days(power_state(*every_minute(start - HOUR, end + HOUR)), zone=zone)
    assert [each for each in minutes_and_hours(table) if each[0] == day] == [(day, 60 * hours, hours)]
    assert table["rows"].xs(day, level="day").item() == 60 * hours


@settings(max_examples=20)
@given(
    minutes=st.sets(st.integers(min_value=0, max_value=4 * 24 * 60), min_size=1, max_size=9),
    zone=st.sampled_from(ZONES),
)
def test_minutes_are_those_of_the_local_day(minutes: set[int], zone: str) -> None:
    """Counted one by one, they are the same, around changes of clocks too."""
    moments = [datetime(2026, 4, 3, tzinfo=timezone.utc) + number * MINUTE for number in minutes]
    expected: dict[date, int] = {}
    for moment in moments:
        day = moment.astimezone(ZoneInfo(zone)).date()
        expected[day] = expected.get(day, 0) + 1
    found = list(minutes_and_hours(days(power_state(*moments), zone=zone)))
    # A file whose hour begins before midnight has a row on that day, too.
    assert {day: counted for day, counted, _ in found if counted} == expected
    assert all(hours <= counted <= 60 * hours for _, counted, hours in found)


def test_a_minute_counts_once_if_two_files_have_it() -> None:
    """Timings of two surveys in one hour."""
    data = b"timestamp,UTC time,question id,survey id,question type,question text,question answer options,answer\n" + (
        rows_of([NOON]).partition(b"\n")[2].replace(b"Screen turned on", b"q,s,,,,")
    )
    files = [File(stream="survey_timings", time=NOON, data=data, survey=survey) for survey in ("s1", "s2")]
    table = days(files)
    assert list(minutes_and_hours(table)) == [(DAY, 1, 1)]
    assert table[["files", "rows"]].iloc[0].tolist() == [2, 2]


@pytest.mark.parametrize("stream", ["gps", "accelerometer", "power_state", "wifi", "identifiers"])
@pytest.mark.parametrize("os", ["ANDROID", "IOS"])
def test_nothing_is_wrong_with_what_phones_send(stream: str, os: str) -> None:
    """Rows of one scan of wifi share their time, so repeated times are counted there."""
    (row,) = (row for _, row in days([simulated(stream, os="ANDROID" if stream == "wifi" else os)]).iterrows())
    expected = dict.fromkeys(FAULTY_COUNTS, 0) | {"rows": row["rows"]}
    expected |= {"repeated_timestamps": 45} if stream == "wifi" else {}
    assert row[list(expected)].to_dict() == expected


FAULTS_OF_SENSORS = {
    "repeated_timestamps": {"repeated_timestamps": 30},
    "disordered_timestamps": {"disordered_timestamps": 1},
    "contradicting_times": {"contradicting_times": 60},
    "rows_of_another_hour": {"outside_hour": 20},
    "coordinates_out_of_range": {"coordinates_out_of_range": 60},
    "few_rows": {"rows": 1},
}


@pytest.mark.parametrize(("fault", "counts"), FAULTS_OF_SENSORS.items())
def test_each_fault_is_counted_and_nothing_else(fault: str, counts: dict[str, int]) -> None:
    """In a file that had none."""
    (row,) = (row for _, row in days([spoil(simulated("gps"), fault)]).iterrows())
    expected = dict.fromkeys(FAULTY_COUNTS, 0) | {"rows": 60} | counts
    assert row[list(expected)].to_dict() == expected


def test_every_fault_of_sensors_is_tried() -> None:
    """Those of surveys are tried where surveys are paired."""
    assert {*FAULTS} - {*FAULTS_OF_SENSORS} == {"without_question"}


def test_rows_of_another_hour_give_no_minute() -> None:
    """They count as rows of their file, and on its day."""
    late = rows_of([NOON, NOON + timedelta(days=2)])
    table = days([File(stream="power_state", time=NOON, data=late)])
    assert list(minutes_and_hours(table)) == [(DAY, 1, 1)]
    assert table[["rows", "outside_hour"]].iloc[0].tolist() == [2, 1]


def test_times_in_seconds_are_read_and_counted() -> None:
    """As old apps wrote them: the hour in the file's name proves it."""
    data = rows_of([NOON, NOON + MINUTE]).replace(b"000,2026", b",2026")
    table = days([File(stream="power_state", time=NOON, data=data)])
    assert list(minutes_and_hours(table)) == [(DAY, 2, 1)]
    assert table["contradicting_times"].item() == 2


def test_rows_that_fit_no_column_are_counted_apart() -> None:
    """And an empty file has its day, without rows."""
    torn = simulated("gps", rows=3).data + b"\n42.3,-71.1"
    assert days([File(stream="gps", time=NOON, data=torn)])[["rows", "set_aside_rows"]].iloc[0].tolist() == [3, 1]
    assert days([File(stream="gps", time=NOON, data=b"")])[["files", "rows"]].iloc[0].tolist() == [1, 0]


@pytest.mark.parametrize("stream", ["gps", "survey_timings", "ai_chat_logs"])
@settings(max_examples=8)
@given(data=st.binary(max_size=200) | st.text(alphabet="1,.\n-:Tqua ", max_size=200).map(str.encode))
def test_any_content_can_be_measured(stream: str, data: bytes) -> None:
    """Phones have bugs, and servers have streams of their own."""
    table = days([File(stream=stream, time=NOON, data=data, survey="s")])
    assert table["files"].sum() == 1
    assert (table["valid_minutes"] <= table["rows"]).all()
