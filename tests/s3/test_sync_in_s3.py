"""A study's lake in S3: fetched, restated, killed, shared, and read meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
from collections import Counter
from datetime import timedelta

import pytest
from object_helpers import (
    MORNING,
    PEOPLE,
    S3,
    STUDY,
    Answer,
    Call,
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
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, World

DAY = timedelta(days=1)
ONE = PEOPLE[0]


def restate(world: World) -> None:
    """Ten hours of the first participant get late rows, in both weeks."""
    for day in range(10):
        world.add_rows(ONE, "gps", MORNING + day * DAY)


def test_a_study_comes_into_s3_and_stays_in_step(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """First all of it, then nothing, then what was restated, then without what was deleted."""
    lake = BeiweLake(url).study(STUDY, passphrase="a passphrase")
    world.add_hour(ONE, "gps", MORNING + timedelta(hours=1))
    first = sync(server, lake)
    assert sum(report.added for report in first) == len(truth(world)) == 23
    assert contents(lake) == truth(world)
    assert not any(report.added or report.changed for report in sync(server, lake))
    restate(world)
    assert sum(report.changed for report in sync(server, lake, ONE)) == 10
    assert contents(lake) == truth(world)
    world.delete_files(ONE, stream="gps", hour=MORNING)
    assert sum(report.deleted_upstream for report in sync(server, lake, ONE)) == 1
    assert contents(lake) == truth(world)
    assert BeiweLake(url).studies() == [STUDY]
    assert BeiweLake(url).study(STUDY, passphrase="a passphrase").participants() == list(PEOPLE)
    assert verify_study(lake).intact
    assert leftovers(lake) == []
    assert not any("acl" in path for _, path in s3.requests)


def test_a_file_costs_one_request(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """Both ways. A window costs its manifest; windows share a record, and the run looks a few times at the log."""
    sync(server, study_lake(url), PEOPLE[1])
    s3.requests.clear()
    reports = sync(server, study_lake(url), ONE)
    files = sum(report.added for report in reports)
    assert (files, len(reports)) == (11, 2)
    paths = Counter(path.rpartition("/")[2] for method, path in s3.requests if method == "PUT" and "/gps/" in path)
    assert len(paths) == files
    assert set(paths.values()) == {1}
    assert len(s3.requests) - files - len(reports) <= 20
    s3.requests.clear()
    assert contents(study_lake(url), ONE) == truth(world, ONE)
    assert sum("/gps/" in path for _, path in s3.requests) == files


@pytest.mark.parametrize(
    ("restated", "pattern", "done"),
    [
        (False, "/gps/", True),
        (True, r"\.json\.zst", True),
        (False, "/log/000000/(?!000)", False),
        (True, "/log/000000/(?!000)", True),
    ],
    ids=["while it fetches", "before the commit", "in the commit", "after the commit"],
)
def test_a_run_that_is_killed_is_finished_by_the_next(
    s3: S3, url: str, world: World, server: SimulatedServer, *, restated: bool, pattern: str, done: bool
) -> None:
    """Until then readers see each window's old version or its new one, and whole."""
    if restated:
        sync(server, study_lake(url), ONE)
    else:
        study_lake(url).log.begun()
    old = truth(world, ONE) if restated else {}
    restate(world)
    dying: list[subprocess.Popen[str]] = []

    def kill(call: Call) -> Answer:
        if call.method != "PUT" or not re.search(pattern, call.path):
            return call.pass_on()
        if done:
            call.pass_on()
        dying[0].kill()
        return call.lose_answer()

    s3.meddle = kill
    dying.append(sync_elsewhere(server, url))
    _, errors = dying[0].communicate(timeout=300)
    s3.meddle = None
    assert dying[0].returncode == -signal.SIGKILL, errors
    lake, new = study_lake(url), truth(world, ONE)
    seen = contents(lake, ONE)
    if pattern.startswith("/log") and done:
        assert old != seen
        assert all(digest in (old.get(key), new[key]) for key, digest in seen.items())
    else:
        assert seen == old
    assert leftovers(lake) != []
    sync(server, lake, ONE)
    assert contents(lake, ONE) == new
    assert verify_study(lake).intact


def test_two_processes_share_a_lake(any_url: str, world: World, server: SimulatedServer) -> None:
    """Both bring in the same windows at once: neither fails, each file is there once."""
    processes = [sync_elsewhere(server, any_url) for _ in range(2)]
    outcomes = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outcomes
    lake = study_lake(any_url)
    assert contents(lake, ONE) == truth(world, ONE)
    assert verify_study(lake).intact
    named = {lake.folder(ONE, record.path) for manifest in lake.manifests(ONE) for record in manifest.files}
    assert {file.path for file in lake.storage.scan(f"{STUDY}/{ONE}/gps")} == named


def test_a_reader_sees_the_old_version_or_the_new_one(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """Looked at before and after each change that a commit makes in the store."""
    for day in range(3, 11):
        world.delete_files(ONE, hour=MORNING + day * DAY)
    sync(server, study_lake(url), ONE)
    old = truth(world, ONE)
    for day in range(2):
        world.add_rows(ONE, "gps", MORNING + day * DAY)
    new = truth(world, ONE)
    seen: list[dict[str, str]] = []
    reader, one_at_a_time = study_lake(url), threading.Lock()

    def watch(call: Call) -> Answer:
        if call.method == "GET" or call.method == "HEAD":
            return call.pass_on()
        with one_at_a_time:
            seen.append(contents(reader, ONE))
            answer = call.pass_on()
            seen.append(contents(reader, ONE))
        return answer

    s3.meddle = watch
    sync(server, study_lake(url), ONE)
    assert seen[0] == old
    assert seen[-1] == new
    assert all(each in (old, new) for each in seen)
    assert seen == sorted(seen, key=lambda each: each == new)


def test_a_wrong_passphrase_is_noticed_before_anything_is_written(
    s3: S3, url: str, world: World, server: SimulatedServer
) -> None:
    """And before anything is downloaded or read."""
    sync(server, study_lake(url), ONE)
    before = sorted(study_lake(url).storage.scan(""))
    s3.requests.clear()
    server.forget_requests()
    with pytest.raises(WrongPassphraseError):
        sync(server, study_lake(url, passphrase="another one"), ONE)
    with pytest.raises(WrongPassphraseError):
        contents(study_lake(url, passphrase="another one"), ONE)
    assert not any(request.route.startswith("get-data") and request.form for request in server.requests)
    assert {method for method, _ in s3.requests} <= {"GET", "HEAD"}
    assert sorted(study_lake(url).storage.scan("")) == before


def test_a_large_file_passes_in_chunks(s3: S3, url: str) -> None:
    """Audio of more than a chunk is uploaded in several, and read back."""
    plan = {"streams": ("audio_recordings",), "content": ContentPlan(audio_bytes=9_000_000)}
    world = small_world(start=MORNING + 9 * DAY, **plan)
    with SimulatedServer(world) as server:
        lake = study_lake(url)
        sync(server, lake, ONE)
        assert contents(lake, ONE) == truth(world, ONE) != {}
    assert any("partNumber=2" in path for _, path in s3.requests)
