"""What the sensor's look costs where the lake lies in an object store."""

from __future__ import annotations

import dagster as dg
import pytest
from object_helpers import PASSPHRASE, S3, START, STUDY, cells_of, small_world

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.assets import AssetOptions, StudyAssets
from dagster_beiwe.automation.changes_sensor import build_changes_sensor
from dagster_beiwe.automation.schedules import build_checks_job
from dagster_beiwe.checks import checks_of
from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import StudySync

pytestmark = pytest.mark.filterwarnings(  # Dagster's nested resources
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning"
)

PEOPLE = tuple(f"person{number:02}" for number in range(6))


def look(resource: BeiweResource, study: Study, instance: dg.DagsterInstance, cursor: str | None) -> str:
    """Evaluate the sensor; what it remembers."""
    assets = StudyAssets.of(study, AssetOptions(pool="test", retry_policy=dg.RetryPolicy(max_retries=0)))
    checks = checks_of(study)
    job = build_checks_job(study, assets.summaries, checks)
    sensor = build_changes_sensor(study, assets.raw_data, job, interval_seconds=0)
    resources = {
        "beiwe": resource,
        "beiwe_table_io_manager": EncryptedTableIOManager(beiwe=resource),
        "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=resource),
    }
    definitions = dg.Definitions(assets=assets.all, asset_checks=[checks], sensors=[sensor], resources=resources)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"beiwe": resource}, definitions=definitions
    ) as context:
        result = sensor.evaluate_tick(context)
    assert result.cursor
    return result.cursor


def test_a_look_is_two_requests_however_many_participants_there_are(
    url: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody is up to date; another run's commit is seen, and a log that was begun anew is read anew."""
    with (
        SimulatedServer(small_world(participants=tuple(ParticipantPlan(id=each) for each in PEOPLE))) as server,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        for name, value in {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": url,
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        }.items():
            monkeypatch.setenv(name, value)
        resource = BeiweResource(credentials=EnvCredentials())
        study = Study(
            id=STUDY, name="Objects", key="objects", start=START.date(), config=StudyConfig(STUDY, streams=["gps"])
        )
        instance.add_dynamic_partitions(participants_name(STUDY), PEOPLE)
        with resource.get_client() as client:
            sync = StudySync(client, resource.study_lake(study), run_id="run")
            assert all(report.complete for report in sync.run(cells_of(*PEOPLE[:-1])[::2]))
            cursor = look(resource, study, instance, None)
            s3.requests.clear()
            cursor = look(resource, study, instance, cursor)
            assert len(s3.requests) <= 2
            list(StudySync(client, resource.study_lake(study), run_id="another").run(cells_of(PEOPLE[-1])[:1]))
            s3.requests.clear()
            look(resource, study, instance, cursor)
            assert len(s3.requests) < 10
