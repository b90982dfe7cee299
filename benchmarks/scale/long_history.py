"""A long history, made quickly: nearly every partition planned and materialized, and a backfill of all in progress."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from random import Random
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._core.execution.api import execute_run
from dagster._core.execution.asset_backfill import (
    AssetBackfillData,
    AssetBackfillIterationResult,
    execute_asset_backfill_iteration_inner,
)
from dagster._core.storage.event_log.schema import AssetEventTagsTable, SqlEventLogStorageTable
from dagster._core.storage.tags import BACKFILL_ID_TAG
from sqlalchemy import Table, func, select

from benchmarks.scale.process import Stopwatch
from benchmarks.scale.project import add_backfill, history, raw_data
from benchmarks.scale.served import defs
from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.definitions import WINDOW
from dagster_beiwe.partitions.run_keys import rectangle_tags

Facts = dict[str, Any]
Row = dict[str, Any]

BACKFILL = "everything"
MISSING = 0.01
"""The share of partitions that is not there, anywhere: what is complete, Dagster summarizes, which is quick."""

_CELLS_AT_ONCE = 500


def fill(study: str, person: str, participants: int) -> Facts:
    """Fetch one window with a real run, and copy its events and its run for the others, one run per window.

    Dagster itself would take more than an hour to record 312,000 partitions.
    """
    people = [person, *(f"p{number:05}" for number in range(1, participants))]
    with history({study: people}) as instance:
        built = defs()
        partitions = built.resolve_assets_def(raw_data()).partitions_def
        assert isinstance(partitions, dg.MultiPartitionsDefinition)
        windows = list(partitions.get_partitions_def_for_dimension(WINDOW).get_partition_keys())
        first, missing = CellKey(person, windows[-1]), Random(1)
        run = _run(built, instance, first)
        tags = {each: {**rectangle_tags(people, [each]), BACKFILL_ID_TAG: BACKFILL} for each in windows}
        runs = {each: run._replace(run_id=str(uuid4()), tags=tags[each]) for each in windows}
        for each in runs.values():
            instance.run_storage.add_run(each)
        cells = [CellKey(each, window) for window in windows for each in people]
        there = [cell for cell in cells if cell != first and missing.random() > MISSING]
        _copy_events(instance, first, there, {window: each.run_id for window, each in runs.items()})
        iterations = _backfill(instance, built, list(map(str, cells)))
    return {"partitions": len(cells), "windows": len(windows), "iterations": iterations}


def _run(built: dg.Definitions, instance: dg.DagsterInstance, cell: CellKey) -> dg.DagsterRun:
    job = built.resolve_implicit_job_def_def_for_assets([raw_data()])
    assert job is not None
    subset = job.get_subset(asset_selection={raw_data()})
    tags = rectangle_tags([cell.participant], [cell.window])
    run = instance.create_run_for_job(subset, tags=tags, asset_selection=frozenset({raw_data()}))
    assert execute_run(InMemoryJob(subset), run, instance).success
    done = instance.get_run_by_id(run.run_id)
    assert done is not None
    return done


def _copy_events(instance: dg.DagsterInstance, of: CellKey, cells: Sequence[CellKey], runs: Mapping[str, str]) -> None:
    """The events of one partition, as if each of the others had had its own in the run of its window."""
    events_table, tags_table = SqlEventLogStorageTable, AssetEventTagsTable
    storage: Any = instance.event_log_storage
    with storage.index_connection() as connection:
        events = _rows(connection, events_table, events_table.c.partition == str(of))
        tags = {event["id"]: _rows(connection, tags_table, tags_table.c.event_id == event["id"]) for event in events}
        free = connection.execute(select(func.max(events_table.c.id))).scalar() + 1
        for start in range(0, len(cells), _CELLS_AT_ONCE):
            new_events: list[Row] = []
            new_tags: list[Row] = []
            for cell in cells[start : start + _CELLS_AT_ONCE]:
                names = {
                    of.participant: cell.participant,
                    of.window: cell.window,
                    events[0]["run_id"]: runs[cell.window],
                }
                for event in events:
                    new_events.append(_renamed(event, names) | {"id": free})
                    new_tags += (_renamed(tag, names) | {"event_id": free} for tag in tags[event["id"]])
                    free += 1
            connection.execute(events_table.insert(), new_events)
            connection.execute(tags_table.insert(), new_tags)


def _rows(connection: Any, table: Table, where: Any) -> list[Row]:
    columns = [column for column in table.c if table is SqlEventLogStorageTable or column.name != "id"]
    return [dict(row) for row in connection.execute(select(*columns).where(where)).mappings()]


def _renamed(row: Row, names: Mapping[str, str]) -> Row:
    """A row with other participants, windows, and runs wherever it has text."""
    return {column: _replaced(value, names) if isinstance(value, str) else value for column, value in row.items()}


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _backfill(instance: dg.DagsterInstance, built: dg.Definitions, keys: Sequence[str]) -> Facts:
    """Store a backfill of all partitions whose runs are requested; what the daemon's iterations take, every 30 s."""
    graph = built.get_repository_def().asset_graph
    backfill = add_backfill(instance, built, keys, name=BACKFILL)
    found: Facts = {}
    for turn in ("first", "next"):
        with Stopwatch() as watch:
            data = backfill.asset_backfill_data
            assert data is not None
            result = _iterate(instance, graph, data)
            backfill = backfill.with_asset_backfill_data(result.backfill_data, instance, graph)
            instance.update_backfill(backfill)
        found[turn] = watch.facts() | {"runs": len(result.run_requests)}
    return found | {"bytes": len(dg.serialize_value(backfill))}


def _iterate(
    instance: dg.DagsterInstance, graph: BaseAssetGraph[Any], data: AssetBackfillData
) -> AssetBackfillIterationResult:
    now = datetime.now(timezone.utc)
    view = AssetGraphView(
        temporal_context=TemporalContext(effective_dt=now, last_event_id=None), instance=instance, asset_graph=graph
    )
    return execute_asset_backfill_iteration_inner(
        BACKFILL, data, view, now.timestamp(), logging.getLogger("benchmark"), None
    )
