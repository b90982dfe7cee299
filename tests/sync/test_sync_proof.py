"""What comes without proof that it is right: wrong hashes, missing registries, files that are listed and not packed."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_faults import BAD, DOWNLOADS, assert_mended, failures_of, missing
from core_helpers import (
    HOUR,
    PASSPHRASE,
    PERSON,
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

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import BeiweLake, FileRecord, StudyLake
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import SimulatedServer, World

AT = BAD + HOUR


def records(lake: StudyLake) -> dict[str, FileRecord]:
    return {record.key: record for manifest in lake.manifests(PERSON) for record in manifest.files}


# Files that old servers list and do not pack


@pytest.mark.parametrize("profile", ["2023-11", "2024-07", "2025-03"])
def test_files_of_one_name_all_come_from_servers_that_pack_one_of_them(profile: str, folder: Path) -> None:
    """The others are asked for without it; later runs do not ask for what is held."""
    world = small_world(streams=("gps", "survey_answers"))
    world.add_answers(PERSON, AT, copies=4)
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        assert [report.failures for report in sync(client, lake, cells_of(PERSON))] == [(), ()]
        assert contents(lake) == truth(world)
        assert downloads(server) == 1 + 3
        server.forget_requests()
        assert all(report.complete for report in sync(client, lake, cells_of(PERSON)))
        assert contents(lake) == truth(world)
        assert downloads(server) == 1
    check_lake(folder, lake)


@pytest.mark.parametrize("profile", ["2024-07", "2026-03"])
def test_a_file_that_is_listed_and_never_packed_leaves_its_hour_open(profile: str, folder: Path) -> None:
    """It is named, and comes once the server packs it."""
    world = small_world(streams=("gps", "power_state"))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        server.misbehave("unpacked", stream="gps", start=BAD, end=BAD + HOUR)
        reports = sync(client, lake, cells_of(PERSON))
        (failure,) = failures_of(reports)
        assert failure.error == "UnpackedFileError"
        assert "lists 1 more" in failure.message
        assert [report.complete for report in reports] == [False, True]
        assert missing(world, lake) == {short_key(world.file(PERSON, "gps", BAD).key)}
        assert_mended(world, server, client, lake, folder)


# Contents that come twice with a wrong hash


def test_a_wrong_hash_is_believed_where_the_count_agrees(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Servers list a wrong one now and then; the day's bytes say that the content is right."""
    server.misbehave("hash_mismatch", stream="gps", start=BAD, end=BAD + HOUR)
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client))
    assert [(report.complete, report.mislisted) for report in reports] == [(True, 1), (True, 0)]
    assert contents(lake) == truth(world)


@pytest.mark.parametrize("size_bytes", [60_000, 10])
def test_a_wrong_content_is_not_stored_although_it_comes_twice(
    size_bytes: int, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """Zeros in place of a file: the count of the day speaks against them, and its hour stays open."""
    server.misbehave("zip_bomb", stream="gps", start=BAD, end=BAD + HOUR, size_bytes=size_bytes)
    reports = sync(client, lake, cells_of(PERSON), daily=daily(client))
    (failure,) = failures_of(reports)
    assert (failure.error, failure.window.start, failure.streams) == ("CountMismatchError", BAD, ("gps",))
    assert [(report.complete, report.mislisted) for report in reports] == [(False, 0), (True, 0)]
    assert missing(world, lake) == {short_key(world.file(PERSON, "gps", BAD).key)}
    assert_mended(world, server, client, lake, folder)


# Archives that break off before they tell hashes


def test_files_of_an_archive_that_broke_off_are_marked_and_checked_later(folder: Path) -> None:
    """From an old server, which tells no hash but in the registry: the next run compares them."""
    world = small_world(streams=("gps", "power_state"))
    lake = BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)
    with SimulatedServer(world, profile="2024-07") as server, client_of(server) as client:
        server.misbehave("missing_registry", route=DOWNLOADS, stream="gps", start=BAD, end=BAD + HOUR)
        for _ in range(2):
            reports = sync(client, lake, cells_of(PERSON))
            assert [(report.complete, report.unchecked) for report in reports] == [(False, 1), (True, 0)]
        (unchecked,) = [record for record in records(lake).values() if not record.checked]
        assert unchecked.key == short_key(world.file(PERSON, "gps", BAD).key)
        server.behave()
        reports = sync(client, lake, cells_of(PERSON))
        assert [(report.complete, report.unchecked) for report in reports] == [(True, 0), (True, 0)]
        assert all(record.checked for record in records(lake).values())
        assert contents(lake) == truth(world)
    check_lake(folder, lake)


def test_what_came_before_a_cut_is_checked_by_the_request_that_follows(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """It lists them by their hash, and the server leaves out only what has that hash."""
    client.supports("data_v2")
    with server.misbehave("cut", route=DOWNLOADS, after_bytes=30_000, times=1):
        reports = sync(client, lake, cells_of(PERSON))
    assert [(report.complete, report.unchecked) for report in reports] == [(True, 0), (True, 0)]
    assert contents(lake) == truth(world)
