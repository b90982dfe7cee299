"""Partitions of ``raw_data``: participant by window."""

from __future__ import annotations

from datetime import date, datetime, time, timezone

import dagster as dg

from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.environment import BEIWE_START
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.runs.beta import beta_features
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import Granularity, Window, window_of, window_start

PARTICIPANT = "participant"
WINDOW = "window"

COMFORTABLE_PARTITIONS = 100_000
"""With more partitions per asset, Dagster's pages and daemons become slow."""


def participants_name(study_id: str) -> str:
    """Name of a study's dynamic partitions. All code locations of a Dagster instance share it."""
    return f"beiwe/{study_id}/participants"


def participant_partitions(study_id: str) -> dg.DynamicPartitionsDefinition:
    """One partition per participant of the study, in order of enrollment."""
    return dg.DynamicPartitionsDefinition(name=participants_name(study_id))


def window_partitions(granularity: Granularity, start: date) -> dg.TimeWindowPartitionsDefinition:
    """Windows in UTC, from the one that holds ``start`` to the current one, which is still growing.

    Keys are those of ``Window.key``. Weeks begin on Monday, months on the first.
    """
    first = window_start(granularity, datetime.combine(start, time(), timezone.utc)).strftime("%Y-%m-%d")
    if granularity == "daily":
        return dg.DailyPartitionsDefinition(first, end_offset=1)
    if granularity == "monthly":
        return dg.MonthlyPartitionsDefinition(first, end_offset=1)
    return dg.WeeklyPartitionsDefinition(first, day_offset=1, end_offset=1)


def raw_data_partitions(study: Study) -> dg.MultiPartitionsDefinition:
    """Participant by window. Raises ``ConfigurationError`` for a study whose start is not known."""
    if study.start is None:
        raise ConfigurationError(
            f"The first day of data of study {study.name!r} is not known, so its raw_data was not built. Set `start` "
            f"in the study's configuration, or {BEIWE_START}."
        )
    return dg.MultiPartitionsDefinition(
        {PARTICIPANT: participant_partitions(study.id), WINDOW: window_partitions(study.config.window, study.start)}
    )


def around_windows(*, before: int = 0, after: int = 0) -> dg.PartitionMapping:
    """From a partition of ``raw_data_partitions`` to that of its window and of so many windows of the same participant
    before and after, as far as they exist."""
    with beta_features():
        windows = dg.TimeWindowPartitionMapping(
            start_offset=-before, end_offset=after, allow_nonexistent_upstream_partitions=True
        )
        return dg.MultiPartitionMapping(
            {
                PARTICIPANT: dg.DimensionPartitionMapping(PARTICIPANT, dg.IdentityPartitionMapping()),
                WINDOW: dg.DimensionPartitionMapping(WINDOW, windows),
            }
        )


def window_keys(study: Study, *, now: datetime) -> list[str]:
    """Keys of every window of a study up to the current one, oldest first."""
    if study.start is None:
        return []
    return list(window_partitions(study.config.window, study.start).get_partition_keys(current_time=now))


def study_windows(study: Study, *, now: datetime) -> list[Window]:
    """Every window of a study up to the current one, oldest first."""
    return [window_of_key(study.config.window, key) for key in window_keys(study, now=now)]


def window_of_key(granularity: Granularity, key: str) -> Window:
    """The window that a partition key names. Raises ``ConfigurationError`` for a key that names none."""
    try:
        window = window_of(granularity, datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=timezone.utc))
    except ValueError:
        window = None
    if window is None or window.key != key:
        raise ConfigurationError(
            f"The partition key {key[:40]!r} names no {granularity} window; nothing was requested. A key is the first "
            "day of a window as YYYY-MM-DD."
        )
    return window


def cell_of(study: Study, key: str) -> Cell:
    """The cell that a partition key names. Raises ``ConfigurationError`` for a window or an id that can't exist."""
    cell = CellKey.parse(key)
    return Cell(check_participant_id(cell.participant), window_of_key(study.config.window, cell.window))


def too_many_partitions(study: Study, *, participants: int, windows: int) -> str | None:
    """A warning that says what to change, or None while Dagster is comfortable."""
    count = participants * windows
    if count <= COMFORTABLE_PARTITIONS:
        return None
    longer = {"daily": "weekly or monthly", "weekly": "monthly"}.get(study.config.window)
    advice = f"Use longer windows ({longer}) or a later `start`" if longer else "Use a later `start`"
    return (
        f"Study {study.name!r} has {count:,} partitions ({participants:,} participants by {windows:,} "
        f"{study.config.window} windows). Above {COMFORTABLE_PARTITIONS:,}, Dagster's pages and backfills become slow. "
        f"{advice} in the study's configuration. A lake with committed windows keeps their length: to change it, adopt "
        'the lake into a new one ("How large may a study be" in docs/dagster-scale.md).'
    )
