"""What the fault tests share: a filled lake to copy, and another host that must stay unvisited."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_scene import CheckLosses, Elsewhere, client_of, fill, held, move_on, new_world, truth

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.simulator import SimulatedServer, World


@pytest.fixture(scope="session")
def filled_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake as yesterday's run left it. Copy it, don't touch it."""
    folder = tmp_path_factory.mktemp("filled") / "lake"
    fill(folder, new_world())
    return folder


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Elsewhere]:
    """A second host on loopback."""
    host = Elsewhere()
    yield host
    host.close()


@pytest.fixture
def check_losses(record_property: Callable[[str, object], None]) -> CheckLosses:
    """Count what was committed and is gone; for ``fault_report.py``, and to fail if it is anything."""

    def check(folder: Path, world: World, before: dict[str, str]) -> dict[str, str]:
        """Every file that was committed is still there, as it was or as the server has it now."""
        after, now = held(folder), truth(world)
        lost = [key for key, content in before.items() if after.get(key, "") not in (content, now.get(key))]
        record_property("files watched", len(before))
        record_property("files lost", len(lost))
        assert lost == []
        return after

    return check


@pytest.fixture
def world() -> World:
    """The server has moved on since the lake was filled."""
    world = new_world()
    move_on(world)
    return world


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running


@pytest.fixture
def client(server: SimulatedServer) -> Iterator[BeiweClient]:
    with client_of(server, [], attempts=2) as ready:
        yield ready


@pytest.fixture
def lake_folder(filled_lake: Path, tmp_path: Path) -> Path:
    """A copy of the filled lake."""
    return Path(shutil.copytree(filled_lake, tmp_path / "lake"))
