"""A study's lake in S3: fetched, restated, killed, shared, and read meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from datetime import timedelta

import pytest
from object_helpers import (
    LATER,
    MORNING,
    PEOPLE,
    S3,
    STUDY,
    contents,
    leftovers,
    small_world,
    study_lake,
    sync,
    sync_elsewhere,
    truth,
)

from dagster_beiwe.errors import WrongPassphraseError
from dagster_beiwe.lake import BeiweLake
from dagster_beiwe.lake.objects import ObjectStorage
from dagster_beiwe.lake.verify import verify_study
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, World

DAY = timedelta(days=1)
ONE = PEOPLE[0]

DIES_IN_A_COMMIT = """
def dying(self, moves):
    original(self, list(moves)[:3])
    os.kill(os.getpid(), signal.SIGKILL)
original, ObjectStorage.move_all = ObjectStorage.move_all, dying
"""
DIES_WHILE_IT_FETCHES = """
import itertools
counter = itertools.count()
def dying(self, path):
    if next(counter) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, path)
original, ObjectStorage.create = ObjectStorage.create, dying
"""


def restate(world: World) -> None:
    """Ten hours of the first participant get late rows, in both weeks."""
    for day in range(10):
        world.add_rows(ONE, "gps", MORNING + day * DAY)


def test_a_study_comes_into_s3_and_stays_in_step(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """First all of it, then nothing, then what was restated, then without what has vanished."""
    lake = BeiweLake(url).study(STUDY, passphrase="a passphrase")
    world.add_hour(ONE, "gps", MORNING + timedelta(hours=1))
    first = sync(server, lake)
    assert sum(report.added for report in first) == len(truth(world)) == 23
    assert contents(lake) == truth(world)
    assert not any(report.added or report.changed for report in sync(server, lake))
    restate(world)
    assert sum(report.changed for report in sync(server, lake, ONE)) == 10
    assert contents(lake) == truth(world)
    world.withdraw(ONE, stream="gps", hour=MORNING)
    assert sum(report.vanished for report in sync(server, lake, ONE)) == 1
    assert contents(lake) == truth(world)
    assert BeiweLake(url).studies() == [STUDY]
    assert BeiweLake(url).study(STUDY, passphrase="a passphrase").participants() == list(PEOPLE)
    assert verify_study(lake).intact
    assert leftovers(lake) == []
    assert not any("acl" in path for _, path in s3.requests)


def test_a_new_file_costs_three_requests(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """It is put, looked at and copied; temporary ones are deleted a thousand at a time."""
    sync(server, study_lake(url), PEOPLE[1])
    s3.requests.clear()
    reports = sync(server, study_lake(url), ONE)
    files = sum(report.added for report in reports)
    assert files == 11
    assert len(s3.requests) <= 3 * files + 40 * len(reports)
    parts = [method for method, path in s3.requests if path.endswith(".part")]
    assert (parts.count("PUT"), parts.count("HEAD"), parts.count("DELETE")) == (files, files, 0)


@pytest.mark.parametrize("death", [DIES_IN_A_COMMIT, DIES_WHILE_IT_FETCHES], ids=["in a commit", "while it fetches"])
def test_a_killed_first_run_is_finished_by_the_next(
    url: str, world: World, server: SimulatedServer, death: str
) -> None:
    """Nothing counts that was not committed; nothing is left over; the lease and the dead run's files are cleared."""
    process = sync_elsewhere(server, url, before=death)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    assert contents(study_lake(url), ONE) == {}
    assert leftovers(study_lake(url)) != []
    lake = study_lake(url, timing=LATER)
    sync(server, lake, ONE)
    assert contents(lake, ONE) == truth(world, ONE)
    assert verify_study(lake).intact
    assert leftovers(lake) == []


def test_a_run_killed_while_it_replaces_files_is_finished_by_the_next(
    url: str, world: World, server: SimulatedServer
) -> None:
    """Readers see the whole of the new version at once, before and after the next run."""
    sync(server, study_lake(url), ONE)
    old = truth(world, ONE)
    restate(world)
    process = sync_elsewhere(server, url, before=DIES_IN_A_COMMIT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    seen = contents(study_lake(url), ONE)
    new = truth(world, ONE)
    assert old != seen != new
    lake = study_lake(url, timing=LATER)
    for manifest in lake.manifests(ONE):
        keys = [record.key for record in manifest.files]
        assert [seen[key] for key in keys] in ([old[key] for key in keys], [new[key] for key in keys])
    sync(server, lake, ONE)
    assert contents(lake, ONE) == truth(world, ONE)
    assert verify_study(lake).intact
    assert leftovers(lake) == []


def test_two_processes_share_a_lake(url: str, world: World, server: SimulatedServer) -> None:
    """Both bring in the same windows at once: neither fails, each file is there once."""
    processes = [sync_elsewhere(server, url) for _ in range(2)]
    outcomes = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    lake = study_lake(url)
    assert contents(lake, ONE) == truth(world, ONE)
    assert verify_study(lake).intact
    assert leftovers(lake) == []


def test_a_reader_sees_the_old_version_or_the_new_one(url: str, world: World, server: SimulatedServer) -> None:
    """Looked at before and after each change that a commit makes in the store."""
    for day in range(3, 11):
        world.withdraw(ONE, hour=MORNING + day * DAY)
    sync(server, study_lake(url), ONE)
    old = truth(world, ONE)
    for day in range(2):
        world.add_rows(ONE, "gps", MORNING + day * DAY)
    new = truth(world, ONE)
    seen: list[dict[str, str]] = []

    reader = study_lake(url)

    def look() -> None:
        seen.append(contents(reader, ONE))

    class Watched(ObjectStorage):
        def for_run(self, token: str) -> Watched:
            return Watched(url, run=token)

        def move_all(self, moves: Iterable[tuple[str, str]]) -> None:
            for move in moves:
                super().move_all([move])
                look()

        def write(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
            super().write(path, data, exclusive=exclusive)
            look()

        def delete(self, path: str) -> None:
            super().delete(path)
            look()

    lake = study_lake(url)
    lake.storage = Watched(url)
    sync(server, lake, ONE)
    assert seen[0] == old
    assert seen[-1] == new
    assert all(each in (old, new) for each in seen)
    assert seen == sorted(seen, key=lambda each: each == new)


def test_a_wrong_passphrase_is_noticed_before_anything_is_written(
    s3: S3, url: str, world: World, server: SimulatedServer
) -> None:
    """And before anything is downloaded or read."""
    sync(server, study_lake(url), ONE)
    before = sorted(study_lake(url).storage.walk(""))
    s3.requests.clear()
    server.forget_requests()
    with pytest.raises(WrongPassphraseError):
        sync(server, study_lake(url, passphrase="another one"), ONE)
    with pytest.raises(WrongPassphraseError):
        contents(study_lake(url, passphrase="another one"), ONE)
    assert not any(request.route.startswith("get-data") and request.form for request in server.requests)
    assert {method for method, _ in s3.requests} <= {"GET", "HEAD"}
    assert sorted(study_lake(url).storage.walk("")) == before


def test_a_large_file_passes_in_pieces(s3: S3, url: str) -> None:
    """Audio of more than a piece is uploaded in several, and read back."""
    plan = {"streams": ("audio_recordings",), "content": ContentPlan(audio_bytes=9_000_000)}
    world = small_world(start=MORNING + 9 * DAY, **plan)
    with SimulatedServer(world) as server:
        lake = study_lake(url)
        sync(server, lake, ONE)
        assert contents(lake, ONE) == truth(world, ONE) != {}
    assert any("partNumber=2" in path for _, path in s3.requests)
