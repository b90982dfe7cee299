"""Which partitions a run is about, and the tags that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import dagster as dg

from dagster_beiwe.cells import CellKey
from dagster_beiwe.runs.dagster_private import RANGE_END_TAG, RANGE_START_TAG

PARTICIPANTS_TAG, WINDOWS_TAG = "participants", "windows"

REFRESH_TAG = "beiwe/refresh"
MOVED_ONLY = "moved"
"""Value of ``REFRESH_TAG``: windows whose counts are as they were are recorded again without a request."""


class RunContext(Protocol):
    """What an execution context needs to have for its run's partitions to be found."""

    @property
    def run(self) -> dg.DagsterRun: ...
    @property
    def instance(self) -> dg.DagsterInstance: ...
    @property
    def partition_keys(self) -> Sequence[str]: ...


def run_partition_keys(context: RunContext, partitions: dg.MultiPartitionsDefinition) -> list[str]:
    """Every partition key that a run is about.

    The range tags go first: a backfill that was launched from a job leaves tags of the range's first key on each of its
    runs (seen in Dagster 1.13.27), and ``context.partition_keys`` is then that one key.
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


def rectangle_tags(participants: Sequence[str], windows: Sequence[str]) -> Mapping[str, str]:
    """Tags of a run over consecutive participants by consecutive windows."""
    return {
        RANGE_START_TAG: str(CellKey(participants[0], windows[0])),
        RANGE_END_TAG: str(CellKey(participants[-1], windows[-1])),
    }


def stretch_tags(keys: Sequence[str]) -> Mapping[str, str]:
    """Tags of a run over consecutive partitions of one dimension, such as participants."""
    return {RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}


def readable_tags(cells: Iterable[CellKey]) -> dict[str, str]:
    """Tags that say to people which partitions a run is about."""
    participants, windows = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    return {**readable_stretch(participants), WINDOWS_TAG: _first_and_last(windows)}


def readable_stretch(participants: Sequence[str]) -> dict[str, str]:
    """The same of a run over participants."""
    return {PARTICIPANTS_TAG: _first_and_last(participants)}


def _first_and_last(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)}: {names[0]} to {names[-1]}"
