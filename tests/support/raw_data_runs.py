"""Runs of ``raw_data`` as Dagster launches them, without a webserver."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from dagster_beiwe import BeiweClient, BeiweResource, EnvCredentials
from dagster_beiwe.assets import AssetOptions
from dagster_beiwe.assets.raw_data import build_raw_data_asset
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.io_managers import EncryptedLakeIOManager
from dagster_beiwe.studies.study import Study

AT_ONCE = dg.RetryPolicy(max_retries=1)


class Impatient(BeiweResource):
    """Does not wait between attempts, so that no test does."""

    def get_client(self, *, policy: HttpPolicy | None = None) -> BeiweClient:
        return super().get_client(policy=policy or HttpPolicy(attempts=2, backoff_first_seconds=0))


class Launcher:
    """Runs raw_data in this process as Dagster's launchers do: with tags and, for a retry, a parent run."""

    def __init__(self, study: Study, instance: dg.DagsterInstance) -> None:
        asset = build_raw_data_asset(study, AssetOptions(pool="beiwe_test", retry_policy=AT_ONCE))
        beiwe = Impatient(credentials=EnvCredentials())
        resources = {"beiwe": beiwe, "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe)}
        definitions = dg.Definitions(assets=[asset], resources=resources, executor=dg.in_process_executor)
        self.key = asset.key
        self.instance = instance
        self._job = definitions.resolve_implicit_global_asset_job_def()

    def run(self, tags: Mapping[str, str], *, parent: dg.DagsterRun | None = None) -> dg.DagsterRun:
        run = self.instance.create_run_for_job(
            self._job,
            tags=tags,
            parent_run_id=parent.run_id if parent else None,
            root_run_id=(parent.root_run_id or parent.run_id) if parent else None,
        )
        execute_run(InMemoryJob(self._job), run, self.instance)
        finished = self.instance.get_run_by_id(run.run_id)
        assert finished is not None
        return finished

    def events(self, run: dg.DagsterRun) -> dict[str, dg.AssetMaterialization]:
        """{partition: event} of a run; one event per partition."""
        logs = self.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        found = [log.dagster_event.step_materialization_data.materialization for log in logs if log.dagster_event]
        assert len({event.partition for event in found}) == len(found)
        return {str(event.partition): event for event in found}


def grid(participants: list[str], weeks: list[str]) -> set[str]:
    return {f"{participant}|{week}" for participant in participants for week in weeks}


def failure_of(launcher: Launcher, run: dg.DagsterRun) -> str:
    (log,) = launcher.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert log.dagster_event
    data = log.dagster_event.step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)
