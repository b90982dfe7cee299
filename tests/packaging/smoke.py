"""What a new installation has to do at least: ``python smoke.py FOLDER``, with the package and what it needs alone.

One window of a simulated server is materialized into an encrypted lake, proven, and read back.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest.mock import patch

import dagster as dg

from dagster_beiwe import BeiweLake, BeiwePartitions, StudyConfig, build_beiwe_definitions
from dagster_beiwe.cli import main as dagster_beiwe
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, StudyPlan, World

START = datetime(2026, 3, 2, tzinfo=timezone.utc)
ROWS = 5
PASSPHRASE = "a passphrase for tests only"
PLAN = StudyPlan(
    name="Smoke",
    participants=1,
    start=START,
    end=START + timedelta(days=7),
    hours=(9,),
    streams=("gps", "audio_recordings"),
    content=ContentPlan(rows=ROWS),
)


def main(folder: Path) -> None:
    lake = folder / "lake"
    with SimulatedServer(World.build(PLAN, now=START + timedelta(days=7))) as server:
        environment = {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": str(lake),
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        }
        with patch.dict(os.environ, environment), dg.DagsterInstance.ephemeral() as instance:
            definitions = build_beiwe_definitions([StudyConfig("Smoke", start=START.date())], state_folder=folder)
            materialize(definitions, "roster", instance)
            raw_data = definitions.resolve_assets_def(dg.AssetKey(["beiwe", "smoke", "raw_data"]))
            assert raw_data.partitions_def
            window, *_ = raw_data.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
            materialize(definitions, "raw_data", instance, window)
            assert dagster_beiwe(["verify"]) == 0
        (study_id,) = server.world.studies
    study = BeiweLake(lake).study(study_id, passphrase=PASSPHRASE)
    fixes = BeiwePartitions.of(study).read("gps")
    assert len(fixes) == 7 * ROWS
    files = [path.read_bytes() for path in lake.rglob("*") if path.is_file()]
    assert files
    assert not any(b"latitude" in each for each in files)
    print(f"{len(fixes)} fixes in {len(files)} files")


def materialize(
    definitions: dg.Definitions, name: str, instance: dg.DagsterInstance, partition: str | None = None
) -> None:
    key = dg.AssetKey(["beiwe", "smoke", name])
    job = definitions.resolve_implicit_job_def_def_for_assets([key])
    assert job is not None
    job.execute_in_process(instance=instance, asset_selection=[key], partition_key=partition)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
