"""Fixtures: a simulated server, a lake and an empty Dagster instance for each test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from labs import PARTICIPANTS, Lab, world_of
from worlds import PASSPHRASE, START, small_world

from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study


@pytest.fixture
def world() -> World:
    return small_world("Sleep and Mood")


@pytest.fixture
def point_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[SimulatedServer], None]:
    """Set the environment that points to a server, to a lake and to a Dagster home."""
    home = tmp_path / "home"

    def point(server: SimulatedServer) -> None:
        for name in ("BEIWE_STUDIES", "BEIWE_START", "BEIWE_KEYRING_SECTION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("BEIWE_URL", server.url)
        monkeypatch.setenv("BEIWE_ACCESS_KEY", server.access_key)
        monkeypatch.setenv("BEIWE_SECRET_KEY", server.secret_key)
        monkeypatch.setenv("BEIWE_LAKE", str(tmp_path / "lake"))
        monkeypatch.setenv("BEIWE_LAKE_PASSPHRASE", PASSPHRASE)
        home.mkdir(exist_ok=True)
        monkeypatch.setenv("DAGSTER_HOME", str(home))

    return point


@pytest.fixture
def server(world: World, point_to: Callable[[SimulatedServer], None]) -> Iterator[SimulatedServer]:
    """The server, with the environment that points to it."""
    with SimulatedServer(world) as running:
        point_to(running)
        yield running


@pytest.fixture
def an_hour_later() -> Iterator[None]:
    """This process's clock is ahead of the disk's: whatever it learns is out of date at once."""
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(hours=1)):
        yield


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """Dagster's history in memory, empty, and nothing in the folder where runs leave what they hand on."""
    yield shared_instance
    shared_instance.wipe()
    if Path(handed_on := shared_instance.storage_directory()).exists():
        shutil.rmtree(handed_on)


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
    config = StudyConfig(only.id, streams=["gps", "power_state"])
    return Study(id=only.id, name=only.name, key="sleep", start=START, config=config)


@pytest.fixture
def open_lab(instance: dg.DagsterInstance, point_to: Callable[[SimulatedServer], None]) -> Iterator[Callable[..., Lab]]:
    """Makes a lab for a world: its server runs until the test ends."""
    running: list[SimulatedServer] = []

    def make(world: World | None = None, *, profile: str = "2026-03", **configured: Any) -> Lab:
        server = SimulatedServer(world or world_of(*PARTICIPANTS), profile=profile).start()
        running.append(server)
        point_to(server)
        return Lab(server, instance, **configured)

    yield make
    for server in running:
        server.stop()


@pytest.fixture
def lab(open_lab: Callable[..., Lab]) -> Lab:
    """Three participants, four weeks, two streams."""
    return open_lab()
