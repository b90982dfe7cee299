"""A simulated server, a lake and a Dagster instance for each test; nothing outlives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from labs import PARTICIPANTS, PASSPHRASE, Lab, world_of

from dagster_beiwe.lake.catalog import key_file
from dagster_beiwe.simulator import SimulatedServer, World

DAGSTERS_OWN_WARNINGS = (
    "ignore:InitResourceContext.dagster_run is deprecated:DeprecationWarning",  # its nested resources
    "ignore:Property .ScheduleDefinition:DeprecationWarning",  # its snapshots of schedules
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings are errors, but not where Dagster warns of itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in DAGSTERS_OWN_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of these lakes need not resist anybody: deriving real ones would take most of the tests' time."""
    monkeypatch.setattr(key_file, "LOG2_N", 10)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's history in memory."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def open_lab(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., Lab]]:
    """Makes a lab for a world: its server runs until the test ends."""
    running: list[SimulatedServer] = []

    def make(world: World | None = None, *, profile: str = "2026-03", **facts: object) -> Lab:
        server = SimulatedServer(world or world_of(*PARTICIPANTS), profile=profile).start()
        running.append(server)
        for name in ("BEIWE_STUDIES", "BEIWE_START", "BEIWE_KEYRING_SECTION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BEIWE_URL", server.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
        monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "lake"))
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        return Lab(server, instance, **facts)

    yield make
    for server in running:
        server.stop()


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    """Three participants, four weeks, two streams."""
    return open_lab()
