"""Faults and attacks on the way: recovered, or a named failure that the next refresh mends; the lake is consistent."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from core_faults import BAD, DOWNLOADS, assert_mended, failures_of, misbehave, missing
from core_helpers import (
    DAY,
    HOUR,
    PASSPHRASE,
    PERSON,
    START,
    STREAMS,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    contents,
    daily,
    downloads,
    small_world,
    sync,
    truth,
)
from damage import flip

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import ConnectionFailedError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.lake.layout import LogLayout, Subject
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.sync import Cell, FetchPolicy
from dagster_beiwe.sync.staging_pool import Threads
from dagster_beiwe.sync.study_run import StudyRun

# Faults that pass


TRANSIENT: dict[str, dict[str, Any]] = {
    "reset": {},
    "cut": {},
    "cut at once": {"name": "cut", "after_bytes": 1},
    "cut late": {"name": "cut", "after_bytes": 30_000},
    "silent_cut": {},
    "silent cut early": {"name": "silent_cut", "after_bytes": 40},
    "silent cut late": {"name": "silent_cut", "after_bytes": 30_000},
    "wrong_crc": {},
    "hash_mismatch": {},
    "zstd_garbage": {},
    "missing_registry": {},
    "duplicate_members": {},
    "hostile_names": {},
    "unknown_stream": {},
    "zip_bomb": {},
    "undeclared zip bomb": {"name": "zip_bomb", "declared": False, "size_bytes": 64 << 20},
    "status 500": {"name": "status", "status": 500},
    "status 502": {"name": "status", "status": 502},
    "status 429": {"name": "status", "status": 429, "retry_after": "1"},
    "status 413": {"name": "status", "status": 413},
    "maintenance": {},
    "html_200": {},
    "wrong_json": {},
    "latency": {"seconds": 0.05},
    "poisoned_hour": {"mode": "abort"},
    "poisoned garbage": {"name": "poisoned_hour", "mode": "garbage"},
}


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_happens_once_is_recovered(
    fault: str, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """One request goes wrong, in whatever way: the run ends complete, with few more requests."""
    client.supports("data_v2")
    server.forget_requests()
    misbehave(server, {"name": fault, "route": DOWNLOADS, "times": 1, **TRANSIENT[fault]})
    reports = sync(client, lake, cells_of(PERSON))
    assert failures_of(reports) == []
    assert all(report.complete for report in reports)
    assert downloads(server) <= 6
    assert check_lake(folder, lake) == truth(world)


@pytest.mark.parametrize(
    "fault", ["cut late", "silent cut late", "wrong_crc", "hash_mismatch", "zip_bomb", "duplicate_members"]
)
def test_a_fault_during_a_refresh_is_recovered(
    fault: str, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """The same on top of a committed version: restated files keep one version or the other, and end new."""
    sync(client, lake, cells_of(PERSON))
    world.reprocess(PERSON, START, START + 3 * DAY)
    misbehave(server, {"name": fault, "route": DOWNLOADS, "times": 1, **TRANSIENT[fault]})
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert check_lake(folder, lake) == truth(world)


def test_a_trickle_is_only_slow(world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake) -> None:
    """Bytes that come a few at a time make a whole archive too."""
    with server.misbehave("trickle", route=DOWNLOADS, seconds=0.0005, chunk_bytes=701):
        reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert contents(lake) == truth(world)


def test_a_server_that_says_nothing_is_given_up(server: SimulatedServer, lake: StudyLake, folder: Path) -> None:
    """Silence beyond the limit is a broken connection, which stops the run by name after its retries."""
    with client_of(server, read_timeout_seconds=0.2, attempts=2) as client:
        client.supports("data_v2")
        with server.misbehave("hang", route=DOWNLOADS, seconds=3), pytest.raises(ConnectionFailedError):
            sync(client, lake, cells_of(PERSON))
    check_lake(folder, lake)


# Faults that stay, at one place


ONE_HOUR: dict[str, dict[str, Any]] = {
    "v1 abort": {"name": "poisoned_hour", "mode": "abort"},
    "v2 garbage": {"name": "poisoned_hour", "mode": "garbage"},
    "wrong crc": {"name": "wrong_crc"},
    "garbage": {"name": "zstd_garbage"},
    "hostile name": {"name": "hostile_names"},
    "undeclared bomb": {"name": "zip_bomb", "declared": False, "size_bytes": 64 << 20},
    "cut": {"name": "cut", "after_bytes": 60},
    "silent cut": {"name": "silent_cut", "after_bytes": 60},
    "500": {"name": "status", "status": 500},
    "html": {"name": "html_200"},
}


@pytest.mark.parametrize(
    ("fault", "profile", "nginx"),
    [(fault, "2026-03", False) for fault in ONE_HOUR]
    + [("v1 abort", "2024-07", False), ("v1 abort", "2024-07", True), ("500", "2024-07", False)],
)
def test_a_bad_hour_costs_one_hour(fault: str, profile: str, nginx: bool, folder: Path) -> None:
    """What stays bad is found and left alone: one hour of one stream is missing, and reported; the rest is stored."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    key = f"{STUDY}/{PERSON}/gps/{BAD:%Y-%m-%dT%H:%M:%S}.csv"
    with SimulatedServer(world, profile=profile, behind_nginx=nginx) as server, client_of(server) as client:
        misbehave(server, {**ONE_HOUR[fault], "stream": "gps", "start": BAD, "end": BAD + HOUR, "route": DOWNLOADS})
        reports = sync(client, lake, cells_of(PERSON))
        first, second = reports
        assert missing(world, lake) == {key}
        assert (first.complete, second.complete) == (False, True)
        (failure,) = failures_of(reports)
        assert (failure.window.start, failure.window.hours, failure.streams) == (BAD, 1, ("gps",))
        assert failure.error.endswith("Error")
        assert failure.message.endswith(".")
        manifest = lake.manifest(PERSON, first.cell.window)
        assert manifest is not None
        assert manifest.failures == (failure,)
        assert downloads(server) <= 40
        again = sync(client, lake, cells_of(PERSON))
        assert [report.complete for report in again] == [False, True]
        assert len(failures_of(again)) == 1
        assert_mended(world, server, client, lake, folder)


def test_a_participant_of_whom_nothing_comes_is_given_up_soon(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Every request that would bring a file fails, in whatever part: there are failures after sixty requests."""
    server.misbehave("status", status=500, route=DOWNLOADS, participant=PERSON)
    counted = daily(client)
    server.forget_requests()
    reports = sync(client, lake, cells_of(PERSON), daily=counted)
    assert not any(report.complete for report in reports)
    assert downloads(server) <= 60
    assert_mended(world, server, client, lake, folder)


def test_fifteen_bad_hours_are_found_each(
    server: SimulatedServer, world: World, client: BeiweClient, lake: StudyLake
) -> None:
    """What stays bad here and there costs those hours only, also where the first ones are among them."""
    bad = [
        START + (n // 2) * DAY + (5 + 13 * (n % 2)) * HOUR
        for n in (0, 1, 2, 4, 5, 7, 9, 10, 13, 15, 18, 19, 22, 24, 27)
    ]
    for hour in bad:
        server.misbehave("poisoned_hour", mode="abort", stream="gps", start=hour, end=hour + HOUR)
    reports = sync(client, lake, cells_of(PERSON), streams=STREAMS, daily=daily(client))
    assert {failure.window.start for failure in failures_of(reports)} == set(bad)
    assert len(missing(world, lake)) == len(failures_of(reports)) == 15


def test_the_first_of_two_equal_members_is_kept(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """An archive with a name twice is refused, but the first of the two had come well: nothing is missing."""
    server.misbehave("duplicate_members", stream="gps", start=BAD, end=BAD + HOUR)
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert contents(lake) == truth(world)
    assert_mended(world, server, client, lake, folder)


def test_two_bad_hours_are_two_failed(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Bad hours in different windows and streams are found each for itself."""
    other = START + 9 * DAY + 18 * HOUR
    server.misbehave("poisoned_hour", mode="abort", stream="gps", start=BAD, end=BAD + HOUR)
    server.misbehave("poisoned_hour", mode="abort", stream="power_state", start=other, end=other + HOUR)
    reports = sync(client, lake, cells_of(PERSON))
    assert len(missing(world, lake)) == 2
    assert [len(report.failures) for report in reports] == [1, 1]
    assert [failure.streams for failure in failures_of(reports)] == [("gps",), ("power_state",)]
    assert_mended(world, server, client, lake, folder)


def test_many_damaged_files_do_not_cost_a_request_each(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """A stream that comes damaged as a whole is asked for again together, and reported hour by hour."""
    server.misbehave("wrong_crc", stream="gps")
    reports = sync(client, lake, cells_of(PERSON))
    assert missing(world, lake) == {key for key in truth(world) if "/gps/" in key}
    assert downloads(server) <= 6
    failed = {(failure.window.start, failure.streams) for failure in failures_of(reports)}
    assert failed == {(file.bin, ("gps",)) for file in world.files(STUDY, streams=["gps"])}
    assert len(failures_of(reports)) == len(failed)
    assert_mended(world, server, client, lake, folder)


def test_damaged_files_of_one_hour_are_judged_each_for_itself(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Several files of one hour and stream whose listed hash is wrong twice are stored, all of them."""
    world.add_answers(PERSON, BAD, copies=4)
    server.misbehave("hash_mismatch", stream="survey_answers")
    reports = sync(client, lake, cells_of(PERSON))
    assert failures_of(reports) == []
    assert contents(lake) == truth(world)
    assert_mended(world, server, client, lake, folder)


def test_a_hash_that_is_wrong_twice_is_the_servers(
    world: World,
    server: SimulatedServer,
    client: BeiweClient,
    lake: StudyLake,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same content twice is stored although the server lists another hash: servers are known to. It is told."""
    server.misbehave("hash_mismatch", stream="gps", start=BAD, end=BAD + HOUR)
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert [report.mislisted for report in reports] == [1, 0]
    assert f"{PERSON}, gps, {BAD.isoformat()}" in caplog.text
    assert contents(lake) == truth(world)
    world.add_rows(PERSON, "gps", BAD)
    sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)
    assert_mended(world, server, client, lake, folder)


def test_an_object_that_the_server_omits_is_no_failure(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """What is silently absent can't be seen in an archive; the daily counts find it."""
    world.lose_object(PERSON, "gps", BAD)
    reports = sync(client, lake, cells_of(PERSON))
    assert all(report.complete for report in reports)
    assert contents(lake) == truth(world)
    world.restore_object(PERSON, "gps", BAD)
    sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)


def test_a_lost_object_aborts_older_servers_and_costs_one_hour(folder: Path) -> None:
    """Before October 2025 a missing object ended the stream, each time."""
    world = small_world()
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile="2025-06") as server, client_of(server) as client:
        world.lose_object(PERSON, "gps", BAD)
        (first, second) = sync(client, lake, cells_of(PERSON))
        assert contents(lake) == truth(world)
        assert (first.complete, second.complete) == (False, True)
        assert first.failures[0].window.start == BAD
        world.restore_object(PERSON, "gps", BAD)
        assert_mended(world, server, client, lake, folder)


def test_an_interrupt_leaves_undone_what_waits() -> None:
    """Of what has arrived and waits for a thread, nothing is encrypted and stored any more only to be thrown away."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work(number: int) -> None:
        begun.set()
        go_on.wait(60)
        done.append(number)

    def go_on_after(stop: threading.Event) -> None:
        stop.wait(60)
        go_on.set()

    def interrupted() -> None:
        with Threads(1) as threads:
            threads.batches.submit(lambda: wait([threads.files.submit(work, number) for number in range(100)]))
            begun.wait(60)
            threading.Thread(target=go_on_after, args=[threads._stop]).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [0]


# A damaged lake


def held(lake: StudyLake, cell: Cell) -> dict[str, str]:
    """{key: SHA-256} of what one window holds."""
    manifest = lake.manifest(cell.participant, cell.window)
    assert manifest is not None
    return {record.key: hashlib.sha256(lake.read(cell.participant, record)).hexdigest() for record in manifest.files}


@pytest.mark.parametrize("known", [True, False], ids=["with counts", "without counts"])
def test_a_damaged_window_does_not_stop_the_others(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path, known: bool
) -> None:
    """Nothing is committed to a window whose manifest was changed, and its report says why; the rest is brought."""
    days = cells_of(PERSON, granularity="daily")
    sync(client, lake, days, daily=daily(client))
    bad = days[6].window
    version = lake.index(PERSON)[bad.key]
    flip(folder / LogLayout(STUDY).home(Subject(PERSON)).manifest(version.base, version.nonce))
    world.reprocess(PERSON, START, START + 14 * DAY)
    reports = sync(client, lake, days, **({"daily": daily(client)} if known else {}))
    assert sorted(report.cell for report in reports) == days
    (failed,) = (report for report in reports if report.failures)
    assert (failed.cell, failed.complete, failed.record) == (days[6], False, 0)
    assert [failure.error for failure in failed.failures] == ["IntegrityError"]
    assert lake.index(PERSON)[bad.key] == version
    for cell in days[:6] + days[7:]:
        assert held(lake, cell) == truth(world, start=cell.window.start, end=cell.window.end)


def test_a_damaged_window_of_a_participant_who_is_gone_does_not_stop_the_others(
    server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has deleted the participant: that is noted of every window but this one."""
    weeks = cells_of(PERSON)
    sync(client, lake, weeks)
    version = lake.index(PERSON)[weeks[-1].window.key]
    flip(folder / LogLayout(STUDY).home(Subject(PERSON)).manifest(version.base, version.nonce))
    monkeypatch.setattr(StudyRun, "_is_on_the_server", lambda run, participant: False)
    server.misbehave("status", route="/get-data*", participant=PERSON, status=404)
    policy = FetchPolicy(first_request_hours=1, longest_request_hours=1)
    reports = sync(client, lake, weeks, policy=policy)
    assert [(report.complete, report.participant_deleted_upstream) for report in reports] == [
        *[(True, True)] * (len(weeks) - 1),
        (False, True),
    ]
    assert reports[-1].failures[0].error == "IntegrityError"
