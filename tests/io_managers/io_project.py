"""A project whose assets read raw data and write tables."""

import re
from pathlib import Path
from typing import Any

import dagster as dg

from dagster_beiwe.io_managers import EncryptedLakeIOManager, EncryptedTableIOManager
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import raw_data_partitions
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.studies.study import Study

TABLES = "beiwe_table_io_manager"


class Project:
    """A study with filled raw data, and runs of assets below it."""

    def __init__(self, folder: Path, study: Study, instance: dg.DagsterInstance) -> None:
        self.folder, self.study, self.instance = folder, study, instance
        self.raw = dg.AssetSpec(
            ["beiwe", study.key, "raw_data"],
            partitions_def=raw_data_partitions(study),
            metadata={**study.to_metadata(), "dagster/io_manager_key": "beiwe_lake_io_manager"},
        )

    def run(self, *assets: Any, partition: str | None = None, raise_on_error: bool = True, **options: Any) -> Any:
        beiwe = BeiweResource(credentials=EnvCredentials())
        resources = {
            "beiwe": beiwe,
            "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe),
            TABLES: EncryptedTableIOManager(beiwe=beiwe),
        }
        return dg.materialize(
            [self.raw, *assets],
            selection=[assets[-1]] if options.pop("last_only", False) else list(assets),
            instance=self.instance,
            resources=resources,
            partition_key=partition,
            raise_on_error=raise_on_error,
            **options,
        )

    @property
    def lake(self) -> StudyLake:
        return BeiweResource(credentials=EnvCredentials()).study_lake(self.study)

    def raw_input(self) -> dict[str, dg.AssetIn]:
        return {"raw": dg.AssetIn(self.raw.key)}


def tables_below(project: Project) -> list[str]:
    """Tables of the study, without what makes the names of their files unique."""
    root = project.folder / project.study.id
    paths = [path.relative_to(root).as_posix() for path in root.rglob("*.parquet*")]
    return sorted(re.sub(r"~\d+-[0-9a-f]{8}(?=\.parquet)", "", path) for path in paths)


def seen_windows(project: Project, partitions: dg.PartitionsDefinition[Any] | None, key: str | None) -> list[str]:
    """The partition keys of raw data that a downstream asset with these partitions is given."""
    seen: list[str] = []

    @dg.asset(ins=project.raw_input(), partitions_def=partitions)
    def downstream(raw: BeiwePartitions) -> None:
        seen.extend(each for each in raw if raw[each].committed)
        assert len(raw.read("gps")) > 0

    project.run(downstream, partition=key)
    return seen
