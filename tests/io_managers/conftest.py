"""Fixtures: a project on a copy of a filled lake."""

import subprocess
from pathlib import Path

import dagster as dg
import pytest
from dagster_fixtures import instance as empty_instance
from io_project import Project
from reading_fixtures import shared_lake, shared_world
from reading_helpers import ANDROID, IOS, PASSPHRASE, START

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.partitions.definitions import participant_partitions
from dagster_beiwe.simulator import World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study


@pytest.fixture
def study(shared_world: World) -> Study:
    (only,) = shared_world.studies.values()
    return Study(id=only.id, name=only.name, key="sleep", start=START.date(), config=StudyConfig(only.id))


@pytest.fixture
def instance(study: Study, empty_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    """Dagster's history, with the study's participants."""
    empty_instance.add_dynamic_partitions(participant_partitions(study.id).name or "", [ANDROID, IOS])
    return empty_instance


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, shared_lake: StudyLake, tmp_path: Path) -> Path:
    """A copy of the filled lake, so that tables can be written to it."""
    folder = tmp_path / "lake"
    subprocess.run(["cp", "-a", shared_lake.storage.describe(), str(folder)], check=True)
    for name, value in {
        "BEIWE_URL": "http://127.0.0.1:9",
        "BEIWE_ACCESS_KEY": "access",
        "BEIWE_SECRET_KEY": "secret",
        "BEIWE_LAKE": str(folder),
        "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("BEIWE_KEYRING_SECTION", raising=False)
    return folder


@pytest.fixture
def project(environment: Path, study: Study, instance: dg.DagsterInstance) -> Project:
    return Project(environment, study, instance)


__all__ = [
    "empty_instance",
    "environment",
    "instance",
    "project",
    "shared_lake",
    "shared_world",
    "study",
]
