"""Several runs at once on the same windows: one version after the other, and nothing of either is lost."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from core_helpers import (
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    commit,
    commit_request,
    contents,
    finished,
    small_world,
    stage,
    sync,
    truth,
)

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import CommitConflictError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.writer import LakeWriter
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, World
from dagster_beiwe.sync import FetchPolicy, Progress, StudySync, WindowReport


def fresh(folder: Path) -> StudyLake:
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)


@pytest.mark.parametrize("shared", [True, False], ids=["one lake object", "one each"])
def test_runs_in_threads_do_not_harm_each_other(
    world: World, server: SimulatedServer, folder: Path, shared: bool
) -> None:
    """Three runs over the same windows at once: all end well, and the lake is the server's."""
    one = fresh(folder)
    for _ in range(2):
        barrier = threading.Barrier(3)

        def run(number: int, barrier: threading.Barrier = barrier) -> list[WindowReport]:
            with client_of(server) as client:
                barrier.wait()
                return sync(client, one if shared else fresh(folder), cells_of(PERSON, granularity="daily"))

        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(run, range(3)))
        assert all(len(reports) == 14 and all(report.complete for report in reports) for reports in results)
        assert contents(fresh(folder)) == truth(world)
        check_lake(folder, fresh(folder))
        world.reprocess(PERSON, START, NOW)


def test_different_participants_at_once(folder: Path) -> None:
    """Runs over different participants share the study's documents, and none of them is forgotten."""
    people = [f"person{number}" for number in range(6)]
    world = small_world(people=[ParticipantPlan(id=person) for person in people])
    with SimulatedServer(world) as server, ThreadPoolExecutor(6) as pool:

        def run(person: str) -> None:
            with client_of(server) as client:
                sync(client, fresh(folder), cells_of(person))

        list(pool.map(run, people))
    lake = fresh(folder)
    assert lake.participants() == people
    assert all(contents(lake, person) == truth(world, person) for person in people)
    check_lake(folder, lake)


def test_a_window_that_another_run_committed_meanwhile_is_planned_again(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Between download and commit another run commits newer rows: they are kept, and the report tells the truth."""
    happened: list[str] = []

    def meanwhile(progress: Progress) -> None:
        if not happened:
            happened.append("once")
            world.add_rows(PERSON, "gps", START + 5 * HOUR)
            with client_of(server) as other:
                sync(other, fresh(folder), cells_of(PERSON))

    policy = FetchPolicy(progress_seconds=0)
    run = StudySync(client, lake, run_id="slow", policy=policy).run(cells_of(PERSON), on_progress=meanwhile)
    reports = list(run)
    newest = lake.index(PERSON)  # what the other run has committed: there is nothing to add
    assert all(report.complete and report.record == newest[report.cell.window.key].at for report in reports)
    assert all((report.added, report.changed) == (0, 0) for report in reports)
    assert check_lake(folder, lake) == truth(world)


def test_a_run_that_never_gets_its_turn_says_so(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """If another run commits again and again in between, the conflict is told after a few tries."""

    numbers = itertools.count()

    def meanwhile(progress: Progress) -> None:
        commit(fresh(folder), {1: b"%d" % next(numbers)})

    world.delete_files(PERSON)
    policy = FetchPolicy(progress_seconds=0)
    run = StudySync(client, lake, run_id="slow", policy=policy).run(cells_of(PERSON)[:1], on_progress=meanwhile)
    (report,) = run
    assert (report.complete, report.transient) == (False, True)
    assert "another run" in report.failures[0].message
    assert lake.windows(PERSON) == [cells_of(PERSON)[0].window.key]
    check_lake(folder, lake)


def test_simultaneous_commits_of_one_window_form_one_chain(lake: StudyLake, folder: Path) -> None:
    """Many writers that try until they succeed: every commit is there, one after the other."""

    def write(number: int) -> int:
        own = fresh(folder)
        conflicts = 0
        with LakeWriter(own, run_id=f"run-{number}") as writer:
            while True:
                plan = writer.plan(PERSON, [commit_request().window])
                fetched_file = stage(writer, own, b"file %d" % number, hours=number)
                try:
                    finished(writer, writer.commit(plan, commit_request(), [fetched_file]))
                except CommitConflictError:
                    conflicts += 1
                else:
                    return conflicts

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(1, 13)))
    manifest = lake.manifest(PERSON, commit_request().window)
    assert manifest is not None
    assert {lake.read(PERSON, record) for record in manifest.files} == {b"file %d" % n for n in range(1, 13)}
    check_lake(folder, lake)


def test_a_new_study_has_one_key_whoever_comes_first(folder: Path) -> None:
    """Many runs that open a new study at once agree on one key file."""
    barrier = threading.Barrier(8)

    def write(number: int) -> None:
        barrier.wait()
        commit(fresh(folder), {number + 1: b"x"}, participant=f"person{number}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    lake = fresh(folder)
    assert len(lake.participants()) == 8
    assert all(len(list(lake.manifests(person))) == 1 for person in lake.participants())
    check_lake(folder, lake)


def test_reading_and_writing_with_one_lake_object(world: World, client: BeiweClient, lake: StudyLake) -> None:
    """A lake object that was opened for reading before the study existed sees what is written later."""
    reader = lake
    assert reader.participants() == []
    assert reader.manifest(PERSON, cells_of(PERSON)[0].window) is None
    sync(client, BeiweLake(lake.storage.describe()).study(STUDY, passphrase=PASSPHRASE), cells_of(PERSON))
    assert contents(reader) == truth(world)
