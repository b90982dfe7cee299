"""Every file is compared with the best hash that the server has of it, whatever the server's generation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from core_helpers import (
    DAY,
    HOUR,
    PERSON,
    START,
    STUDY,
    cells_of,
    check_lake,
    client_of,
    contents,
    downloads,
    small_world,
    sync,
    truth,
)

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.member_names import short_key
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.streams import STREAMS
from dagster_beiwe.sync import FetchPolicy


def records(lake: StudyLake) -> Iterator[FileRecord]:
    for manifest in lake.manifests(PERSON):
        yield from manifest.files


def registries(server: SimulatedServer) -> list[dict[str, str]]:
    """What each download told to be held."""
    requests = [request for request in server.requests if "get-data/" in request.route and request.form]
    return [json.loads(dict(request.form).get("registry", "{}")) for request in requests]


def test_a_first_fetch_asks_for_sha1(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """By an hour of the request with a hash that no content has, which keeps nothing out."""
    sync(client, lake, cells_of(PERSON))
    (question,) = registries(server)
    ((key, value),) = question.items()
    assert key in {short_key(f"{STUDY}/{PERSON}/{stream}/{START:%Y-%m-%dT%H:%M:%S}.csv") for stream in STREAMS}
    assert value not in {file.sha1 for file in world.files(STUDY)}
    assert contents(lake) == truth(world)
    assert {(record.known_by, record.md5) for record in records(lake)} == {("sha1", None)}


@pytest.mark.parametrize("stream", ["audio_recordings", "survey_answers"])
def test_recordings_and_answers_are_compared_from_the_first_time(
    stream: str, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Without that question the server tells no hash of them, and nothing could be seen."""
    server.misbehave("hash_mismatch", stream=stream)
    reports = sync(client, lake, cells_of(PERSON))
    assert sum(report.mislisted for report in reports) == sum(report.files_by_stream[stream] for report in reports)


def test_files_of_which_the_server_has_no_sha1_are_compared_by_md5(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake, folder: Path
) -> None:
    """They come once more in the first request, and once in the others; none come in a refresh."""
    world.forget_sha1(PERSON)
    policy = FetchPolicy(first_request_hours=24 * 7, longest_request_hours=24 * 7)
    sync(client, lake, cells_of(PERSON), policy=policy)
    assert contents(lake) == truth(world)
    assert downloads(server) == 3
    by_hash = {(STREAMS[record.stream].chunked, record.known_by, record.md5 is not None) for record in records(lake)}
    assert by_hash == {(True, "md5", True), (False, "sha1", True), (False, "sha1", False)}
    reports = sync(client, lake, cells_of(PERSON), policy=policy)
    assert sum(report.unchanged for report in reports) == len(truth(world))
    assert downloads(server) == 5
    check_lake(folder, lake)


HOUR_OF_A_FILE = START + 5 * HOUR


def forget_sha1_of(world: World, stream: str, hour: datetime = HOUR_OF_A_FILE) -> None:
    """As after an object that was lost and is back."""
    world.lose_object(PERSON, stream, hour)
    world.restore_object(PERSON, stream, hour)


def test_a_file_whose_sha1_was_forgotten_is_compared_by_md5(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """In one more request, with which the others don't come again."""
    forget_sha1_of(world, "gps")
    sync(client, lake, cells_of(PERSON))
    assert contents(lake) == truth(world)
    known = {(record.stream, record.moment) for record in records(lake) if record.known_by == "md5"}
    assert known == {("gps", HOUR_OF_A_FILE)}
    assert downloads(server) == 2


def test_a_held_file_whose_sha1_is_forgotten_comes_once(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Its content is compared by MD5 then, and the next refresh tells that."""
    sync(client, lake, cells_of(PERSON))
    forget_sha1_of(world, "gps")
    sync(client, lake, cells_of(PERSON))
    before = downloads(server)
    reports = sync(client, lake, cells_of(PERSON))
    assert sum(report.unchanged for report in reports) == len(truth(world))
    assert downloads(server) == before + 1


def test_a_file_too_large_to_unpack_is_stored_without_sha1_too(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """It is asked for uncompressed, and compared by MD5 at the same time."""
    forget_sha1_of(world, "gps")
    server.misbehave("zip_bomb", stream="gps", start=HOUR_OF_A_FILE, end=HOUR_OF_A_FILE + HOUR, declared=1 << 40)
    reports = sync(client, lake, cells_of(PERSON))
    assert [report.failures for report in reports] == [(), ()]
    assert contents(lake) == truth(world)


def test_whatever_is_wrong_in_one_answer_has_its_second_chance(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """A file without SHA-1, one that is damaged, one that is too large and one whose hash is wrong, side by side."""
    around = {"start": HOUR_OF_A_FILE, "end": HOUR_OF_A_FILE + HOUR, "times": 1}
    forget_sha1_of(world, "gps")
    server.misbehave("zip_bomb", stream="power_state", **{**around, "times": None}, declared=1 << 40)
    server.misbehave("wrong_crc", stream="accelerometer", **around)
    server.misbehave("hash_mismatch", stream="survey_timings", **around)
    reports = sync(client, lake, cells_of(PERSON))
    assert [report.failures for report in reports] == [(), ()]
    assert contents(lake) == truth(world)


def test_one_failure_does_not_end_the_question(server: SimulatedServer, client: BeiweClient, lake: StudyLake) -> None:
    """Only the request that failed is repeated without it."""
    client.supports("data_v2")
    server.misbehave("status", status=500, route="/get-data/*", times=1)
    policy = FetchPolicy(first_request_hours=24 * 7, longest_request_hours=24 * 7)
    sync(client, lake, cells_of(PERSON), policy=policy)
    assert [len(registry) for registry in registries(server)] == [1, 0, 1]


def test_a_server_that_fails_where_it_should_say_what_it_can_is_not_asked(
    world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """Everything comes, compared with what such a server tells by itself."""
    server.misbehave("status", status=500, route="/get-participant-file-hashes/*")
    reports = sync(client, lake, cells_of(PERSON))
    assert [report.failures for report in reports] == [(), ()]
    assert registries(server) == [{}]
    assert contents(lake) == truth(world)


@pytest.mark.parametrize("route", ["/get-participant-file-hashes/*", "/get-data/v2"])
def test_a_server_that_fails_where_it_should_say_what_it_can_does_not_end_a_refresh(
    route: str, world: World, server: SimulatedServer, client: BeiweClient, lake: StudyLake
) -> None:
    """It is asked once for all, and the lake that holds something is refreshed as from an older server."""
    sync(client, lake, cells_of(PERSON))
    world.add_rows(PERSON, "gps", HOUR_OF_A_FILE)
    with client_of(server, attempts=1) as later:
        server.forget_requests()
        server.misbehave("status", status=500, route=route, times=1)
        reports = sync(later, lake, cells_of(PERSON))
    assert [report.failures for report in reports] == [(), ()]
    assert sum(report.changed for report in reports) == 1
    assert contents(lake) == truth(world)
    assert len([request for request in server.requests if request.status == 500]) == 1


@pytest.mark.parametrize("lacking", [True, False])
@pytest.mark.parametrize("profile", ["2023-11", "2025-06", "2025-12", "2026-01-08", "2026-01-18", "2026-03"])
def test_every_generation_gives_everything_and_its_changes(
    profile: str, lacking: bool, lake: StudyLake, folder: Path
) -> None:
    """Also the one that broke on any registry where a file had no SHA-1."""
    world = small_world(streams=("gps", "audio_recordings"), start=START + 12 * DAY)
    if lacking:
        world.forget_sha1(PERSON)
    cells = cells_of(PERSON, start=START + 7 * DAY)
    with SimulatedServer(world, profile=profile) as server, client_of(server) as client:
        for change in (timedelta(days=12, hours=5), timedelta(days=13, hours=18)):
            reports = sync(client, lake, cells)
            assert all(report.complete for report in reports), reports
            assert contents(lake) == truth(world)
            world.add_rows(PERSON, "gps", START + change)
    check_lake(folder, lake)
