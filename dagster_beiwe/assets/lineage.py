"""Which columns an asset's columns are made from, as Dagster shows it. The server's own tables are made from none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from dagster_beiwe.assets.table_schemas import COLUMNS
from dagster_beiwe.forest.analyses import Analysis, asset_name
from dagster_beiwe.reading.rows import UTC_TIME
from dagster_beiwe.runs.dagster_private import COLUMN_LINEAGE
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.stream_tables.definition import TableDefinition
from dagster_beiwe.stream_tables.framing import LOCAL_TIME, TIME_ZONE
from dagster_beiwe.studies.study import Study

Source = tuple[str, str]
"""An asset of the study, and its column."""

_TIMESTAMP: Source = ("raw_data", "timestamp")
_EXPECTED: Sequence[Source] = (("settings", "value"), ("roster", "OS Type"))
_ROWS: Sequence[Source] = (_TIMESTAMP, ("raw_data", UTC_TIME))

SOURCES: Mapping[str, Mapping[str, Sequence[Source]]] = {
    "coverage": {
        "participant": [("roster", "participant")],
        "status": [("roster", "Status")],
        "expected_hours": [*_EXPECTED, ("roster", "First Registration Date")],
        "waiting": [("participant", "opened"), ("participant", "stream")],
        "state": [*_EXPECTED, ("roster", "Status")],
    },
    "quality": {
        "rows": _ROWS,
        "valid_minutes": _ROWS,
        "valid_hours": _ROWS,
        "expected_minutes": [("settings", "value")],
        "expected_rows": [("settings", "value")],
        "repeated_timestamps": [_TIMESTAMP],
        "disordered_timestamps": [_TIMESTAMP],
        "contradicting_times": _ROWS,
        "outside_hour": _ROWS,
        "dated_ahead": [("participant", "time")],
        "dated_behind": [("participant", "time"), ("participant", "opened")],
        "coordinates_out_of_range": [("raw_data", name) for name in ("latitude", "longitude", "accuracy")],
    },
}
"""{asset: {column: what it is made from}} of the tables about the raw data. Columns that only count files have none."""


def column_lineage(study: Study, sources: Mapping[str, Iterable[Source]]) -> dict[str, dg.TableColumnLineage]:
    """Metadata of a materialization."""
    deps = {
        column: [dg.TableColumnDep(asset_key=study.asset_key(asset), column_name=name) for asset, name in named]
        for column, named in sources.items()
    }
    return {COLUMN_LINEAGE: dg.TableColumnLineage(deps)}


def table_sources(table: TableDefinition) -> dict[str, list[Source]]:
    """Of a stream table: times come from the raw data, and those on the wall clock also from the participant's zone."""
    sources: dict[str, list[Source]] = {}
    for column in table.columns:
        raw = UTC_TIME if column == LOCAL_TIME else column
        named = table.columns_from.get(column, () if column == TIME_ZONE else [("raw_data", raw)])
        zone: list[Source] = [("participant", "value")] if column in (LOCAL_TIME, TIME_ZONE) else []
        sources[column] = [*named, *zone]
    return sources


def forest_sources(analysis: Analysis) -> dict[str, list[Source]]:
    """Of a table of Forest, which computes each of its columns from all that it reads."""
    read = [table_sources(table) for table in TABLES.values() if table.name in analysis.streams]
    raw = {source: None for table in read for named in table.values() for source in named if source[0] == "raw_data"}
    return {column: list(raw) for column in COLUMNS[asset_name(analysis.tree)] if column != "participant"}
