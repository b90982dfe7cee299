"""``streams/<stream>`` and ``surveys``: the typed tables of a study, by participant and window.

Each partition is made from the raw data of its window, for surveys also of the day before, and recorded the moment it
is stored. If the files, the time zone, and the method are those that it was made with, it is recorded again and nothing
is decrypted.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.cell_tables import CellTables, inputs_of
from dagster_beiwe.assets.lineage import column_lineage, table_sources
from dagster_beiwe.assets.recorded import RECORDS_ITSELF, recorded_output
from dagster_beiwe.assets.run_log import in_run_log
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset
from dagster_beiwe.cells import Cell
from dagster_beiwe.errors import TableMissingError
from dagster_beiwe.partitions.conditions import on_new_content
from dagster_beiwe.partitions.definitions import around_windows, raw_data_partitions
from dagster_beiwe.partitions.run_keys import run_partition_keys
from dagster_beiwe.reading import BeiwePartitions, RawFile, RawFiles, TimeRange, WindowFiles
from dagster_beiwe.reading.rows import UTC_TIME
from dagster_beiwe.runs.failures import clear_failures
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.stream_tables.definition import MadeTable, TableDefinition, TableSources
from dagster_beiwe.stream_tables.framing import in_calendar
from dagster_beiwe.stream_tables.sampling import hours_with_rows, sampling_rate
from dagster_beiwe.studies.participant_history import reported_zone
from dagster_beiwe.studies.server_counts import certain_zone
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.content import content_version
from dagster_beiwe.windows import windows_between

_INPUTS_TAG = "beiwe/table_inputs"
_ALWAYS_SHOWN = ("set_aside_rows", "repaired_rows")


def build_stream_tables(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> list[dg.AssetsDefinition]:
    """One asset for each of the study's ``tables``; none by default."""
    return [_build(study, TABLES[name], options) for name in study.config.tables]


def _build(study: Study, table: TableDefinition, options: AssetOptions) -> dg.AssetsDefinition:
    partitions = raw_data_partitions(study)
    raw_data, participant = (study.asset_key(name) for name in ("raw_data", "participant"))
    windows = around_windows(before=1) if table.looks_back else None  # no window is shorter than what it looks back to

    @study_asset(
        study,
        table.asset,
        options,
        deps=[dg.AssetDep(raw_data, partition_mapping=windows), participant, *map(study.asset_key, table.tables)],
        partitions_def=partitions,
        automation_condition=on_new_content(
            ignoring=dg.AssetSelection.assets(participant), needing=dg.AssetSelection.assets(raw_data)
        ),
        **RECORDS_ITSELF,
    )
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        with in_run_log(context.log), clear_failures():
            _Run(context, study, table, options).run([str(key) for key in run_partition_keys(context, partitions)])
        yield recorded_output()

    return made


class _Run:
    """The partitions of one run, one after the other: one of them is in memory at a time."""

    def __init__(
        self, context: dg.AssetExecutionContext, study: Study, table: TableDefinition, options: AssetOptions
    ) -> None:
        self._context, self._study, self._table = context, study, table
        self._cells = CellTables(
            context,
            study,
            table.asset,
            options,
            made_from=[study.asset_key(name) for name in ("raw_data", *table.tables)],
            follows=[study.asset_key("participant")],
            inputs_tag=_INPUTS_TAG,
            of_asset=column_lineage(study, table_sources(table)),
        )
        self._store = self._cells.store
        self._tables = {name: self._store.find(study.asset_key(name).path) for name in table.tables}
        self._versions = ["" if each is None else content_version(each) for each in self._tables.values()]
        self._study_zone = certain_zone(study, context.instance)
        self._zone = lru_cache(maxsize=1)(self._find_zone)  # partitions come participant by participant

    def run(self, keys: list[str]) -> None:
        self._cells.run(keys, self._make, failure="were not made")

    def _make(self, cell: Cell) -> None:
        window = WindowFiles(self._cells.lake, cell.participant, cell.window.key)
        if window.manifest is None:
            raise TableMissingError(
                "The lake does not hold the raw data of this window. Nothing was stored. Materialize raw_data first."
            )
        zone = self._zone(cell.participant)
        before = self._before(cell)
        files = self._files(window)
        earlier = [] if before is None else self._files(before)
        facts = [str(self._table.method), zone or "", str(window.complete), *self._versions]
        inputs = inputs_of(facts, [*files, *earlier])
        if self._cells.record_unchanged(cell, inputs, notes={"changes": "none: made from the same files before"}):
            return
        sources = TableSources(
            participant=cell.participant,
            window=window,
            zone=zone,
            tables=self._tables,
            span=TimeRange(cell.window.start, cell.window.end),
            before=before,
        )
        made = self._table.make(sources)
        written = self._store.write(
            self._cells.key.path, made.frame, partition=str(cell.key), run_id=self._context.run.run_id
        )
        metadata = {
            "dagster/partition_row_count": written.rows,
            "size_bytes": written.stored_size_bytes,
            "files": len(files),
            **_described(made, self._table),
            "time zone": zone or "not known",
            "raw data": "complete" if window.complete else "a part could not be fetched",
            "changes": "made",
        }
        self._cells.record(cell, inputs, metadata, version=written.sha256[:16])

    def _files(self, raw_data: RawFiles) -> list[RawFile]:
        return [file for stream in self._table.streams for file in raw_data.files(stream)]

    def _before(self, cell: Cell) -> RawFiles | None:
        """The raw data before a window that the table looks back to, as far as the lake holds it."""
        if not self._table.looks_back:
            return None
        earliest = cell.window.start - self._table.looks_back
        windows = windows_between(self._study.config.window, earliest, cell.window.start)
        cells = [(cell.participant, window.key) for window in windows]
        return BeiwePartitions(self._cells.lake, cells, start=earliest)

    def _find_zone(self, participant: str) -> str | None:
        """The zone that a participant's phone last reported, else the study's."""
        key, columns = self._study.asset_key("participant").path, ["kind", "name", "value"]
        table = self._store.find(key, partition=participant, columns=columns)
        return (None if table is None else reported_zone(table)) or self._study_zone


def _described(made: MadeTable, table: TableDefinition) -> Mapping[str, Any]:
    """What a partition's metadata say of its rows: counts and times, never a value."""
    times = in_calendar(made.frame[UTC_TIME]).dropna()
    ends = {"first": times.min(), "last": times.max()} if len(times) else {}
    rate = sampling_rate(times) if table.sampled else None
    counts = {name: count for name, count in made.counts.items() if count or name in _ALWAYS_SHOWN}
    return {
        **{name: dg.MetadataValue.timestamp(pd.Timestamp(moment).to_pydatetime()) for name, moment in ends.items()},
        "hours_with_rows": hours_with_rows(times),
        **({"sampling rate (Hz)": rate} if rate is not None else {}),
        **counts,
    }
