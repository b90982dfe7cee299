"""The encrypted lake: layout, manifests and commits. Knows nothing of HTTP or Dagster."""

from dagster_beiwe.lake.lake import BeiweLake
from dagster_beiwe.lake.manifest import FetchFailure, FileRecord, Manifest
from dagster_beiwe.lake.merge import Changes, CommitRequest, FetchedFile, Merge
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.lake.writer import LakeWriter

__all__ = [
    "BeiweLake",
    "Changes",
    "CommitRequest",
    "FetchFailure",
    "FetchedFile",
    "FileRecord",
    "LakeWriter",
    "Manifest",
    "Merge",
    "StudyLake",
]
