"""A simulated server and a lake with two weeks of one study, for the commands to work on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filled_lake import END, PASSPHRASE, START, fill
from rekeyed import NEW
from tasks_elsewhere import started, two_processes

from dagster_beiwe.cli import main
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

__all__ = ["started", "two_processes"]

STREAMS = ("accelerometer", "gps", "survey_answers")


@pytest.fixture(scope="session")
def server() -> Iterator[SimulatedServer]:
    plan = StudyPlan(
        name="Sleep", participants=["anna1111", "bert2222"], start=START, end=END, hours=(9,), streams=STREAMS
    )
    with SimulatedServer(World.build(plan, now=END)) as running:
        yield running


@pytest.fixture(scope="session")
def study_id(server: SimulatedServer) -> str:
    (only,) = server.world.studies
    return only


@pytest.fixture
def environment(server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The variables that a user sets; returns the lake's folder."""
    for name in ("BEIWE_KEYRING_SECTION", "BEIWE_KEYRING_FILE", "NRG_KEYRING_PASS", "BEIWE_STUDIES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BEIWE_URL", server.url)
    monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
    monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
    return tmp_path / "lake"


@pytest.fixture(scope="session")
def filled(server: SimulatedServer, study_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with everything in it, to be copied."""
    folder = tmp_path_factory.mktemp("filled") / "lake"
    fill(server, BeiweLake(folder).study(study_id, passphrase=PASSPHRASE))
    return folder


@pytest.fixture
def lake(environment: Path, filled: Path, study_id: str) -> StudyLake:
    """The study in a lake with everything in it."""
    shutil.copytree(filled, environment)
    return BeiweLake(environment).study(study_id, passphrase=PASSPHRASE)


@pytest.fixture
def place(environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the new lake is to be."""
    monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE_NEW", NEW)
    return environment.parent / "new"


@pytest.fixture
def objects(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    """Runs a command with ``--json``, and returns its status and objects; what it says beside them are objects too."""

    def run(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        status = main([*arguments, "--json"])
        printed = capsys.readouterr()
        for line in printed.err.splitlines():
            assert {"kind", "message"} <= json.loads(line).keys()
        return status, [json.loads(line) for line in printed.out.splitlines()]

    return run
