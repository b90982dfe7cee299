"""Partitions of ``raw_data``: participant by window, and which of them a run is about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timezone
from typing import Any, Protocol, TypeAlias

import dagster as dg

from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.environment import BEIWE_START
from dagster_beiwe.errors import ConfigurationError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import Granularity, Window, window_of, window_start

PARTICIPANT = "participant"
WINDOW = "window"

PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"

_DATA_VERSION_TAG = "dagster/data_version"
_USER_VERSION_TAG = "dagster/data_version_is_user_provided"

REFRESH_TAG = "beiwe/refresh"
MOVED_ONLY = "moved"
"""Value of the tag ``REFRESH_TAG``: windows whose counts have not moved are recorded again without asking for them."""

PARTICIPANTS_METADATA = "participants"
"""Metadata of the roster: the ids that the server listed when it was materialised."""

COMFORTABLE_PARTITIONS = 100_000
"""Above this number of partitions per asset Dagster's pages and daemons become slow."""


Metadata: TypeAlias = Mapping[str, dg.MetadataValue[Any]]


class RunContext(Protocol):
    """What of an execution context is needed to know a run's partitions."""

    @property
    def run(self) -> dg.DagsterRun: ...
    @property
    def instance(self) -> dg.DagsterInstance: ...
    @property
    def partition_keys(self) -> Sequence[str]: ...


def participants_name(study_id: str) -> str:
    """Name of a study's dynamic partitions. It is shared by all code locations of a Dagster instance."""
    return f"beiwe/{study_id}/participants"


def participant_partitions(study_id: str) -> dg.DynamicPartitionsDefinition:
    """One partition per participant of the study, in order of enrolment."""
    return dg.DynamicPartitionsDefinition(name=participants_name(study_id))


def window_partitions(granularity: Granularity, start: date) -> dg.TimeWindowPartitionsDefinition:
    """Windows in UTC from the one that holds ``start`` to the present one, which is still growing.

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
            f"Expected the first day of data of study {study.name!r}, got none; its raw_data was not built. Set "
            f"`start` in the study's configuration, or {BEIWE_START}."
        )
    return dg.MultiPartitionsDefinition(
        {PARTICIPANT: participant_partitions(study.id), WINDOW: window_partitions(study.config.window, study.start)}
    )


def window_keys(study: Study, *, now: datetime) -> list[str]:
    """Keys of every window of a study up to the present one, oldest first."""
    if study.start is None:
        return []
    return list(window_partitions(study.config.window, study.start).get_partition_keys(current_time=now))


def study_windows(study: Study, *, now: datetime) -> list[Window]:
    """Every window of a study up to the present one, oldest first."""
    return [window_of_key(study.config.window, key) for key in window_keys(study, now=now)]


def window_of_key(granularity: Granularity, key: str) -> Window:
    """The window that a partition key names. Raises ``ConfigurationError`` for a key that names none."""
    try:
        window = window_of(granularity, datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=timezone.utc))
    except ValueError:
        window = None
    if window is None or window.key != key:
        raise ConfigurationError(
            f"Expected the first day of a {granularity} window as YYYY-MM-DD, got {key[:40]!r}; nothing was requested."
        )
    return window


def cell_of(study: Study, key: str) -> Cell:
    """The cell that a partition key names. Raises ``ConfigurationError`` for a window or an id that can't exist."""
    cell = CellKey.parse(key)
    return Cell(check_participant_id(cell.participant), window_of_key(study.config.window, cell.window))


def run_partition_keys(context: RunContext, partitions: dg.MultiPartitionsDefinition) -> list[str]:
    """Every partition key that a run is about.

    The range tags go first: a backfill launched from a job leaves tags of the range's first key on every run (as of
    Dagster 1.13), and ``context.partition_keys`` is then that one key, although the run stands for the whole range.
    """
    keys = range_keys(context.run.tags, partitions, context.instance)
    return list(context.partition_keys) if keys is None else keys


def range_keys(
    tags: Mapping[str, str], partitions: dg.MultiPartitionsDefinition, instance: dg.DagsterInstance
) -> list[str] | None:
    """The partition keys of the range in a run's tags; None for a run without one."""
    start, end = tags.get(RANGE_START_TAG), tags.get(RANGE_END_TAG)
    if not (start and end):
        return None
    key_range = dg.PartitionKeyRange(start, end)
    return list(partitions.get_partition_keys_in_range(key_range, dynamic_partitions_store=instance))


def partition_event(
    asset_key: dg.AssetKey, partition: CellKey | str, *, metadata: Mapping[str, Any], version: str
) -> dg.AssetMaterialization:
    """That a partition was stored, with its own numbers and data version, which an output of several has in common."""
    if isinstance(partition, CellKey):
        partition = dg.MultiPartitionKey({PARTICIPANT: partition.participant, WINDOW: partition.window})
    dimensions = partition.keys_by_dimension if isinstance(partition, dg.MultiPartitionKey) else {}
    tags = {
        _DATA_VERSION_TAG: version,
        _USER_VERSION_TAG: "true",
        **{f"{PARTITION_TAG}/{name}": key for name, key in dimensions.items()},
    }
    return dg.AssetMaterialization(asset_key=asset_key, partition=partition, metadata=metadata, tags=tags)


def version_of(event: dg.AssetMaterialization) -> str:
    """The data version that a partition's event tells."""
    return (event.tags or {})[_DATA_VERSION_TAG]


def recorded_participants(instance: dg.DagsterInstance, study: Study) -> set[str]:
    """Participants for whom Dagster has ever recorded a window of raw data."""
    keys = instance.get_materialized_partitions(study.asset_key("raw_data"))
    return {CellKey.parse(key).participant for key in keys}


def refreshed_participants(instance: dg.DagsterInstance, study: Study, partitions: Sequence[str]) -> Collection[str]:
    """Who of the partitions is to be fetched again: whom the last roster has, or of whom anything was ever fetched.

    Others were made partitions by hand. Before the first roster everybody counts.
    """
    event = instance.get_latest_materialization_event(study.asset_key("roster"))
    materialization = event.asset_materialization if event else None
    roster = materialization.metadata.get(PARTICIPANTS_METADATA) if materialization else None
    if not isinstance(roster, dg.JsonMetadataValue):
        return partitions
    strangers = set(partitions) - {str(each) for each in roster.value or ()}
    return set(partitions) - (strangers - recorded_participants(instance, study) if strangers else set())


def rectangle_tags(participants: Sequence[str], windows: Sequence[str]) -> Mapping[str, str]:
    """Tags of a run over consecutive participants by consecutive windows."""
    return {
        RANGE_START_TAG: str(CellKey(participants[0], windows[0])),
        RANGE_END_TAG: str(CellKey(participants[-1], windows[-1])),
    }


def too_many_partitions(study: Study, *, participants: int, windows: int) -> str | None:
    """A warning that says what to change, or None while Dagster is comfortable."""
    count = participants * windows
    if count <= COMFORTABLE_PARTITIONS:
        return None
    longer = {"daily": "weekly or monthly", "weekly": "monthly"}.get(study.config.window)
    advice = f"Use longer windows ({longer}) or a later `start`" if longer else "Use a later `start`"
    return (
        f"Study {study.name!r} has {count:,} partitions ({participants:,} participants by {windows:,} "
        f"{study.config.window} windows), more than the {COMFORTABLE_PARTITIONS:,} that Dagster handles comfortably: "
        f"its pages and backfills become slow. {advice} in the study's configuration; a lake with committed windows "
        "keeps their length, so take a new lake to change it."
    )
