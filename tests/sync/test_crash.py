"""Runs that are killed at random moments: what was is intact, what comes next ends as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from core_helpers import (
    DAY,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    STUDY,
    cells_of,
    contents,
    leftovers,
    small_world,
    too_open,
    truth,
    unaccounted_in,
)

from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import ContentPlan, SimulatedServer, World

KILLS = 7
HEADER = b"UTC time"


class Runs:
    """Starts runs in processes of their own."""

    def __init__(self, server: SimulatedServer) -> None:
        self._order = {
            "url": server.url,
            "access_key": server.access_key,
            "secret_key": server.secret_key,
            "study_id": STUDY,
            "participant": PERSON,
            "passphrase": PASSPHRASE,
            "start": START.isoformat(),
            "end": NOW.isoformat(),
        }
        script = Path(__file__).with_name("run_server_of_runs.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, folder: Path, run_id: str) -> int:
        """The process id of a new run."""
        return int(self._ask(json.dumps({**self._order, "folder": str(folder), "run_id": run_id})))

    def wait(self) -> list[int]:
        """Exit codes of all runs that were started, once they have ended."""
        return list(json.loads(self._ask("")))

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


@pytest.fixture
def world() -> World:
    return small_world(content=ContentPlan(rows=60, audio_bytes=200_000))


@pytest.fixture
def runs(server: SimulatedServer) -> Iterator[Runs]:
    running = Runs(server)
    yield running
    running.close()


def fresh(folder: Path) -> StudyLake:
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE, compression="none")


def window_contents(lake: StudyLake, window: str) -> dict[str, str]:
    """A window's files as a reader gets them: nothing that it reads is ever changed or taken away under it."""
    manifest = lake.manifest(PERSON, window)
    files = manifest.files if manifest else ()
    return {record.key: hashlib.sha256(lake.read(PERSON, record)).hexdigest() for record in files}


def versions(world: World) -> dict[str, dict[str, str]]:
    """What the server has, by window."""
    return {
        cell.window.key: truth(world, start=cell.window.start, end=cell.window.end)
        for cell in cells_of(PERSON, granularity="daily")
    }


def assert_as_if_nothing_had_happened(folder: Path, world: World, data_versions: list[str]) -> None:
    lake = fresh(folder)
    assert contents(lake) == truth(world)
    assert [manifest.data_version for manifest in lake.manifests(PERSON)] == data_versions
    assert leftovers(folder) == []
    assert unaccounted_in(folder, lake) == []
    assert too_open(folder) == []


def no_plain_bytes(folder: Path) -> bool:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return not any(HEADER in path.read_bytes() for path in found)


def kill_after(seconds: float, child: int) -> None:
    time.sleep(seconds)  # the moment of death, not a wait for something
    os.kill(child, signal.SIGKILL)


def test_killed_runs_leave_the_old_version_or_the_new_one(
    world: World, server: SimulatedServer, runs: Runs, folder: Path, tmp_path: Path
) -> None:
    """A backfill, then a refresh with restated files, killed over and over: in the end the lake is the server's."""
    rng, reference = random.Random(7), tmp_path / "reference"
    before: dict[str, dict[str, str]] = {}
    died = 0
    for stage in ("backfill", "refresh"):
        began = time.monotonic()
        runs.start(reference, stage)
        assert runs.wait() == [0]
        whole_run_seconds = time.monotonic() - began
        data_versions = [manifest.data_version for manifest in fresh(reference).manifests(PERSON)]
        after = versions(world)
        for number in range(KILLS):
            child = runs.start(folder, f"{stage}-{number}")
            kill_after(rng.uniform(0.02, whole_run_seconds), child)
            died += runs.wait() == [-signal.SIGKILL]
            lake = fresh(folder)
            for window, expected in after.items():
                assert window_contents(lake, window) in (before.get(window, {}), expected)
            assert no_plain_bytes(folder)
            assert too_open(folder) == []
        runs.start(folder, stage)
        assert runs.wait() == [0]
        assert_as_if_nothing_had_happened(folder, world, data_versions)
        before = after
        world.reprocess(PERSON, START, NOW)
        world.add_hour(PERSON, "gps", START + DAY)
    assert died >= 3


def test_a_reader_sees_one_version_at_any_moment(
    world: World, server: SimulatedServer, runs: Runs, folder: Path
) -> None:
    """While a run restates every file, a reader gets the old files of a window or the new ones, never a mixture."""
    runs.start(folder, "backfill")
    assert runs.wait() == [0]
    old = versions(world)
    world.reprocess(PERSON, START, NOW)
    new = versions(world)
    seen: set[str] = set()
    done = threading.Event()

    def read_all() -> None:
        lake = fresh(folder)
        while not done.is_set():
            for window in lake.windows(PERSON):
                found = window_contents(lake, window)
                seen.add("old" if found == old[window] else "new" if found == new[window] else f"mixture {window}")

    reader = threading.Thread(target=read_all)
    reader.start()
    runs.start(folder, "refresh")
    codes = runs.wait()
    done.set()
    reader.join()
    assert codes == [0]
    assert seen <= {"old", "new"}
    assert contents(fresh(folder)) == truth(world)


def test_two_processes_on_the_same_windows_do_not_harm_each_other(
    world: World, server: SimulatedServer, runs: Runs, folder: Path
) -> None:
    """Started at once, both end well, and the lake is the server's with nothing left over."""
    for _ in range(2):
        for number in range(2):
            runs.start(folder, f"run-{number}")
        assert runs.wait() == [0, 0]
        assert contents(fresh(folder)) == truth(world)
        assert leftovers(folder) == []
        assert unaccounted_in(folder, fresh(folder)) == []
        assert too_open(folder) == []
        world.reprocess(PERSON, START, NOW)


def test_a_killed_run_beside_a_living_one(world: World, server: SimulatedServer, runs: Runs, folder: Path) -> None:
    """One of two simultaneous runs dies: the other one, and the next, are not disturbed by what it leaves."""
    rng = random.Random(3)
    for round_number in range(3):
        victim = runs.start(folder, "victim")
        runs.start(folder, "survivor")
        kill_after(rng.uniform(0.05, 0.4), victim)
        assert runs.wait()[1] == 0
        assert contents(fresh(folder)) == truth(world)
        runs.start(folder, f"next-{round_number}")
        assert runs.wait() == [0]
        assert leftovers(folder) == []
        assert unaccounted_in(folder, fresh(folder)) == []
        world.reprocess(PERSON, START, NOW)
    assert {short_key(file.key) for file in world.files(STUDY)} == contents(fresh(folder)).keys()
