"""A short soak; ``python tests/faults/soak.py`` is the long one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fault_matrix import ServerFault
from measured import rows
from passing_time import FAULTS
from soak import BEGIN, HOUR, ROWS, Remote, Soak

from dagster_beiwe.errors import BeiweError

HOURS = 12


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """A server in a process of its own, with a few hours of data."""
    server = Remote()
    for number in range(HOURS):
        server.do("advance", by=HOUR)
        server.do("add_hour", participant_id="p1person", stream="gps", hour=BEGIN + number * HOUR)
    yield server
    server.close()


@pytest.fixture(scope="module", autouse=True)
def _no_cycle_is_collected() -> Iterator[None]:
    """What only the garbage collector would close counts as open, and nothing that earlier tests left is closed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sockets() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket")
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not show open files")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_no_fault_leaves_a_connection_open(fault: ServerFault, remote: Remote, tmp_path: Path) -> None:
    """Errors don't keep the connection that they came from: a service can fail for months."""
    before = sockets()
    study = Soak(remote, tmp_path / "lake", seed=1)
    study._now = BEGIN + HOURS * HOUR
    remote.do("misbehave", **fault.misbehavior, route="/get-data/*", times=3)
    with suppress(BeiweError):
        study._synchronise()
    remote.do("behave")
    study._client.close()
    assert sockets() == before


def test_a_day_of_trouble_ends_well(tmp_path: Path) -> None:
    """A day with faults, restarts and abandoned runs: at the end lake and server are equal, and nothing is left."""
    server = Remote()
    diary = Soak(server, tmp_path / "lake", seed=3).run(1)
    server.close()
    assert diary.equal
    assert diary.files_in_lake > 50
    assert diary.faults.total() > 2
    assert (diary.findings, diary.leftovers) == (0, 0)
    assert diary.handles[-1] <= diary.handles[0] + 1


def test_the_document_shows_what_the_diary_tells() -> None:
    """The figures are those of the day that stands beside them; the rows are the diary's."""
    assert rows("soak") == list(ROWS)
