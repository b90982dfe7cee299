"""A lab's tables and checks below raw_data, in runs over several partitions, however they were launched."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and inputs when it decorates.

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pandas as pd
import pytest
from worlds import START, WEEKS, small_world

from dagster_beiwe import BeiwePartitions, StudyConfig, build_beiwe_definitions
from dagster_beiwe.partitions.definitions import (
    participant_partitions,
    participants_name,
    raw_data_partitions,
    window_partitions,
)
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.partitions import TablePartitions

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")

TABLES = "beiwe_table_io_manager"
WHOLE = dg.BackfillPolicy.single_run()
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture
def world() -> World:
    return small_world("Sleep and Mood", participants=2)


@pytest.fixture
def people(server: SimulatedServer, study: Study, instance: dg.DagsterInstance) -> list[str]:
    """The participants, who are partitions."""
    ids = sorted(server.world.study(study.id).participants)
    instance.add_dynamic_partitions(participants_name(study.id), ids)
    return ids


class Lab:
    """Definitions of a lab, and runs of them as Dagster's launchers start them."""

    def __init__(self, study: Study, instance: dg.DagsterInstance, *assets: Any, checks: Any = ()) -> None:
        self.study, self.instance = study, instance
        config = StudyConfig(study.id, key="sleep", start=START, streams=["gps"])
        self.definitions = dg.Definitions.merge(
            build_beiwe_definitions([config]),
            dg.Definitions(assets=assets, asset_checks=checks, executor=dg.in_process_executor),
        )
        self._job = self.definitions.resolve_implicit_global_asset_job_def()

    def run(
        self, *names: str, checks: tuple[str, ...] = (), tags: Mapping[str, str] | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        wanted = {key for key in self._job.asset_layer.asset_graph.asset_check_keys if key.name in checks}
        job = self._job.get_subset(
            asset_selection={self.key(name) for name in names}, asset_check_selection=frozenset(wanted)
        )
        return job.execute_in_process(
            instance=self.instance, tags=dict(tags or {}), run_config=QUIET, raise_on_error=False, **options
        )

    def key(self, name: str) -> dg.AssetKey:
        return dg.AssetKey(["beiwe", "sleep", name])

    def recorded(self, result: dg.ExecuteInProcessResult, name: str) -> list[str]:
        """Partitions of an asset that a run recorded, each as often as it did."""
        events = result.get_asset_materialization_events()
        return sorted(str(event.partition) for event in events if event.asset_key == self.key(name))

    def failure(self, result: dg.ExecuteInProcessResult) -> str:
        (event,) = [each for each in result.all_events if each.is_step_failure]
        failure = event.step_failure_data.user_failure_data
        assert failure is not None
        return str(failure.description)


def from_a_job(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of a run of a backfill that was launched from a job: Dagster 1.13 adds those of the range's first key."""
    participant, week = tags["dagster/asset_partition_range_start"].split("|")
    return {**tags, "dagster/partition/participant": participant, "dagster/partition/window": week}


def raw_input() -> dict[str, dg.AssetIn]:
    return {"raw": dg.AssetIn(["beiwe", "sleep", "raw_data"])}


def per_window(study: Study) -> dg.AssetsDefinition:
    @dg.asset(
        key=["beiwe", "sleep", "per_window"],
        ins=raw_input(),
        partitions_def=raw_data_partitions(study),
        backfill_policy=WHOLE,
        io_manager_key=TABLES,
        metadata=study.to_metadata(),
    )
    def per_window(raw: BeiwePartitions) -> dict[str, pd.DataFrame]:
        return {key: window.read("gps") for key, window in raw.items()}

    return per_window


def as_multi_asset(study: Study) -> dg.AssetsDefinition:
    out = dg.AssetOut(key=["beiwe", "sleep", "per_window"], io_manager_key=TABLES, metadata=study.to_metadata())

    @dg.multi_asset(
        name="several",
        ins=raw_input(),
        outs={"one": out},
        partitions_def=raw_data_partitions(study),
        backfill_policy=WHOLE,
    )
    def several(raw: BeiwePartitions) -> dict[str, pd.DataFrame]:
        return {key: window.read("gps") for key, window in raw.items()}

    return several


def as_graph_asset(study: Study) -> dg.AssetsDefinition:
    @dg.op(out=dg.Out(io_manager_key=TABLES))
    def read_windows(raw: BeiwePartitions) -> dict[str, pd.DataFrame]:
        return {key: window.read("gps") for key, window in raw.items()}

    @dg.graph_asset(
        key=["beiwe", "sleep", "per_window"],
        ins=raw_input(),
        partitions_def=raw_data_partitions(study),
        backfill_policy=WHOLE,
        metadata=study.to_metadata(),
    )
    def graph(raw: Any) -> Any:
        return read_windows(raw)

    return graph


@pytest.mark.parametrize(
    ("kind", "launched_by"),
    [(per_window, dict), (per_window, from_a_job), (as_multi_asset, from_a_job), (as_graph_asset, from_a_job)],
)
def test_a_table_in_the_run_of_raw_data_is_made_of_every_partition(
    kind: Any, launched_by: Any, people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """Each partition of both is recorded once, raw data with its own numbers, whether a page or a job launched it."""
    lab = Lab(study, instance, kind(study))
    tags = launched_by(rectangle_tags(people, WEEKS[:2]))
    result = lab.run("raw_data", "per_window", tags=tags)
    assert result.success
    cells = sorted(f"{one}|{week}" for one in people for week in WEEKS[:2])
    assert lab.recorded(result, "raw_data") == lab.recorded(result, "per_window") == cells
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        assert materialization.tags
        assert materialization.tags["dagster/partition/participant"] == str(event.partition).split("|")[0]
        assert materialization.tags["dagster/data_version"]
        assert "size_bytes" in materialization.metadata


def test_inputs_of_every_mapping_follow_the_range_of_a_job(
    people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """Tables of the same partition, of a participant, of a window, and of the week before."""

    def counts(name: str, partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
        @dg.asset(
            key=["beiwe", "sleep", name],
            partitions_def=partitions,
            backfill_policy=WHOLE,
            io_manager_key=TABLES,
            metadata=study.to_metadata(),
        )
        def table(context: dg.AssetExecutionContext) -> dict[str, pd.DataFrame]:
            return {str(key): pd.DataFrame({"n": [1]}) for key in context.partition_keys}

        return table

    grid, weeks = raw_data_partitions(study), window_partitions("weekly", START)
    before = dg.MultiPartitionMapping(
        {
            "participant": dg.DimensionPartitionMapping("participant", dg.IdentityPartitionMapping()),
            "window": dg.DimensionPartitionMapping(
                "window", dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=-1)
            ),
        }
    )
    upstream = [
        counts("of_person", participant_partitions(study.id)),
        counts("of_week", weeks),
        counts("of_cell", grid),
    ]
    seen: dict[str, list[str]] = {}

    @dg.asset(
        key=["beiwe", "sleep", "joined"],
        ins={
            "of_person": dg.AssetIn(["beiwe", "sleep", "of_person"]),
            "of_week": dg.AssetIn(["beiwe", "sleep", "of_week"]),
            "of_cell": dg.AssetIn(["beiwe", "sleep", "of_cell"], partition_mapping=before),
        },
        partitions_def=grid,
        backfill_policy=WHOLE,
    )
    def joined(of_person: TablePartitions, of_week: TablePartitions, of_cell: TablePartitions) -> None:
        seen.update(person=list(of_person), week=list(of_week), cell=list(of_cell))

    lab = Lab(study, instance, *upstream, joined)
    assert lab.run("of_person", tags=range_tags(people)).success
    assert lab.run("of_week", tags=range_tags(WEEKS)).success
    assert lab.run("of_cell", tags=rectangle_tags(people, WEEKS)).success
    assert lab.run("joined", tags=from_a_job(rectangle_tags(people, WEEKS[1:3]))).success
    assert seen == {
        "person": people,
        "week": WEEKS[1:3],
        "cell": sorted(f"{one}|{week}" for one in people for week in WEEKS[:2]),
    }


def range_tags(keys: list[str]) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}


def test_a_table_that_trusts_the_context_in_a_jobs_backfill_is_refused(
    people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """Dagster tells such a run its first partition only: one table of three would be recorded, and the run be green."""

    @dg.asset(
        key=["beiwe", "sleep", "trusting"],
        partitions_def=raw_data_partitions(study),
        backfill_policy=WHOLE,
        io_manager_key=TABLES,
        metadata=study.to_metadata(),
    )
    def trusting(context: dg.AssetExecutionContext) -> dict[str, pd.DataFrame]:
        return {str(key): pd.DataFrame({"n": [1]}) for key in context.partition_keys}

    lab = Lab(study, instance, trusting)
    tags = rectangle_tags(people[:1], WEEKS[:3])
    result = lab.run("trusting", tags=from_a_job(tags))
    assert lab.recorded(result, "trusting") == []
    assert f"this run has 3 partitions. Missing: {people[0]}|{WEEKS[1]}, {people[0]}|{WEEKS[2]}." in lab.failure(result)
    assert len(lab.recorded(lab.run("trusting", tags=tags), "trusting")) == 3


def test_checks_of_raw_data_run_in_the_run_of_a_range(
    people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """Also partitioned ones, whose result Dagster then records for no partition by name; the log says so."""
    seen: dict[str, int] = {}
    raw = dg.AssetKey(["beiwe", "sleep", "raw_data"])

    @dg.asset_check(asset=raw, partitions_def=raw_data_partitions(study))
    def by_window(raw_data: BeiwePartitions) -> dg.AssetCheckResult:
        seen["by_window"] = len(raw_data)
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset=raw)
    def as_a_whole(raw_data: BeiwePartitions) -> dg.AssetCheckResult:
        seen["as_a_whole"] = len(raw_data)
        return dg.AssetCheckResult(passed=True)

    lab = Lab(study, instance, checks=[by_window, as_a_whole])
    checks = ("by_window", "as_a_whole")
    result = lab.run("raw_data", checks=checks, tags=from_a_job(rectangle_tags(people, WEEKS[:2])))
    assert {each.check_name for each in result.get_asset_check_evaluations()} == set(checks)
    assert seen == {"by_window": 4, "as_a_whole": 8}
    warnings = [log.user_message for log in instance.all_logs(result.run_id) if log.level == 30]
    assert [text for text in warnings if "by_window runs once for all partitions of this run" in text]
    single = lab.run("raw_data", checks=checks, partition_key=f"{people[1]}|{WEEKS[1]}")
    results = {each.check_name: each.partition for each in single.get_asset_check_evaluations()}
    assert (results["by_window"], seen["by_window"]) == (f"{people[1]}|{WEEKS[1]}", 1)


def test_what_is_made_of_data_outside_all_windows_runs_with_it(
    people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """In one run, of one participant or of several."""
    seen: list[str] = []

    @dg.asset(
        key=["beiwe", "sleep", "after"],
        deps=[dg.AssetKey(["beiwe", "sleep", "out_of_range"])],
        partitions_def=participant_partitions(study.id),
        backfill_policy=WHOLE,
    )
    def after(context: dg.AssetExecutionContext) -> None:
        seen.extend(context.partition_keys)

    lab = Lab(study, instance, after)
    for options in ({"partition_key": people[0]}, {"tags": range_tags(people)}):
        result = lab.run("out_of_range", "after", **options)
        assert lab.recorded(result, "out_of_range") == lab.recorded(result, "after")
    assert seen == [people[0], *people]


def test_an_input_annotated_as_several_is_a_mapping_of_one_too(
    people: list[str], study: Study, instance: dg.DagsterInstance
) -> None:
    """A run of one partition and one of several can have the same code."""
    seen: list[list[str]] = []

    @dg.asset(
        key=["beiwe", "sleep", "reader"],
        ins={"tables": dg.AssetIn(["beiwe", "sleep", "per_window"])},
        partitions_def=raw_data_partitions(study),
        backfill_policy=WHOLE,
    )
    def reader(tables: dict[str, pd.DataFrame]) -> None:
        seen.append(list(tables))

    lab = Lab(study, instance, per_window(study), reader)
    key = f"{people[0]}|{WEEKS[0]}"
    assert lab.run("raw_data", "per_window", "reader", partition_key=key).success
    assert lab.run("reader", tags=rectangle_tags(people[:1], WEEKS[:1])).success
    assert seen == [[key], [key]]
