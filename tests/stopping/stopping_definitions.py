"""What the processes of these tests load: raw data of the study, under the executor that the environment names."""

from __future__ import annotations

import os

import dagster as dg
from stopping_lab import POOL, START, STUDY_ID

from dagster_beiwe import StudyConfig
from dagster_beiwe.assets import build_study_assets
from dagster_beiwe.automation.dead_runs_sensor import build_dead_runs_sensor
from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
from dagster_beiwe.resource import BeiweResource, EnvCredentials


@dg.definitions
def defs() -> dg.Definitions:
    study = StudyConfig(STUDY_ID, key="stopping", name="Stopping", start=START.date(), streams=("gps",))
    beiwe = BeiweResource(credentials=EnvCredentials())
    return dg.Definitions(
        assets=build_study_assets(study, pool=POOL),
        sensors=[build_dead_runs_sensor()],
        resources={
            "beiwe": beiwe,
            "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe),
            "beiwe_table_io_manager": EncryptedTableIOManager(beiwe=beiwe),
        },
        executor=EXECUTORS[os.environ.get("STOPPING_EXECUTOR", "multiprocess")],
    )


EXECUTORS = {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}
