"""When everything fails, and when somebody attacks: bounded requests, named errors, nothing outside the lake."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from core_faults import BAD, DOWNLOADS, assert_mended, failures_of, misbehave
from core_helpers import (
    DAY,
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
    cells_of,
    check_lake,
    contents,
    downloads,
    sync,
    truth,
)

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import AccessDeniedError, BeiweError, ConnectionFailedError, RedirectError, ServerBusyError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import FetchPolicy, StudySync

# Everything fails


EVERYTHING: dict[str, dict[str, Any]] = {
    "500": {"name": "status", "status": 500},
    "html": {"name": "html_200"},
    "cut": {"name": "cut", "after_bytes": 10},
    "silent cut": {"name": "silent_cut", "after_bytes": 10},
    "no registry": {"name": "missing_registry"},
    "413": {"name": "status", "status": 413},
    "garbage": {"name": "zstd_garbage"},
    "hostile": {"name": "hostile_names"},
    "unknown stream": {"name": "unknown_stream"},
}


@pytest.mark.parametrize("granularity", ["daily", "weekly"])
@pytest.mark.parametrize("fault", EVERYTHING)
def test_when_everything_fails_every_window_says_so(
    fault: str,
    granularity: str,
    world: World,
    server: SimulatedServer,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
) -> None:
    """No window counts as complete, each names its failure, the number of requests is bounded, and a refresh mends."""
    client.supports("data_v2")
    server.forget_requests()
    misbehave(server, {**EVERYTHING[fault], "route": DOWNLOADS})
    reports = sync(client, lake, cells_of(PERSON, granularity=granularity))  # type: ignore[arg-type]
    assert len(reports) == (14 if granularity == "daily" else 2)
    for report in reports:
        assert not report.complete
        assert report.failures
        manifest = lake.manifest(PERSON, report.cell.window)
        assert manifest is not None
        assert not manifest.complete
        assert all(failure.window.start in report.cell.window for failure in report.failures)
        assert all(failure.window.end <= report.cell.window.end for failure in report.failures)
    assert downloads(server) <= (500 if fault == "hostile" else 80)
    server.behave()
    again = sync(client, lake, cells_of(PERSON, granularity=granularity))  # type: ignore[arg-type]
    assert all(report.complete for report in again)
    assert check_lake(folder, lake) == truth(world)


STOPPING: dict[str, tuple[dict[str, Any], type[BeiweError]]] = {
    "busy": ({"name": "status", "status": 503}, ServerBusyError),
    "maintenance": ({"name": "maintenance"}, ServerBusyError),
    "too many": ({"name": "status", "status": 429}, ServerBusyError),
    "reset": ({"name": "reset"}, ConnectionFailedError),
    "redirect": ({"name": "redirect"}, RedirectError),
    "permanent redirect": ({"name": "redirect", "status": 308}, RedirectError),
    "forbidden": ({"name": "status", "status": 403}, AccessDeniedError),
}


@pytest.mark.parametrize("fault", STOPPING)
def test_what_no_smaller_request_would_escape_stops_the_run(
    fault: str, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """The server is away or refuses: the run ends with the error's name, and what was committed stays."""
    sync(client, lake, cells_of(PERSON)[:1])
    before = contents(lake)
    options, error = STOPPING[fault]
    misbehave(server, {**options, "route": DOWNLOADS})
    with pytest.raises(error):
        sync(client, lake, cells_of(PERSON))
    assert check_lake(folder, lake) == before
    assert_mended(world, server, client, lake, folder)


def test_a_server_that_stops_in_mid_run_keeps_what_was_committed(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """After the server went away, the windows reported so far are there; the next run does the others."""
    policy = FetchPolicy(first_request_hours=24, longest_request_hours=24)
    run = StudySync(client, lake, run_id="r", policy=policy).run(cells_of(PERSON))
    next(run)
    server.stop()
    with pytest.raises(ConnectionFailedError):
        next(run)
    assert len(lake.windows(PERSON)) == 1
    check_lake(folder, lake)
    server.start()
    assert_mended(world, server, client, lake, folder)


# Attacks


def test_no_hostile_name_leaves_the_participants_folder(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Names that climb, point to the root or hide characters put no file anywhere."""
    outside = {path for path in folder.parent.rglob("*") if folder not in path.parents}
    names = [
        "../../outside.csv",
        "/tmp/outside.csv",
        f"{PERSON}/gps/../../x.csv",
        "C:\\x.csv",
        f"other/gps/{START:%Y-%m-%d %H_%M_%S}+00_00.csv",
    ]
    for name in names:
        with server.misbehave("hostile_names", names=[name], stream="gps", start=BAD, end=BAD + HOUR):
            reports = sync(client, lake, cells_of(PERSON))
        assert failures_of(reports)[0].error == "HostileArchiveError"
        assert lake.participants() == [PERSON]
    assert {path for path in folder.parent.rglob("*") if folder not in path.parents} - {folder} == outside - {folder}
    assert not [path for path in folder.rglob("*") if "outside" in path.name or path.name.startswith("x.csv")]
    assert_mended(world, server, client, lake, folder)


def test_files_of_others_are_refused(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """A well-formed name of another participant, stream or time than asked for is not stored."""
    hour = f"{BAD:%Y-%m-%d %H_%M_%S}+00_00.csv"
    for name in (
        f"other/gps/{hour}",
        f"{PERSON}/wifi/2020-01-01 00_00_00+00_00.csv",
        f"{PERSON}/power_state/{hour}.zst",
    ):
        with server.misbehave("hostile_names", names=[name], stream="gps", start=BAD, end=BAD + HOUR):
            reports = sync(client, lake, cells_of(PERSON))
        assert [report.complete for report in reports] == [False, True]
        assert set(lake.participants()) == {PERSON}
    assert_mended(world, server, client, lake, folder)


def test_problems_hold_no_data(world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake) -> None:
    """What is told about failures names hours and streams, and neither keys, passphrase nor content."""
    for fault in ({"name": "wrong_crc"}, {"name": "hash_mismatch"}, {"name": "html_200"}, {"name": "hostile_names"}):
        with misbehave(server, {**fault, "stream": "gps"}):
            for failure in failures_of(sync(client, lake, cells_of(PERSON))):
                for secret in (server.access_key, server.secret_key, PASSPHRASE, "log in first"):
                    assert secret not in str(failure)


def test_clocks_in_the_past_and_future_stay_outside(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Files of phones with a wrong clock do not come into windows that they do not belong to."""
    world.add_hour(PERSON, "power_state", datetime(1970, 1, 1, tzinfo=NOW.tzinfo))
    world.add_hour(PERSON, "power_state", NOW + 400 * DAY)
    sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)
