"""Materialize the demo's assets in this process, one after the other, and say what is being done."""

from __future__ import annotations

import importlib
import shlex
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from textwrap import indent

import dagster as dg

from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.cells import CellKey
from dagster_beiwe.demo.living import LivingServer
from dagster_beiwe.environment import BEIWE_LAKE, BEIWE_LAKE_PASSPHRASE
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.partitions.run_keys import stretch_tags
from dagster_beiwe.runs.beta import beta_features
from dagster_beiwe.runs.traffic import traffic_of
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import counted, human_size

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def fill_first_study(living: LivingServer) -> dg.AssetKey:
    """What the newcomer sees first: what the server says about all studies, and everything about the first one.

    Returns the asset that shows who is silent in the first study.
    """
    with _filler(living) as filler:
        filler.server_tables()
        first = filler.studies[0]
        if living.is_new:
            filler.fill(first)
    return first.asset_key("coverage")


def fill_everything(living: LivingServer, folder: Path) -> int:
    """Materialize everything, and print what was made and where it is. Returns 1 if anything failed unplanned."""
    began = time.monotonic()
    with _filler(living) as filler:
        filler.server_tables()
        for study in filler.studies:
            filler.fill(study)
    failed = filler.failed_runs
    verdict = f"{counted(failed, 'run')} failed." if failed else "Nothing failed."
    made = f"{filler.files:,} files of {len(filler.studies)} studies, encrypted {human_size(filler.stored_bytes)}"
    print(
        f"\n{made}, are in {folder / 'lake'}. {time.monotonic() - began:.0f} s. {verdict}\n"
        f"Look at them with the command line, or at all of it in Dagster:\n"
        f"  export {BEIWE_LAKE}={shlex.quote(str(folder / 'lake'))}\n"
        f"  export {BEIWE_LAKE_PASSPHRASE}=$(cat {shlex.quote(str(folder / 'passphrase'))})\n"
        f"  {_program()} status\n"
        f"  {_program()} demo --folder {shlex.quote(str(folder))}",
        flush=True,
    )
    return 1 if failed else 0


def _program() -> str:
    """How a shell calls this program: by its path, because run.py installs it where no shell looks."""
    return shlex.quote(sys.argv[0]) if Path(sys.argv[0]).name == "dagster-beiwe" else "dagster-beiwe"


@contextmanager
def _filler(living: LivingServer) -> Iterator[_Filler]:
    with dg.DagsterInstance.get() as instance, beta_features():
        yield _Filler(living, _load(), instance)


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


class _Filler:
    """Runs assets and counts: ``failed_runs`` are those that left more open than the hours that cannot be read."""

    def __init__(self, living: LivingServer, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._living, self._definitions, self._instance = living, definitions, instance
        self._graph = definitions.resolve_asset_graph()
        specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
        found = [Study.from_metadata(spec.metadata) for spec in specs.values() if spec.key.path[-1] == "raw_data"]
        order = list(living.server.world.studies)
        self.studies = sorted(filter(None, found), key=lambda study: order.index(study.id))
        self._raw_data = {study.asset_key("raw_data") for study in self.studies}
        self.files = self.stored_bytes = self.failed_runs = 0

    def server_tables(self) -> None:
        """What the server says about its studies: everything without partitions that needs no raw data."""
        _say("Asking the server for studies, rosters, settings and counts")
        keys = [key for key in self._unpartitioned() if not self._raw_data & self._upstream(key)]
        self._count(self._run(keys))
        if self._living.is_new:
            _say("A researcher changes a setting; asking for the settings again")
            self._living.change_a_setting()
            self._count(self._run([self.studies[0].asset_key("settings")]))

    def fill(self, study: Study) -> None:
        """Raw data, the tables made from it, and the checks of a study."""
        raw_data, windows = study.asset_key("raw_data"), study_windows(study, now=datetime.now(timezone.utc))
        participants = self._instance.get_dynamic_partitions(participants_name(study.id))
        everything = Rectangle(tuple(participants), tuple(window.key for window in windows))
        _say(f"{study.key}: asking what the phones of {len(participants)} participants reported")
        self._count(self._run([study.asset_key("participant")], tags=stretch_tags(participants)))
        _say(f"{study.key}: downloading {len(participants)} participants x {len(windows)} weeks")
        unreadable = {
            CellKey(participant, window.key)
            for participant, hour in self._living.unreadable_hours()
            for window in windows
            if hour in window
        }
        below = [key for key in self._graph.toposorted_asset_keys if raw_data in self._upstream(key)]
        rectangles = list(everything.split(PARTITIONS_PER_RUN))
        for rectangle in rectangles:
            self._download(raw_data, rectangle, unreadable)
        for table in below:
            partitions = self._partitions(table)
            if partitions is not None:
                _say(f"{study.key}: building {table.path[-1]}")
                is_grid = partitions == self._partitions(raw_data)
                for tags in [each.tags for each in rectangles] if is_grid else [self._range_of_all(partitions)]:
                    self._count(self._run([table], tags=tags))
        summaries = [key for key in below if self._partitions(key) is None]
        _say(f"{study.key}: checking")
        first = [key for key in summaries if key == study.asset_key("quality")]  # coverage draws what it has measured
        for keys in filter(None, (first, [key for key in summaries if key not in first])):
            self._check(keys)

    def _download(self, raw_data: dg.AssetKey, rectangle: Rectangle, unreadable: AbstractSet[CellKey]) -> None:
        result = self._run([raw_data], tags=rectangle.tags)
        events = recorded(self._instance, result.run_id)
        open_cells = set(rectangle.cells()) - {CellKey.parse(event.partition or "") for event in events}
        for cell in sorted(open_cells & unreadable):
            _say(
                f"  {cell} stays incomplete, as planned: the server cannot read an hour of it. A later run tries again."
            )
        self.failed_runs += not (result.success or open_cells <= unreadable)
        files, size, stored = (
            sum(_number(event, name) for event in events) for name in ("files", "size_bytes", "stored_bytes")
        )
        self.files, self.stored_bytes = self.files + files, self.stored_bytes + stored
        run = self._instance.get_run_by_id(result.run_id)
        downloaded = traffic_of(run.tags if run else {}).size_bytes
        _say(
            f"  {len(events)} weeks recorded: {counted(files, 'file')}, {human_size(size)}; "
            f"downloaded {human_size(downloaded)}, encrypted {human_size(stored)}"
        )

    def _check(self, summaries: Sequence[dg.AssetKey]) -> None:
        checks = [key for key in self._graph.asset_check_keys if key.asset_key in summaries]
        result = self._run(summaries, checks=checks)
        self._count(result)
        for evaluation in result.get_asset_check_evaluations():
            if not evaluation.passed:
                text = f"{evaluation.check_name} ({evaluation.severity.value}): {evaluation.description}"
                _say(indent(text, "  "))

    def _run(
        self,
        keys: Sequence[dg.AssetKey],
        *,
        checks: Sequence[dg.AssetCheckKey] = (),
        tags: Mapping[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        return execute(self._definitions, self._instance, keys, checks=checks, tags=tags)

    def _count(self, result: dg.ExecuteInProcessResult) -> None:
        self.failed_runs += not result.success

    def _unpartitioned(self) -> list[dg.AssetKey]:
        return [key for key in self._graph.toposorted_asset_keys if self._partitions(key) is None]

    def _partitions(self, key: dg.AssetKey) -> dg.PartitionsDefinition | None:
        return self._graph.get(key).partitions_def

    def _range_of_all(self, partitions: dg.PartitionsDefinition) -> Mapping[str, str]:
        return stretch_tags(partitions.get_partition_keys(dynamic_partitions_store=self._instance))

    def _upstream(self, key: dg.AssetKey) -> AbstractSet[dg.AssetKey]:
        return self._graph.get_ancestor_asset_keys(key)


def _say(text: str) -> None:
    print(text, flush=True)


def recorded(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetMaterialization]:
    """What a run recorded, even if it failed."""
    events = [log.dagster_event for log in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)]
    return [event.step_materialization_data.materialization for event in events if event is not None]


def _number(event: dg.AssetMaterialization, name: str) -> int:
    value = event.metadata[name].value
    return value if isinstance(value, int) else 0


def execute(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    keys: Collection[dg.AssetKey],
    *,
    checks: Collection[dg.AssetCheckKey] = (),
    tags: Mapping[str, str] | None = None,
    partition: str | None = None,
) -> dg.ExecuteInProcessResult:
    """Run some assets and checks in this process.

    Raises ``KeyboardInterrupt`` if that is interrupted: Dagster takes it for the failure of one run, but Ctrl-C ends
    the command.
    """
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(keys), asset_check_selection=set(checks)
    )
    result = job.execute_in_process(
        instance=instance,
        tags=dict(tags or {}),
        partition_key=partition,
        run_config=_QUIET,
        raise_on_error=False,
    )
    run = instance.get_run_by_id(result.run_id)
    if run is not None and run.tags.get("dagster/failure_reason") == "UNEXPECTED_TERMINATION":
        raise KeyboardInterrupt
    return result
