"""Run the whole job without the UI: studies, rosters, settings, and raw data of every study, in this process."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg

from dagster_beiwe.assets.translator import STUDIES, STUDY_TABLES
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.partitions.definitions import participants_name, window_keys
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.runs.traffic import traffic_of
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import human_size

_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


@dataclass
class _Tally:
    """Totals of a study's backfill."""

    windows: int = 0
    files: int = 0
    size_bytes: int = 0
    downloaded_bytes: int = 0
    stored_bytes: int = 0
    failed_runs: int = 0


def prepare() -> None:
    """Materialize what the server says about its studies, so that partitions are there when the UI opens."""
    with dg.DagsterInstance.get() as instance:
        _run_tables(_load(), instance)


def run_everything(lake: Path) -> int:
    """Run everything, and print a short summary. Returns 1 if anything failed."""
    began = time.monotonic()
    definitions = _load()
    with dg.DagsterInstance.get() as instance:
        failed = _run_tables(definitions, instance)
        print("study                      windows  files  plain      downloaded  stored     failed runs", flush=True)
        for study in _studies(definitions):
            tally = _backfill(definitions, instance, study)
            failed += tally.failed_runs
            print(
                f"{study.key[:26]:26} {tally.windows:7d} {tally.files:6d}  {human_size(tally.size_bytes):9}  "
                f"{human_size(tally.downloaded_bytes):10}  {human_size(tally.stored_bytes):9}  {tally.failed_runs:11d}",
                flush=True,
            )
    print(f"Encrypted in {lake}, {time.monotonic() - began:.0f} s. {'FAILED' if failed else 'Nothing failed.'}")
    return 1 if failed else 0


def _load() -> dg.Definitions:
    """The project beside the demo, or the library's own definitions; the same that the UI loads."""
    if Path("beiwe_project").is_dir():
        sys.path.insert(0, str(Path.cwd()))
        module = importlib.import_module("beiwe_project.definitions")
    else:
        module = importlib.import_module("dagster_beiwe.demo.definitions")
    definitions = module.defs()
    if not isinstance(definitions, dg.Definitions):
        raise TypeError(f"{module.__name__}.defs gave {type(definitions).__name__}, not Definitions")
    return definitions


def _studies(definitions: dg.Definitions) -> list[Study]:
    found = [
        Study.from_metadata(spec.metadata)
        for spec in definitions.resolve_all_asset_specs()
        if spec.key.path[-1] == "raw_data"
    ]
    return [facts for facts in found if facts is not None]


def _run_tables(definitions: dg.Definitions, instance: dg.DagsterInstance) -> int:
    """The unpartitioned assets that need no raw data: studies, and what the server says about each."""
    keys = [
        spec.key
        for spec in definitions.resolve_all_asset_specs()
        if spec.key.path[0] == "beiwe" and spec.key.path[-1] in (STUDIES, *STUDY_TABLES)
    ]
    return 0 if execute(definitions, instance, keys).success else 1


def _backfill(definitions: dg.Definitions, instance: dg.DagsterInstance, study: Study) -> _Tally:
    """All windows of all participants, in the rectangles that the schedules use too, and the lab's tables of them."""
    key = study.asset_key("raw_data")
    tally = _Tally()
    windows = window_keys(study, now=datetime.now(timezone.utc))
    downstream = _downstream(definitions, study)
    everything = Rectangle(tuple(instance.get_dynamic_partitions(participants_name(study.id))), tuple(windows))
    for run in everything.split(PARTITIONS_PER_RUN):
        result = execute(definitions, instance, [key], tags=run.tags)
        tally.failed_runs += not result.success
        tally.downloaded_bytes += _downloaded_bytes(instance, result)
        for table in downstream if result.success else ():
            tally.failed_runs += not execute(definitions, instance, [table], tags=run.tags).success
        for event in result.get_asset_materialization_events():
            tally.windows += 1
            tally.files += _number(event.materialization, "files")
            tally.size_bytes += _number(event.materialization, "size_bytes")
            tally.stored_bytes += _number(event.materialization, "stored_bytes")
    return tally


def _downstream(definitions: dg.Definitions, study: Study) -> list[dg.AssetKey]:
    """The project's own assets with the same partitions as the study's raw data."""
    specs = list(definitions.resolve_all_asset_specs())
    (raw_data,) = (spec for spec in specs if spec.key == study.asset_key("raw_data"))
    return [spec.key for spec in specs if spec.partitions_def == raw_data.partitions_def and spec.key != raw_data.key]


def _downloaded_bytes(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> int:
    finished = instance.get_run_by_id(result.run_id)
    return traffic_of(finished.tags).size_bytes if finished else 0


def _number(event: dg.AssetMaterialization, name: str) -> int:
    value = event.metadata[name].value
    return value if isinstance(value, int) else 0


def execute(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: Sequence[dg.AssetKey],
    *,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run some assets in this process. Raises ``KeyboardInterrupt`` if that is interrupted."""
    job = definitions.resolve_implicit_job_def_def_for_assets(keys)
    if job is None:
        raise LookupError(f"No job runs {', '.join(key.to_user_string() for key in keys)}")
    result = job.execute_in_process(
        instance=instance, asset_selection=list(keys), tags=tags, run_config=_QUIET, raise_on_error=False
    )
    return unless_interrupted(result, instance)


def unless_interrupted(result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """The result of a run. Raises ``KeyboardInterrupt`` for one that was interrupted, which Dagster treats as a
    failure: Ctrl-C ends the command, and not only one of its runs."""
    run = instance.get_run_by_id(result.run_id)
    if run is not None and run.tags.get("dagster/failure_reason") == "UNEXPECTED_TERMINATION":
        raise KeyboardInterrupt
    return result
