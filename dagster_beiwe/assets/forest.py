"""``forest/jasmine``, ``oak``, ``sycamore``, and ``willow``: Forest's analyses of raw data, participant by window.

Each partition is analyzed by itself, in a process of Forest's own environment, and recorded the moment its table is
stored. If its files are those that it was made from, it is recorded again without an analysis.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.cell_tables import CellTables, inputs_of
from dagster_beiwe.assets.lineage import column_lineage, forest_sources
from dagster_beiwe.assets.recorded import RECORDS_ITSELF, recorded_output
from dagster_beiwe.assets.run_log import in_run_log
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset
from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.environment import BEIWE_FOREST_DISK
from dagster_beiwe.errors import AnalysisFailedError, ConfigurationError
from dagster_beiwe.forest.analyses import ANALYSES, METHOD, Analysis, asset_name
from dagster_beiwe.forest.environment import PROGRAM, ForestEnvironment, clean_variables
from dagster_beiwe.forest.plain_files import Days, WrittenFiles, write_plain_files
from dagster_beiwe.forest.results import (
    STATE_FILE,
    can_continue,
    no_results,
    no_state,
    read_results,
    read_state,
    write_state,
)
from dagster_beiwe.memory_folders import MEMORY, memory_folder
from dagster_beiwe.partitions.conditions import on_new_content
from dagster_beiwe.partitions.definitions import around_windows, raw_data_partitions
from dagster_beiwe.partitions.run_keys import run_partition_keys
from dagster_beiwe.private_files import make_folder
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.reading.raw_files import RawFile
from dagster_beiwe.runs.beta import beta_features
from dagster_beiwe.runs.dagster_private import DagsterPipesExecutionError
from dagster_beiwe.runs.failures import clear_failures
from dagster_beiwe.studies.server_counts import certain_zone
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.content import content_version
from dagster_beiwe.windows import window_of

FOREST_POOL = "beiwe_forest"
"""Shared by all analyses. Its limit is the number that run at once; each takes one processor and up to 1 GB."""
LONGEST_SECONDS = 3600
"""The limit of one analysis. A month of one participant takes a minute or two."""

_INPUTS_TAG = "beiwe/forest_inputs"
_WITH_STATE = "jasmine"


def build_forest_assets(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> list[dg.AssetsDefinition]:
    """``beiwe/<key>/forest/<tree>`` for each tree in the study's ``forest``; none by default."""
    return [_build(study, ANALYSES[tree], options) for tree in study.config.forest]


def _build(study: Study, analysis: Analysis, options: AssetOptions) -> dg.AssetsDefinition:
    name, partitions, raw_data = asset_name(analysis.tree), raw_data_partitions(study), study.asset_key("raw_data")

    @study_asset(
        study,
        name,
        options,
        # The days of a window in the study's zone begin or end in the window before or after.
        deps=[dg.AssetDep(raw_data, partition_mapping=around_windows(before=1, after=1))],
        partitions_def=partitions,
        automation_condition=on_new_content(needing=dg.AssetSelection.assets(raw_data)),
        pool=FOREST_POOL,
        **RECORDS_ITSELF,
    )
    def analyzed(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        with in_run_log(context.log), clear_failures():
            _Run(context, study, analysis, options).run([str(key) for key in run_partition_keys(context, partitions)])
        yield recorded_output()

    return analyzed


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """What a partition is made from, and ``version``, a hash of all that decides on its results. Jasmine continues from
    its ``state`` after the partition ``before``."""

    cell: Cell
    days: Days
    view: BeiwePartitions
    files: Sequence[RawFile]
    before: str | None
    state: pd.DataFrame | None
    version: str

    @property
    def streams(self) -> set[str]:
        return {file.stream for file in self.files}


class _Run:
    """The partitions of one run, one after the other. What fails is one partition's failure."""

    def __init__(
        self, context: dg.AssetExecutionContext, study: Study, analysis: Analysis, options: AssetOptions
    ) -> None:
        self._context, self._study, self._analysis = context, study, analysis
        self._environment = ForestEnvironment.configured(os.environ)
        self._zone = _zone_of(study, context.instance)
        raw_data, name = study.asset_key("raw_data"), asset_name(analysis.tree)
        self._tables = CellTables(
            context,
            study,
            name,
            options,
            made_from=[raw_data],
            inputs_tag=_INPUTS_TAG,
            of_asset=column_lineage(study, forest_sources(analysis)),
        )
        self._key, self._lake, self._store = self._tables.key, self._tables.lake, self._tables.store

    def run(self, keys: Sequence[str]) -> None:
        self._tables.run(keys, self._make, failure="were not analyzed")  # Jasmine continues from the window before

    def _make(self, cell: Cell) -> None:
        inputs = self._inputs(cell)
        if self._tables.record_unchanged(cell, inputs.version):
            self._context.log.info("%s: its files are those that it was made from.", cell.key)
            return
        frame, state, notes = no_results(self._analysis), no_state(), {"result": "no files"}
        if inputs.files:
            frame, state, notes = self._analyze(inputs)
        partition, run_id = str(cell.key), self._context.run.run_id
        if self._analysis.tree == _WITH_STATE:
            self._store.write(self._state_key, state, partition=partition, run_id=run_id)
        written = self._store.write(self._key.path, frame, partition=partition, run_id=run_id)
        metadata = {
            "dagster/partition_row_count": written.rows,
            "size_bytes": written.stored_size_bytes,
            "files": len(inputs.files),
            "time zone": self._zone,
            "days": f"{inputs.days.days[0]} to {inputs.days.days[-1]}",
            **notes,
        }
        self._tables.record(cell, inputs.version, metadata, version=content_version(frame))

    def _inputs(self, cell: Cell) -> _Inputs:
        if cell.window.key not in self._lake.windows(cell.participant):
            raise AnalysisFailedError(
                "The lake does not hold the raw data of this window. Nothing was analyzed. Materialize raw_data first."
            )
        days = Days.of(cell.window, self._zone)
        view = BeiwePartitions.of(self._lake, participants=[cell.participant], start=days.start, end=days.end)
        files = [file for stream in self._analysis.streams for file in view.files(stream)]
        before, state = self._state_before(cell) if self._analysis.tree == _WITH_STATE else (None, None)
        facts = [
            str(METHOD),
            self._environment.version,
            self._zone,
            "" if state is None else content_version(state),
        ]
        version = inputs_of(facts, files)
        return _Inputs(cell=cell, days=days, view=view, files=files, before=before, state=state, version=version)

    def _state_before(self, cell: Cell) -> tuple[str, pd.DataFrame] | tuple[None, None]:
        """The partition of the window before, and Jasmine's state after it, if it can continue from that."""
        before = window_of(self._study.config.window, cell.window.start - pd.Timedelta(hours=1))
        key = str(CellKey(cell.participant, before.key))
        if not self._store.exists(self._state_key, partition=key):
            return None, None
        state = self._store.read(self._state_key, partition=key)
        return (key, state) if can_continue(state) else (None, None)

    @property
    def _state_key(self) -> Sequence[str]:
        return [*self._key.path[:-1], f"{self._key.path[-1]}_state"]

    def _analyze(self, inputs: _Inputs) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
        """The table of a partition, what Jasmine remembers, and what to note. Raises ``AnalysisFailedError``."""
        disk = os.environ.get(BEIWE_FOREST_DISK)
        try:
            with memory_folder("forest", disk=disk, otherwise=f"name in {BEIWE_FOREST_DISK}") as folder:
                plain = self._write(inputs, folder)
                report = self._run_program(inputs, folder)
                frame, state = self._results(inputs, folder / "results")
                return frame, state, _notes(inputs, frame, plain, report)
        except OSError as error:
            raise AnalysisFailedError(
                f"The files could not be written to {disk or MEMORY}: {error.strerror}. Nothing was stored. Docker "
                "gives a container 64 MB of memory there, unless its shm_size says more."
            ) from None

    def _write(self, inputs: _Inputs, folder: Path) -> WrittenFiles:
        for each in ("data", "results"):
            make_folder(folder / each)
        if inputs.state is not None:
            write_state(inputs.state, folder / STATE_FILE)
        participant, end = inputs.cell.participant, inputs.days.end
        return write_plain_files(inputs.view, inputs.files, participant, folder / "data", end=end)

    def _results(self, inputs: _Inputs, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        participant, days = inputs.cell.participant, inputs.days.days
        try:
            frame = read_results(self._analysis, folder, participant, days=days, streams=inputs.streams)
            return frame, read_state(folder / STATE_FILE)
        except Exception as error:  # noqa: BLE001  # its text may contain results
            raise AnalysisFailedError(
                f"Forest's results could not be read: {type(error).__name__}. Nothing was stored. Is it another "
                "version of Forest? Make its environment again with `dagster-beiwe forest`."
            ) from None

    def _run_program(self, inputs: _Inputs, folder: Path) -> Mapping[str, Any]:
        client = dg.PipesSubprocessClient(
            context_injector=dg.PipesFileContextInjector(str(folder / "context")),
            message_reader=dg.PipesFileMessageReader(str(folder / "messages")),
        )
        task = {
            "tree": self._analysis.tree,
            "participant": inputs.cell.participant,
            "data": str(folder / "data"),
            "results": str(folder / "results"),
            "state": str(folder / STATE_FILE) if inputs.state is not None else "",
            "zone": self._zone,
            "seed": int(inputs.version[:8], 16),
            "seconds": LONGEST_SECONDS,
            "parent": os.getpid(),
        }
        try:
            with beta_features():
                done = client.run(
                    context=self._context.op_execution_context,  # with the other, Dagster warns of itself
                    command=[str(self._environment.python), "-I", str(PROGRAM)],
                    env=clean_variables(folder),
                    cwd=str(folder),
                    extras=task,
                )
        except DagsterPipesExecutionError as error:
            raise AnalysisFailedError(
                f"Forest's process ended without a report: {error}. -9 usually means that the memory was not enough, "
                f"-14 that it took longer than {LONGEST_SECONDS} s. Nothing was stored."
            ) from None
        report: Mapping[str, Any] = next(iter(done.get_custom_messages()), {"failed": "no report"})
        if "failed" in report:
            raise AnalysisFailedError(
                f"Forest failed: {report['failed']}. Nothing was stored. Its message is not shown because it may "
                "contain data."
            )
        return report


def _notes(inputs: _Inputs, frame: pd.DataFrame, plain: WrittenFiles, report: Mapping[str, Any]) -> dict[str, Any]:
    named = {
        "rewritten files": plain.rewritten,
        "files left out": [*plain.left_out, *report["unreadable recordings"]],
    }
    return {
        "result": "results" if len(frame) else "Forest wrote none: too little data",
        "Forest": report["forest"],
        **({"continues from": inputs.before} if inputs.before else {}),
        **{name: dg.MetadataValue.json(sorted(files)) for name, files in named.items() if files},
    }


def _zone_of(study: Study, instance: dg.DagsterInstance) -> str:
    """The study's time zone, without a request. Raises ``ConfigurationError`` if it is not known."""
    zone = certain_zone(study, instance)
    if zone is None:
        raise ConfigurationError(
            f"The time zone of {study.title} is not known. Nothing was analyzed. Set `time_zone` in the study's "
            "configuration, or materialize its settings."
        )
    return zone
