"""Fixtures: one filled lake for all tests that only read; those that change something fill their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reading_helpers import fill, reading_world, study_lake

from dagster_beiwe.lake import StudyLake
from dagster_beiwe.reading import BeiwePartitions
from dagster_beiwe.simulator import SimulatedServer, World


@pytest.fixture(scope="session")
def shared_world() -> World:
    return reading_world()


@pytest.fixture(scope="session")
def shared_lake(shared_world: World, tmp_path_factory: pytest.TempPathFactory) -> StudyLake:
    """Every window of every participant, locked and compressed. For reading only."""
    with SimulatedServer(shared_world) as server:
        lake = study_lake(tmp_path_factory.mktemp("lake"), shared_world)
        fill(server, lake)
    return lake


@pytest.fixture
def view(shared_lake: StudyLake) -> BeiwePartitions:
    return BeiwePartitions.of(shared_lake)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SimulatedServer]:
    """A server of its own, for tests in which data changes."""
    with SimulatedServer(reading_world()) as running:
        yield running


@pytest.fixture
def lake(server: SimulatedServer, tmp_path: Path) -> StudyLake:
    """An empty lake of its own."""
    return study_lake(tmp_path / "lake", server.world)
