"""Print how much Dagster's SQLite files grow per recorded partition and per run: ``python tests/faults/growth.py``."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
from fault_scene import NOW, STREAMS, STUDY

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.assets.raw_data import build_raw_data_asset
from dagster_beiwe.io_managers import EncryptedLakeIOManager
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import windows_between

CONFIG = StudyConfig(STUDY, window="daily", streams=STREAMS)
DAYS = 60


def growth(folder: Path) -> Iterator[tuple[int, int]]:
    """(partitions recorded, bytes grown) of one run over many partitions, and of one over a single one."""
    home, start = folder / "home", NOW - timedelta(days=DAYS)
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    world = World.build(StudyPlan(id=STUDY, name="G", start=start, hours=(5,), streams=STREAMS), now=NOW)
    with SimulatedServer(world) as server, dg.DagsterInstance.local_temp(str(home)) as instance:
        keys = {"URL": server.url, "ACCESS_KEY": server.access_key, "SECRET_KEY": server.secret_key}
        os.environ.update({f"BEIWE_{name}": value for name, value in keys.items()})
        os.environ.update(BEIWE_LAKE=str(folder / "lake"), BEIWE_LAKE_PASSPHRASE="growth")
        study = Study(id=STUDY, name="G", key="g", start=start.date(), config=CONFIG)
        beiwe = BeiweResource(credentials=EnvCredentials())
        definitions = dg.Definitions(
            assets=[build_raw_data_asset(study)],
            resources={"beiwe": beiwe, "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe)},
            executor=dg.in_process_executor,
        )
        job = definitions.resolve_implicit_global_asset_job_def()
        people = sorted(world.study(STUDY).participants)
        instance.add_dynamic_partitions(participants_name(STUDY), people)
        days = [window.key for window in windows_between("daily", start, NOW)]
        before = _size(home)
        for some, part in ((people, days), (people[:1], days[:1])):
            result = job.execute_in_process(instance=instance, tags=dict(rectangle_tags(some, part)))
            now = _size(home)
            yield len(result.get_asset_materialization_events()), now - before
            before = now


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        (many, large), (_, small) = growth(Path(place))
    print(f"a run over {many} partitions: {large / 1e6:.2f} MB, {large / many / 1e3:.1f} kB per partition")
    print(f"a run over one partition: {small / 1e3:.0f} kB")
