"""Window arithmetic: what the partitions of a study cover, also where clocks and calendars are odd."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.errors import ConfigurationError, TimeRangeError
from dagster_beiwe.windows import (
    GRANULARITIES,
    Window,
    check_granularity,
    local_day,
    server_time_range,
    window_of,
    window_start,
    windows_between,
)

UTC = timezone.utc
HOUR = timedelta(hours=1)

moments = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))
granularities = st.sampled_from(GRANULARITIES)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(moments).replace(minute=0, second=0, microsecond=0)
    return Window(start, start + draw(st.integers(1, 2000)) * HOUR)


@given(granularity=granularities, moment=moments)
def test_every_moment_lies_in_its_window(granularity: str, moment: datetime) -> None:
    """The window of a moment holds it, starts at midnight UTC, and is the same for all its moments."""
    window = window_of(check_granularity(granularity), moment)
    assert moment in window
    assert window.start.hour == 0
    assert window_of(check_granularity(granularity), window.start) == window
    assert window_of(check_granularity(granularity), window.end - timedelta(microseconds=1)) == window
    assert window_of(check_granularity(granularity), window.end).start == window.end


@given(granularity=granularities, start=moments, days=st.integers(0, 100))
def test_windows_follow_one_another_without_gap(granularity: str, start: datetime, days: int) -> None:
    """The windows of a range cover it, and each begins where the one before ends."""
    end = start + timedelta(days=days, seconds=1)
    found = list(windows_between(check_granularity(granularity), start, end))
    assert found[0].start <= start
    assert found[-1].end >= end > found[-1].start
    assert all(one.end == other.start for one, other in pairwise(found))
    assert len({window.key for window in found}) == len(found)


@given(window=windows())
def test_halves_cover_exactly(window: Window) -> None:
    """Halving loses and repeats no hour, and ends at single hours."""
    halves = window.halves()
    if window.hours == 1:
        assert halves is None
        return
    assert halves is not None
    first, second = halves
    assert (first.start, first.end, second.end) == (window.start, second.start, window.end)
    assert abs(first.hours - second.hours) <= 1


@given(window=windows(), hours=st.integers(-1, 3000))
def test_parts_cover_exactly(window: Window, hours: int) -> None:
    """Parts lie side by side, are no longer than asked for, and cover the window."""
    parts = window.split(hours)
    assert (parts[0].start, parts[-1].end) == (window.start, window.end)
    assert all(one.end == other.start for one, other in pairwise(parts))
    assert all(1 <= part.hours <= max(1, hours) for part in parts)


@pytest.mark.parametrize(
    ("granularity", "moment", "start", "end"),
    [
        ("monthly", "2024-02-29T23:59:59", "2024-02-01", "2024-03-01"),
        ("monthly", "2023-02-28T12:00:00", "2023-02-01", "2023-03-01"),
        ("monthly", "2025-12-31T23:00:00", "2025-12-01", "2026-01-01"),
        ("monthly", "2026-01-31T00:00:00", "2026-01-01", "2026-02-01"),
        ("weekly", "2026-03-01T23:59:59", "2026-02-23", "2026-03-02"),
        ("weekly", "2024-12-31T00:00:00", "2024-12-30", "2025-01-06"),
        ("daily", "2024-02-29T00:00:00", "2024-02-29", "2024-03-01"),
        ("weekly", "1969-12-31T23:00:00", "1969-12-29", "1970-01-05"),
    ],
)
def test_ends_of_months_leap_days_and_years(granularity: str, moment: str, start: str, end: str) -> None:
    """Calendar edges give the windows that a calendar shows."""
    window = window_of(check_granularity(granularity), datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert (window.start.date().isoformat(), window.end.date().isoformat()) == (start, end)
    assert window.key == start


def test_windows_are_of_utc_whatever_zone_the_moment_has() -> None:
    """A moment given in another zone belongs to its UTC window."""
    evening = datetime(2026, 3, 1, 20, tzinfo=ZoneInfo("America/New_York"))
    assert window_start("daily", evening) == datetime(2026, 3, 2, tzinfo=UTC)
    assert Window(evening, evening + HOUR) == Window(
        datetime(2026, 3, 2, 1, tzinfo=UTC), datetime(2026, 3, 2, 2, tzinfo=UTC)
    )


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (datetime(2026, 1, 1), datetime(2026, 1, 2, tzinfo=UTC), "time zone"),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2), "time zone"),
        (datetime(2026, 1, 1, 0, 30, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "full hour"),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 5, 0, 1, tzinfo=UTC), "full hour"),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 5, 0, 0, 1, tzinfo=UTC), "full hour"),
        (datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Kolkata")), datetime(2026, 1, 2, tzinfo=UTC), "full hour"),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "before the end"),
        (datetime(2026, 1, 3, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), "before the end"),
    ],
)
def test_times_that_would_shift_data_are_refused(start: datetime, end: datetime, message: str) -> None:
    """Naive, unaligned and reversed times never become a request."""
    with pytest.raises(TimeRangeError, match=message):
        Window(start, end)


@given(window=windows())
def test_the_servers_end_is_inclusive_and_one_second_early(window: Window) -> None:
    """Both bounds are naive whole seconds, and the end is the last second inside the window."""
    start, end = (
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC) for text in server_time_range(window)
    )
    assert start == window.start
    assert end + timedelta(seconds=1) == window.end
    assert end in window


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 7, 1), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Africa/Cairo", date(2026, 4, 24), 23),  # clocks change at midnight: the day starts at 01:00
        ("Pacific/Apia", date(2011, 12, 30), 0),  # the day that Samoa left out
    ],
)
def test_local_days_have_the_hours_that_clocks_give_them(zone: str, day: date, hours: float) -> None:
    """Days on which clocks change are shorter or longer, and none overlaps the next."""
    start, end = local_day(day, ZoneInfo(zone))
    assert (end - start) / HOUR == hours
    assert end == local_day(day + timedelta(days=1), ZoneInfo(zone))[0]


def test_days_of_half_hour_zones_start_inside_an_hour() -> None:
    """In India a day begins at 18:30 UTC, in Nepal at 18:15."""
    assert local_day(date(2026, 1, 2), ZoneInfo("Asia/Kolkata"))[0] == datetime(2026, 1, 1, 18, 30, tzinfo=UTC)
    assert local_day(date(2026, 1, 2), ZoneInfo("Asia/Kathmandu"))[0] == datetime(2026, 1, 1, 18, 15, tzinfo=UTC)


def test_unknown_lengths_are_refused_with_the_known_ones() -> None:
    """A typing error in the configuration names what is possible."""
    with pytest.raises(ConfigurationError, match="daily, weekly, monthly"):
        check_granularity("fortnightly")
