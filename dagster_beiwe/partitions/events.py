"""What Dagster records of partitions: the events that this package logs, and what they say later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.definitions import PARTICIPANT, WINDOW
from dagster_beiwe.runs.dagster_private import DATA_VERSION_TAG, PARTITION_TAG, USER_VERSION_TAG
from dagster_beiwe.studies.study import Study

_PAGE: Final = 500

PARTICIPANTS_METADATA = "participants"
"""Metadata of the roster: the ids that the server listed when it was materialized."""


def partition_event(
    asset_key: dg.AssetKey,
    partition: CellKey | str,
    *,
    metadata: Mapping[str, Any],
    version: str,
    tags: Mapping[str, str] | None = None,
) -> dg.AssetMaterialization:
    """A partition's materialization with metadata and a data version of its own; an output gives all its partitions the
    same ones. ``tags`` are added: see ``provenance_tags``."""
    if isinstance(partition, CellKey):
        partition = dg.MultiPartitionKey({PARTICIPANT: partition.participant, WINDOW: partition.window})
    dimensions = partition.keys_by_dimension if isinstance(partition, dg.MultiPartitionKey) else {}
    every = {
        DATA_VERSION_TAG: version,
        USER_VERSION_TAG: "true",
        **{f"{PARTITION_TAG}/{name}": key for name, key in dimensions.items()},
        **(tags or {}),
    }
    return dg.AssetMaterialization(asset_key=asset_key, partition=partition, metadata=metadata, tags=every)


def version_of(event: dg.AssetMaterialization) -> str:
    """The data version in a partition's materialization."""
    return (event.tags or {})[DATA_VERSION_TAG]


def newest_events(
    instance: dg.DagsterInstance, asset_key: dg.AssetKey, partitions: Iterable[str] | None = None
) -> dict[str, dg.AssetMaterialization]:
    """{partition: its newest materialization}, of some partitions or of all."""
    wanted = None if partitions is None else set(partitions)
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    newest = instance.event_log_storage.get_latest_storage_id_by_partition(asset_key, kind, wanted)
    places, found = list(newest.values()), {}
    for start in range(0, len(places), _PAGE):
        page = dg.AssetRecordsFilter(asset_key=asset_key, storage_ids=places[start : start + _PAGE])
        for record in instance.fetch_materializations(page, limit=_PAGE).records:
            if (event := record.asset_materialization) is not None and event.partition is not None:
                found[str(event.partition)] = event
    return found


def recorded_participants(instance: dg.DagsterInstance, study: Study) -> set[str]:
    """Participants for whom Dagster has ever recorded a window of raw data."""
    keys = instance.get_materialized_partitions(study.asset_key("raw_data"))
    return {CellKey.parse(key).participant for key in keys}


def listed_participants(instance: dg.DagsterInstance, study: Study) -> set[str] | None:
    """The ids that the server listed when the roster was last materialized; None before that."""
    event = instance.get_latest_materialization_event(study.asset_key("roster"))
    materialization = event.asset_materialization if event else None
    roster = materialization.metadata.get(PARTICIPANTS_METADATA) if materialization else None
    return {str(each) for each in roster.value or ()} if isinstance(roster, dg.JsonMetadataValue) else None


def refreshed_participants(instance: dg.DagsterInstance, study: Study, partitions: Sequence[str]) -> Collection[str]:
    """The partitions whose windows a refresh fetches: participants of the last roster, and those with recorded windows.

    All others were made partitions by hand. Before the first roster, every partition counts.
    """
    listed = listed_participants(instance, study)
    if listed is None:
        return partitions
    strangers = set(partitions) - listed
    return set(partitions) - (strangers - recorded_participants(instance, study) if strangers else set())
