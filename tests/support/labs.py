"""A small lab: one study on a simulated server, its definitions, and what Dagster's daemon does with them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import dagster as dg
import pandas as pd
import time_machine
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest
from damage import flip

from dagster_beiwe import BeiweClient, BeiweResource, EnvCredentials
from dagster_beiwe.assets import DEFAULT_TRANSLATOR, AssetOptions, BeiweTranslator, StudyAssets, translated
from dagster_beiwe.automation.audit import build_audit_job
from dagster_beiwe.automation.changes_sensor import build_changes_sensor
from dagster_beiwe.automation.schedules import build_checks_job
from dagster_beiwe.checks import checks_of
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.versions import Version
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.lake.storage.local import LocalStorage
from dagster_beiwe.partitions.definitions import PARTICIPANT, WINDOW, participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study

NOW = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
MONDAY = (NOW - timedelta(days=NOW.weekday())).date()
START = MONDAY - timedelta(weeks=3)
_NEXT_MONDAY = (MONDAY + timedelta(weeks=1)).isoformat()
WEEKS = [(START + timedelta(weeks=n)).isoformat() for n in range(4)]
PASSPHRASE = "a passphrase for tests only"
PARTICIPANTS = ("anna0001", "bert0002", "cleo0003")
AT_ONCE = dg.RetryPolicy(max_retries=0)

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
START_TAG, END_TAG = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def version(at: int = 1, *, counts: str = "", compared: int = 0) -> Version:
    """A complete version of some window."""
    return Version(at, 0, 0, "0" * 8, b"", 0, True, counts, compared)


def moment(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), timezone.utc)


def later(*, hours: float) -> time_machine.travel:
    """The clock of this process, some hours on."""
    return time_machine.travel(datetime.now(timezone.utc) + timedelta(hours=hours))


def before_the_week_ends(*, hours: float) -> time_machine.travel:
    """The clock of this process, turned back on a Sunday evening: so many hours from now are in the same week."""
    monday = datetime.fromisoformat(_NEXT_MONDAY).replace(tzinfo=timezone.utc)
    return time_machine.travel(min(datetime.now(timezone.utc), monday - timedelta(hours=hours)))


def day_of_week(week: int, day: int = 2) -> date:
    return START + timedelta(weeks=week, days=day)


def world_of(
    *participants: str | ParticipantPlan, zone: str = "America/New_York", hours: Sequence[int] = (12,)
) -> World:
    """A study with one file of GPS and one of power state in each of the hours since ``START``."""
    plan = StudyPlan(
        name="Sleep and Mood",
        time_zone=zone,
        participants=tuple(ParticipantPlan(id=each) if isinstance(each, str) else each for each in participants),
        start=moment(START, 0),
        hours=tuple(hours),
        streams=("gps", "power_state"),
        content=ContentPlan(rows_by_stream={"gps": 5, "power_state": 3}),
    )
    return World.build(plan)


class Impatient(BeiweResource):
    """Does not wait between attempts, so that no test does."""

    def get_client(self, *, policy: HttpPolicy | None = None) -> BeiweClient:
        return super().get_client(policy=HttpPolicy(attempts=2, backoff_first_seconds=0))


class Lab:
    """Evaluates the sensor and runs what it requests, in this process, as the daemon does in others."""

    def __init__(
        self,
        server: SimulatedServer,
        instance: dg.DagsterInstance,
        *,
        translator: BeiweTranslator = DEFAULT_TRANSLATOR,
        **configured: Any,
    ) -> None:
        (only,) = server.world.studies.values()
        fields: dict[str, Any] = {"start": START, "streams": ("gps", "power_state"), **configured}
        config = StudyConfig(only.id, **fields)
        study = Study(id=only.id, name=only.name, key="sleep", start=config.start, config=config)
        self.study = translated(study, translator)
        self.server, self.world, self.instance = server, server.world, instance
        self.beiwe = Impatient(credentials=EnvCredentials())
        self.cursor: str | None = None
        options = AssetOptions(pool="beiwe_test", retry_policy=AT_ONCE, translator=translator)
        self.assets = StudyAssets.of(self.study, options)
        self.checks = checks_of(self.study)
        self.checks_job = build_checks_job(self.study, self.assets.summaries, self.checks, quality=self.assets.quality)
        self.sensor = build_changes_sensor(self.study, self.assets.raw_data, self.checks_job, interval_seconds=0)
        self.resources: dict[str, Any] = {
            "beiwe": self.beiwe,
            "beiwe_table_io_manager": EncryptedTableIOManager(beiwe=self.beiwe),
            "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=self.beiwe),
        }
        self.definitions = dg.Definitions(
            assets=self.assets.all,
            asset_checks=[self.checks],
            sensors=[self.sensor],
            jobs=[self.checks_job, build_audit_job(self.study, options)],
            resources=self.resources,
            executor=dg.in_process_executor,
        )
        self.job = self.definitions.resolve_implicit_global_asset_job_def()
        self.skipped = ""

    @property
    def lake(self) -> StudyLake:
        return self.beiwe.study_lake(self.study)

    def damage_manifest(self, participant: str, window: str) -> None:
        """Change a byte of what a window's newest version says."""
        lake = self.lake
        version = lake.index(participant)[window]
        assert isinstance(lake.storage, LocalStorage)
        home = LogLayout(lake.study_id).home(Subject(participant))
        flip(lake.storage.root / home.manifest(version.base, version.nonce))

    @property
    def partitions(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions(participants_name(self.study.id)))

    def windows_with_data(self) -> list[str]:
        """Partition keys of what the server has inside the weeks."""
        starts = [moment(START, 0) + timedelta(weeks=number) for number in range(5)]
        return [
            f"{one}|{week}"
            for one in sorted(self.world.study(self.study.id).participants)
            for week, start, end in zip(WEEKS, starts, starts[1:], strict=False)
            if self.world.files(self.study.id, participants=[one], start=start, end=end)
        ]

    def key(self, name: str) -> dg.AssetKey:
        return self.study.asset_key(name)

    def run(
        self,
        *names: str,
        tags: dict[str, str] | None = None,
        partition: str | None = None,
        checks: Sequence[str] = (),
        config: dict[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialise assets by name and evaluate checks by name."""
        wanted = {key for key in self.checks.check_keys if key.name in checks}
        job = self.job.get_subset(asset_selection={self.key(name) for name in names}, asset_check_selection=wanted)
        ops = {f"{self.study.key}_check_data": {"config": config}} if config else {}
        run_config: dict[str, Any] = {**QUIET, "ops": ops}
        return job.execute_in_process(
            instance=self.instance, tags=tags, partition_key=partition, run_config=run_config, raise_on_error=False
        )

    def audit(self) -> dg.ExecuteInProcessResult:
        """One run of the audit."""
        return self.definitions.resolve_job_def("sleep_audit").execute_in_process(
            instance=self.instance, run_config=QUIET, raise_on_error=False
        )

    def enrol(self) -> None:
        """Make the participants partitions."""
        ids = sorted(self.world.study(self.study.id).participants)
        self.instance.add_dynamic_partitions(participants_name(self.study.id), ids)

    def backfill(self) -> None:
        """Everything once."""
        self.enrol()
        assert self.run("raw_data", tags=self.range_tags()).success

    def range_tags(self) -> dict[str, str]:
        """Of a run over all partitions."""
        return dict(rectangle_tags(self.partitions, WEEKS))

    def tick(self) -> list[dg.RunRequest]:
        """One evaluation of the sensor, which keeps its cursor."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"beiwe": self.beiwe}, definitions=self.definitions
        ) as context:
            result = self.sensor.evaluate_tick(context)
        self.cursor, self.skipped = result.cursor, str(result.skip_message or "")
        return list(result.run_requests or ())

    def requested(self) -> list[str]:
        """One evaluation; gives the partitions that it requests."""
        return sorted(key for request in raw_data_requests(self.tick()) for key in self.partitions_of(request))

    def follow(self) -> list[str]:
        """One evaluation, and the runs of raw_data that it requests; gives their partitions."""
        wanted = raw_data_requests(self.tick())
        for request in wanted:
            self.run("raw_data", tags=dict(request.tags))
        return sorted(key for request in wanted for key in self.partitions_of(request))

    def partitions_of(self, request: dg.RunRequest) -> list[str]:
        grid = self.definitions.resolve_assets_def(self.key("raw_data")).partitions_def
        assert isinstance(grid, dg.MultiPartitionsDefinition)
        assert {definition.name for definition in grid.partitions_defs} == {PARTICIPANT, WINDOW}
        ends = dg.PartitionKeyRange(request.tags[START_TAG], request.tags[END_TAG])
        keys = map(str, grid.get_partition_keys_in_range(ends, dynamic_partitions_store=self.instance))
        # On a Sunday, ``later`` may lead into a week that begins after the tests have.
        return [key for key in keys if key.rpartition("|")[2] < _NEXT_MONDAY]

    def check(self, name: str, **config: Any) -> dg.AssetCheckEvaluation:
        """Evaluate one check alone."""
        (evaluation,) = self.run(checks=[name], config=config).get_asset_check_evaluations()
        return evaluation

    def table(self, name: str) -> pd.DataFrame:
        result = self.run(name)
        assert result.success
        frame: pd.DataFrame = result.output_for_node(self.definitions.resolve_assets_def(self.key(name)).op.name)
        return frame

    def routes(self) -> list[str]:
        """What was asked since the requests were last forgotten."""
        return [record.route for record in self.server.requests]


def raw_data_requests(requests: Sequence[dg.RunRequest]) -> list[dg.RunRequest]:
    return [request for request in requests if START_TAG in request.tags]


def values(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    return {name: value.value for name, value in evaluation.metadata.items()}


def rows(evaluation: dg.AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    table = evaluation.metadata[name]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(record.data) for record in table.records]


def stale_because_of(lab: Lab, name: str, partition: str) -> Collection[str] | None:
    """What makes a partition stale: nothing if it is fresh; None if it is missing."""
    resolver = CachingStaleStatusResolver(
        lab.instance, lab.job.asset_layer.asset_graph, LoadingContextForTest(lab.instance)
    )
    if resolver.get_status(lab.key(name), partition) == StaleStatus.MISSING:
        return None
    causes = resolver.get_stale_causes(lab.key(name), partition)
    return [cause.dependency_asset_key.path[-1] if cause.dependency_asset_key else cause.reason for cause in causes]


def evaluated(lab: Lab, cursor: Any = None) -> dg.EvaluateAutomationConditionsResult:
    """One evaluation of all conditions, as the daemon does it."""
    return dg.evaluate_automation_conditions(
        lab.definitions, lab.instance, asset_selection=dg.AssetSelection.all(), cursor=cursor
    )
