"""The encrypted lake: layout, manifests and commits. Knows nothing of HTTP or Dagster."""

from dagster_beiwe.lake.lake import BeiweLake
from dagster_beiwe.lake.manifest import FileRecord, Hole, Manifest
from dagster_beiwe.lake.merge import Arrival, Changes, Merge, Occasion
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import LakeWriter

__all__ = [
    "Arrival",
    "BeiweLake",
    "Changes",
    "FileRecord",
    "Hole",
    "LakeWriter",
    "Manifest",
    "Merge",
    "Occasion",
    "StudyLake",
]
