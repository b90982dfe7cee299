"""Runs in real stores: killed while they write, and in a store that cannot keep them apart."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from fatal_requests import FatalRequests
from object_helpers import MORNING, PEOPLE, STUDY, contents, study_lake, sync, sync_elsewhere, truth
from real_stores import CARELESS_STORES, RealStore

from dagster_beiwe.errors import LakeUnavailableError
from dagster_beiwe.lake.storage.object_store import PART_BYTES
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import SimulatedServer, World

ONE = PEOPLE[0]
RECORD = "/log/000000/(?!000)"
MOMENTS = [
    ("/runs/", False),
    ("/gps/", False),
    ("/gps/", True),
    ("/audio_recordings/", True),
    (r"\.json\.zst", False),
    (r"\.json\.zst", True),
    (RECORD, False),
    (RECORD, True),
]
"""Writes that a run does not survive, and whether the store has carried them out. The recording has several parts."""


@pytest.fixture
def fatal(real_store: RealStore) -> Iterator[FatalRequests]:
    with FatalRequests(real_store.port) as requests:
        yield requests


def test_runs_that_are_killed_are_finished_by_the_next(
    real_store: RealStore, fatal: FatalRequests, world: World, server: SimulatedServer
) -> None:
    """A run dies at each kind of write. Until the next one, readers see what was committed, whole."""
    url = real_store.new_place()
    study_lake(url).log.begun()
    recording = os.urandom(2 * PART_BYTES)
    for number, (pattern, done) in enumerate(MOMENTS):
        old = contents(study_lake(url), ONE)
        for day in range(10):  # late rows in both weeks
            world.add_rows(ONE, "gps", MORNING + day * timedelta(days=1))
        world.add_hour(ONE, "gps", MORNING + timedelta(hours=1 + number))
        if pattern == "/audio_recordings/":
            world.add_hour(ONE, "audio_recordings", MORNING)
            world.set_content(ONE, "audio_recordings", MORNING, recording)
        new = truth(world, ONE)
        fatal.set(pattern, done=done)
        fatal.victim = sync_elsewhere(server, url, real_store.environment(fatal.port))
        _, errors = fatal.victim.communicate(timeout=300)
        assert fatal.victim.returncode == -signal.SIGKILL, errors
        assert contents(study_lake(url), ONE) == (new if (pattern, done) == (RECORD, True) else old)
        sync(server, study_lake(url), ONE)
        assert contents(study_lake(url), ONE) == new
    assert verify_study(study_lake(url)).intact


@pytest.mark.large
@pytest.mark.parametrize("name", CARELESS_STORES)
def test_a_store_that_replaces_what_is_there_is_refused_by_name(
    name: str, find_store: Callable[[str], RealStore], server: SimulatedServer
) -> None:
    """Before anything is downloaded into it."""
    url = find_store(name).new_place()
    with pytest.raises(LakeUnavailableError, match=f"The store at {url} replaced a file"):
        sync(server, study_lake(url), ONE)
    assert list(study_lake(url).storage.scan(f"{STUDY}/{ONE}/gps")) == []
