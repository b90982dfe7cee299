"""Fixtures: a small study on a simulated server, a client that does not wait, and an empty lake."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from core_helpers import PASSPHRASE, STUDY, client_of, small_world

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer, World


@pytest.fixture
def world() -> World:
    return small_world()


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running


@pytest.fixture
def client(server: SimulatedServer) -> Iterator[BeiweClient]:
    with client_of(server) as ready:
        yield ready


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(folder: Path) -> StudyLake:
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)


@pytest.fixture
def umask_zero() -> Iterator[None]:
    """A process that asks for no protection at all."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)
