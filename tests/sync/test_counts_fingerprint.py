"""The fingerprint of what the server counts: it follows counts, and not which streams there are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagster_beiwe.client import DailyBytes
from dagster_beiwe.streams import STREAM_NAMES
from dagster_beiwe.sync import DailyIndex
from dagster_beiwe.windows import Window

PERSON = "anna1111"
START = datetime(2026, 3, 2, tzinfo=timezone.utc)
WEEK = Window(START, START + timedelta(days=7))
DAYS = st.dates(date(2026, 2, 28), date(2026, 3, 12))
SECRET = bytes(16)
COUNTS = st.dictionaries(DAYS, st.dictionaries(st.sampled_from(STREAM_NAMES), st.integers(0, 3), max_size=4))


def index(counts: Mapping[date, Mapping[str, int]]) -> DailyIndex:
    records = [DailyBytes(participant=PERSON, day=day, bytes_by_stream=sizes) for day, sizes in counts.items()]
    return DailyIndex.of(timezone.utc, records)


def in_week(counts: Mapping[date, Mapping[str, int]], streams: set[str]) -> set[tuple[date, str, int]]:
    return {
        (day, stream, size_bytes)
        for day, sizes in counts.items()
        for stream, size_bytes in sizes.items()
        if size_bytes and stream in streams and START.date() <= day < (START + timedelta(days=7)).date()
    }


@given(
    then=COUNTS,
    now=COUNTS,
    asked=st.sets(st.sampled_from(STREAM_NAMES), min_size=1),
    asks=st.sets(st.sampled_from(STREAM_NAMES), min_size=1),
)
def test_a_window_agrees_exactly_where_no_count_of_the_streams_asked_for_moved(
    then: dict[date, dict[str, int]], now: dict[date, dict[str, int]], asked: set[str], asks: set[str]
) -> None:
    """Whatever streams came or went between the two: what was not asked for agrees where nothing of it is counted."""
    before = index(then).fingerprint(PERSON, WEEK, asked, SECRET)
    expected = in_week(then, asked & asks) == in_week(now, asks)
    assert index(now).agrees(before, PERSON, WEEK, asks, SECRET) == expected


@pytest.mark.parametrize("counted", ["", "0123456789abcdef"])
def test_a_fingerprint_that_is_missing_or_of_an_older_form_never_agrees(counted: str) -> None:
    """Such a window is looked at again, also an empty one."""
    assert not index({}).agrees(counted, PERSON, WEEK, STREAM_NAMES, SECRET)
    assert index({}).agrees(index({}).fingerprint(PERSON, WEEK, (), SECRET), PERSON, WEEK, STREAM_NAMES, SECRET)
