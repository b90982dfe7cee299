"""Windows of several participants share a record of the log; a run is interrupted, or another one is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from object_helpers import MORNING, NOW, S3, client_of, contents, leftovers, small_world, study_lake, sync, truth

from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.simulator import ParticipantPlan, SimulatedServer, World
from dagster_beiwe.sync import Cell, FetchPolicy, Progress, StudySync, WindowReport
from dagster_beiwe.windows import windows_between

PEOPLE = tuple(f"p{number}person" for number in range(1, 9))
WEEK = timedelta(days=7)
CELLS = [Cell(person, window) for person in PEOPLE for window in windows_between("weekly", NOW - WEEK, NOW)]


@pytest.fixture
def world() -> World:
    """Eight participants with a file in the last week."""
    participants = tuple(ParticipantPlan(id=person) for person in PEOPLE)
    return small_world(start=NOW - timedelta(days=1), participants=participants)


def reports(
    server: SimulatedServer, url: str, *, at: int = 0, then: Callable[[], object] = lambda: None
) -> Iterator[WindowReport]:
    """A run of everybody's last week. In the middle of a download, the one of that number, something happens."""
    seen = set[int]()

    def look(progress: Progress) -> None:
        seen.add(progress.downloaded_bytes)  # which grows with the one file of a download, and with its registry
        if len(seen) == 2 * at - 1:
            seen.add(-1)
            then()

    with client_of(server.url, server.access_key, server.secret_key) as client:
        study = StudySync(client, study_lake(url), run_id="run-1", policy=FetchPolicy(progress_seconds=0))
        yield from study.run(CELLS, on_progress=look)


def test_participants_share_records(s3: S3, url: str, world: World, server: SimulatedServer) -> None:
    """Each window costs its manifests, the old one and the new one, and the file that says whose the data is."""
    first = list(reports(server, url))
    world.reprocess(PEOPLE[0], NOW - WEEK, NOW)
    for person in PEOPLE[1:]:
        world.add_rows(person, "gps", MORNING + timedelta(days=10))
    s3.requests.clear()
    second = list(reports(server, url))
    records = [path for method, path in s3.requests if method == "PUT" and "/log/" in path and not path.endswith("000")]
    documents = [path for _, path in s3.requests if any(f"{person}/.beiwe/" in path for person in PEOPLE)]
    assert contents(study_lake(url), *PEOPLE) == truth(world, *PEOPLE)
    assert len(first) == len(second) == len(PEOPLE)
    assert len(records) == len({each.record for each in second}) <= len(PEOPLE) / 2
    assert len(documents) == 3 * len(PEOPLE)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_what_has_arrived_is_kept_when_a_run_is_interrupted(url: str, world: World, server: SimulatedServer) -> None:
    """It is committed and reported before the interrupt ends the run. The next run fetches the others."""
    told: list[WindowReport] = []

    def run() -> None:
        for report in reports(server, url, at=4, then=interrupt):
            assert study_lake(url).state.number == report.record
            told.append(report)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert [each.cell for each in told] == CELLS[:3]
    lake = study_lake(url)
    assert (lake.participants(), leftovers(lake)) == ([*PEOPLE[:3]], [])
    assert contents(lake, *PEOPLE[:3]) == truth(world, *PEOPLE[:3])
    assert sum(each.added for each in reports(server, url)) == len(truth(world, *PEOPLE[3:]))
    assert contents(study_lake(url), *PEOPLE) == truth(world, *PEOPLE)


def test_a_window_that_another_run_commits_meanwhile_is_fetched_again(
    url: str, world: World, server: SimulatedServer
) -> None:
    """It alone is left out of the record that it waited for."""

    def overtake() -> None:
        world.add_rows(PEOPLE[0], "gps", MORNING + timedelta(days=10))
        sync(server, study_lake(url), PEOPLE[0])

    told = {each.cell.participant: each for each in reports(server, url, at=4, then=overtake)}
    lake = study_lake(url)
    assert contents(lake, *PEOPLE) == truth(world, *PEOPLE)
    assert [each.complete for each in told.values()] == [True] * len(PEOPLE)
    assert told[PEOPLE[0]].record > told[PEOPLE[1]].record
    assert verify_study(lake).intact
