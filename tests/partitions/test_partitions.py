"""Partition keys: the same windows as the lake's, and every key of a run."""

from __future__ import annotations

import re
from datetime import date, datetime, timezone
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_beiwe.cells import CellKey
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.partitions.definitions import (
    PARTICIPANT,
    WINDOW,
    cell_of,
    raw_data_partitions,
    too_many_partitions,
    window_keys,
    window_of_key,
    window_partitions,
)
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import GRANULARITIES, Granularity, check_granularity, windows_between

STUDY_ID = "a" * 24
days = st.dates(min_value=date(2014, 1, 1), max_value=date(2026, 10, 31))


@settings(max_examples=60, deadline=None)
@given(granularity=st.sampled_from(GRANULARITIES), start=days, length=st.integers(0, 400), hour=st.integers(0, 23))
def test_partitions_are_the_windows(granularity: str, start: date, length: int, hour: int) -> None:
    """Dagster's keys and bounds are those of the windows of the lake, from the start's to the present one."""
    kind = check_granularity(granularity)
    now = datetime.fromordinal(start.toordinal() + length).replace(hour=hour, minute=1, tzinfo=timezone.utc)
    partitions = window_partitions(kind, start)
    windows = list(windows_between(kind, datetime(start.year, start.month, start.day, tzinfo=timezone.utc), now))
    assert list(partitions.get_partition_keys(current_time=now)) == [window.key for window in windows]
    for window in (windows[0], windows[-1]):
        bounds = partitions.time_window_for_partition_key(window.key)
        assert (bounds.start, bounds.end) == (window.start, window.end)
        assert window_of_key(kind, window.key) == window
    assert start.isoformat() >= windows[0].key
    assert now in windows[-1]


@pytest.mark.parametrize(
    ("granularity", "key"),
    [("weekly", "2026-11-03"), ("monthly", "2026-11-02"), ("daily", "2026-11-2"), ("daily", "yesterday")],
)
def test_a_key_that_names_no_window_is_refused(granularity: Granularity, key: str) -> None:
    """A day inside a week is not the week: nothing is guessed."""
    with pytest.raises(ConfigurationError, match="nothing was requested"):
        window_of_key(granularity, key)


@pytest.mark.parametrize("participant", ["", "../../etc", "a b", "a|b", "é", "a" * 65])
def test_an_unsafe_participant_is_refused(participant: str) -> None:
    """Dagster itself would take any text as a partition."""
    study = Study(id=STUDY_ID, name="S", key="s", config=StudyConfig(STUDY_ID))
    with pytest.raises(ConfigurationError, match="participant id"):
        cell_of(study, f"{participant}|2026-11-02")


def test_a_key_joins_and_splits() -> None:
    """Participant first, as Dagster sorts the dimensions by name."""
    assert dg.MultiPartitionKey({PARTICIPANT: "abc", WINDOW: "2026-11-02"}) == str(CellKey("abc", "2026-11-02"))
    assert CellKey.parse("abc|2026-11-02") == ("abc", "2026-11-02")


def test_partitions_are_in_order_of_enrollment(instance: dg.DagsterInstance) -> None:
    """The order in which participants were added, not that of their ids; it makes backfills compact."""
    study = Study(id=STUDY_ID, name="S", key="s", start=date(2026, 11, 2), config=StudyConfig(STUDY_ID))
    instance.add_dynamic_partitions(f"beiwe/{STUDY_ID}/participants", ["zz", "aa"])
    keys = raw_data_partitions(study).get_partition_keys(
        current_time=datetime(2026, 11, 12, tzinfo=timezone.utc), dynamic_partitions_store=instance
    )
    assert keys == ["zz|2026-11-02", "zz|2026-11-09", "aa|2026-11-02", "aa|2026-11-09"]


def test_too_many_partitions_are_announced_with_a_way_out() -> None:
    """Above the number that Dagster handles comfortably."""
    study = Study(id=STUDY_ID, name="Long", key="s", start=date(2020, 1, 1), config=StudyConfig(STUDY_ID))
    windows = len(window_keys(study, now=datetime(2026, 11, 12, tzinfo=timezone.utc)))
    assert windows == 359
    assert too_many_partitions(study, participants=200, windows=windows) is None
    warning = str(too_many_partitions(study, participants=300, windows=windows))
    assert "monthly" in warning
    page = Path(__file__).parents[2] / re.findall(r"docs/[a-z-]+\.md", warning)[0]
    assert re.findall(r'"(.+)" in docs', warning)[0] in page.read_text(encoding="utf-8")


def test_a_study_without_start_has_no_windows() -> None:
    """And its raw data can't be built, with the reason."""
    study = Study(id=STUDY_ID, name="New", key="s", config=StudyConfig(STUDY_ID))
    assert window_keys(study, now=datetime.now(timezone.utc)) == []
    with pytest.raises(ConfigurationError, match="BEIWE_START"):
        raw_data_partitions(study)
