"""A simulated server, a lake and a Dagster instance for each test; nothing outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from worlds import PASSPHRASE, START, small_world

from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies.study import Study

DAGSTERS_OWN_WARNINGS = (
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning",  # its nested resources
    "ignore:Property .ScheduleDefinition:DeprecationWarning",  # its snapshots of schedules
    "ignore:.parse_obj_as. is deprecated",  # its reading of YAML
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors, but not where Dagster warns of itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in DAGSTERS_OWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture
def world() -> World:
    return small_world("Sleep and Mood")


@pytest.fixture
def server(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SimulatedServer]:
    """The server, with the environment that points to it, to a lake and to a Dagster home."""
    with SimulatedServer(world) as running:
        for name in ("BEIWE_STUDIES", "BEIWE_START", "BEIWE_KEYRING_SECTION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BEIWE_URL", running.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", running.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", running.secret_key)
        monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "lake"))
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
        (tmp_path / "home").mkdir()
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
        yield running


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's history in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Dagster's history in sqlite files, as a small lab has it."""
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.local_temp(str(tmp_path / "stored")) as local:
        yield local


@pytest.fixture
def study(world: World) -> Study:
    """The world's only study, weekly since ``START``, two streams."""
    (only,) = world.studies.values()
    return Study(id=only.id, name=only.name, key="sleep", start=START, streams=("gps", "power_state"))
