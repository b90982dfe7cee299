"""One small world per test, its server, and a client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
from simulator_helpers import Client, build_world

from dagster_beiwe.simulator import SimulatedServer, World


@pytest.fixture
def world() -> World:
    return build_world()


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running


@pytest.fixture
def ask() -> Iterator[Callable[[SimulatedServer], Client]]:
    with requests.Session() as session:
        yield lambda server: Client(server, session)


@pytest.fixture
def client(server: SimulatedServer, ask: Callable[[SimulatedServer], Client]) -> Client:
    return ask(server)
