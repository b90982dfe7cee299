"""A lab's own project with everything set, and ours merged into it: nothing of theirs changes, all of ours works."""

# Without `from __future__ import annotations`: Dagster reads the types of inputs and results when it decorates.

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.execution.api import execute_run
from worlds import START, WEEKS, small_world

from dagster_beiwe import (
    BeiweComponent,
    BeiwePartitions,
    Study,
    StudyConfig,
    build_beiwe_definitions,
    raw_data_partitions,
)
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import SimulatedServer, World

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

RAW = {"raw": dg.AssetIn(["beiwe", "sleep", "raw_data"])}


@pytest.fixture
def world() -> World:
    return small_world("Sleep and Mood", participants=2)


@dg.asset
def number() -> int:
    """An asset of the lab that names no IO manager."""
    return 3


@dg.op
def say() -> None:
    """An op of the lab."""


@dg.job
def ops() -> None:
    """A job of ops."""
    say()


@dg.logger
def quiet(_: dg.InitLoggerContext) -> logging.Logger:
    """A logger of the lab."""
    return logging.getLogger("lab")


def own_project(executor: dg.ExecutorDefinition = dg.multiprocess_executor) -> dg.Definitions:
    return dg.Definitions(
        assets=[number],
        schedules=[
            dg.ScheduleDefinition(
                name="every_day", job=ops, cron_schedule="@daily", default_status=dg.DefaultScheduleStatus.RUNNING
            )
        ],
        jobs=[ops, dg.define_asset_job("numbers", selection=[number])],
        resources={"io_manager": dg.InMemoryIOManager()},
        loggers={"quiet": quiet},
        executor=executor,
    )


def beiwe(per_study: Any = None) -> dg.Definitions:
    config = StudyConfig("Sleep and Mood", key="sleep", start=START, streams=["gps"])
    return build_beiwe_definitions([config], per_study=per_study)


def beiwe_in_yaml() -> dg.Definitions:
    text = f"studies: [{{study: Sleep and Mood, key: sleep, start: {START}, streams: [gps]}}]"
    return dg.build_defs_for_component(BeiweComponent.resolve_from_yaml(text))


@pytest.mark.parametrize("build", [beiwe, beiwe_in_yaml])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_project_keeps_its_executor_io_manager_loggers_and_jobs(
    server: SimulatedServer, first: str, build: Callable[[], dg.Definitions]
) -> None:
    """In either order of merging; ours brings resources under names of its own only, and all but the sensor that ends
    our own dead runs is off."""
    ours, theirs = build(), own_project()
    merged = dg.Definitions.merge(*((ours, theirs) if first == "ours" else (theirs, ours)))
    dg.Definitions.validate_loadable(merged)
    assert (ours.executor, ours.loggers or {}) == (None, {})
    assert {name for name in ours.resources or {} if not name.startswith("beiwe")} == set()
    assert merged.executor is theirs.executor
    assert merged.loggers == theirs.loggers
    assert (merged.resources or {})["io_manager"] is (theirs.resources or {})["io_manager"]
    assert ours.metadata == theirs.metadata == {}
    repository = merged.get_repository_def()
    on: list[Any] = [*repository.schedule_defs, *repository.sensor_defs]
    assert {each.name for each in on if each.default_status.value == "RUNNING"} == {"every_day", "beiwe_dead_runs"}
    assert {job.name for job in merged.get_repository_def().get_all_jobs()} >= {"ops", "numbers"}
    for name in ("ops", "numbers"):
        assert merged.resolve_job_def(name).executor_def is dg.multiprocess_executor
        assert merged.resolve_job_def(name).execute_in_process().success


def per_window(study: Study) -> list[dg.AssetsDefinition]:
    @dg.asset(
        key=["beiwe", "sleep", "per_window"],
        ins=RAW,
        partitions_def=raw_data_partitions(study),
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="beiwe_table_io_manager",
        metadata=study.to_metadata(),
    )
    def per_window(raw: BeiwePartitions) -> dict[str, pd.DataFrame]:
        return {key: window.read("gps") for key, window in raw.items()}

    return [per_window]


def multiprocess_project() -> dg.Definitions:
    """Made anew in each step's process."""
    return dg.Definitions.merge(beiwe(per_window), own_project())


def test_everything_runs_in_processes_of_its_own(
    server: SimulatedServer, study: Study, stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raw data of a range, what is made of it in the same run, a table of the whole study, and the checks."""
    people = sorted(server.world.study(study.id).participants)
    stored_instance.add_dynamic_partitions(participants_name(study.id), people)
    names = ["raw_data", "per_window", "coverage"]
    project = ReconstructableRepository.for_file(
        __file__, multiprocess_project.__name__, working_directory=str(Path(__file__).parent)
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # it looks for modules nowhere else
    fork = {"forkserver": {"preload_modules": [__name__]}}
    with dg.execute_job(
        project.get_reconstructable_job("__ASSET_JOB"),
        stored_instance,
        {"execution": {"config": {"max_concurrent": 2, "start_method": fork}}},
        tags=dict(rectangle_tags(people, WEEKS)),
        asset_selection=[dg.AssetKey(["beiwe", "sleep", name]) for name in names],
    ) as result:
        assert result.success
        events = result.filter_events(lambda event: event.is_step_materialization)
        recorded = [(event.asset_key.path[-1], str(event.partition)) for event in events if event.asset_key]
        checked = {each.check_name for each in result.get_asset_check_evaluations()}
    cells = [f"{one}|{week}" for one in people for week in WEEKS]
    assert sorted(recorded) == sorted(
        [("coverage", "None"), *((name, cell) for name in ("raw_data", "per_window") for cell in cells)]
    )
    assert checked == {"complete", "intact", "protected", "silent"}


class Lab:
    """Runs assets as Dagster's launchers do. ``execute_in_process`` would keep in memory what Dagster pickles."""

    def __init__(self, instance: dg.DagsterInstance, *assets: Any, resources: Any = None) -> None:
        self.instance = instance
        own = dg.Definitions(assets=assets, resources=resources, executor=dg.in_process_executor)
        self._job = dg.Definitions.merge(beiwe(), own).resolve_implicit_global_asset_job_def()

    def run(self, *keys: list[str], checks: tuple[str, ...] = (), tags: Any = None) -> str:
        """The message of the failure; empty if there was none."""
        graph = self._job.asset_layer.asset_graph
        wanted = {key for key in graph.asset_check_keys if key.name in checks}
        job = self._job.get_subset(
            asset_selection={dg.AssetKey(key) for key in keys}, asset_check_selection=frozenset(wanted)
        )
        run = self.instance.create_run_for_job(job, tags=tags)
        execute_run(InMemoryJob(job), run, self.instance)
        logs = self.instance.all_logs(run.run_id)
        events = [log.dagster_event for log in logs if log.dagster_event]
        self.evaluations = [
            event.asset_check_evaluation_data
            for event in events
            if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ]
        failures = [event.step_failure_data.user_failure_data for event in events if event.is_step_failure]
        return " ".join(str(failure.description) for failure in failures if failure)


@pytest.fixture
def filled(server: SimulatedServer, study: Study, instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """One window of raw data."""
    ids = sorted(server.world.study(study.id).participants)
    instance.add_dynamic_partitions(participants_name(study.id), ids)
    assert not Lab(instance).run(["beiwe", "sleep", "raw_data"], tags={"dagster/partition": f"{ids[0]}|{WEEKS[0]}"})
    return instance


def test_participants_data_are_not_handed_to_what_dagster_pickles(filled: dg.DagsterInstance) -> None:
    """With the ways out: another IO manager, an annotation, or the word that nothing is about participants."""

    @dg.asset(ins=RAW)
    def pickled(raw: BeiwePartitions) -> pd.DataFrame:
        return raw.read("gps")

    @dg.asset(ins=RAW)
    def nothing(raw: BeiwePartitions) -> None: ...

    @dg.asset(ins=RAW)
    def told(raw: BeiwePartitions) -> dg.MaterializeResult:  # type: ignore[type-arg]  # as labs write it
        return dg.MaterializeResult(metadata={"rows": len(raw.read("gps"))})

    @dg.asset(ins=RAW, metadata={NO_PARTICIPANTS_METADATA_KEY: True})
    def harmless(raw: BeiwePartitions) -> int:
        return len(raw)

    @dg.asset(ins=RAW, io_manager_key="beiwe_table_io_manager")
    def table(raw: BeiwePartitions) -> pd.DataFrame:
        return raw.read("gps")

    @dg.asset
    def below_a_table(table: pd.DataFrame) -> pd.DataFrame:
        return table

    lab = Lab(filled, pickled, nothing, told, harmless, table, below_a_table)
    message = lab.run(["pickled"])
    assert "pickled reads participants' data" in message
    assert "Nothing was read" in message
    assert 'io_manager_key="beiwe_table_io_manager"' in message
    assert lab.run(["nothing"], ["told"], ["harmless"], ["table"]) == ""
    assert "below_a_table reads participants' data" in lab.run(["below_a_table"])
    stored = Path(filled.storage_directory())
    assert [name for name in ("pickled", "below_a_table", "harmless") if (stored / name).exists()] == ["harmless"]


def test_a_pickle_that_an_asset_left_fails_the_check_protected(filled: dg.DagsterInstance) -> None:
    """Made of data that came by other ways than our IO managers."""

    @dg.asset(key=["beiwe", "sleep", "by_hand"])
    def by_hand() -> list[float]:
        return [52.5, 13.4]

    lab = Lab(filled, by_hand)
    lab.run(checks=("protected",))
    assert lab.evaluations[0].passed
    assert not lab.run(["beiwe", "sleep", "by_hand"])
    lab.run(checks=("protected",))
    (protected,) = lab.evaluations
    assert not protected.passed
    assert "readable pickle" in str(protected.description)
    assert "beiwe/sleep/by_hand" in str(protected.metadata["first findings"])
