"""Streams come and go on servers: what is there is fetched, what is gone stays in the lake, nothing comes twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from core_helpers import (
    DAY,
    HOUR,
    NOW,
    PASSPHRASE,
    PERSON,
    START,
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

from dagster_beiwe.errors import UnknownStreamError
from dagster_beiwe.lake import BeiweLake, StudyLake
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.sync import FetchPolicy, StudySync, measure_completeness
from dagster_beiwe.windows import windows_between

STREAMS = ("ai_chat_logs", "ambient_audio", "gps", "image_survey", "omniring", "power_state", "survey_answers")
WEEKS = list(windows_between("weekly", START, NOW))


@pytest.fixture
def world() -> World:
    return small_world(streams=STREAMS, hours=(5,))


@pytest.fixture
def lake(folder: Path) -> StudyLake:
    return BeiweLake(folder).study(STUDY, passphrase=PASSPHRASE)


@pytest.fixture
def server(world: World) -> Iterator[SimulatedServer]:
    with SimulatedServer(world) as running:
        yield running


def served(world: World, profile: str) -> dict[str, str]:
    """{key: SHA-256} of what a server of some generation has."""
    streams = Profile.named(profile).streams
    keys = {file.key.removeprefix("CHUNKED_DATA/") for file in world.files(STUDY, streams=streams)}
    return {key: value for key, value in truth(world).items() if key in keys}


def streams_in(lake: StudyLake) -> set[str]:
    """Streams with files that the server still had when they were last looked for."""
    return {
        record.stream
        for manifest in lake.manifests(PERSON)
        for record in manifest.files
        if record.deleted_upstream_at is None
    }


@pytest.mark.parametrize("profile", ["2026-03", "2026-08", "ai_chat_logs", "image_survey"])
def test_every_stream_that_the_server_has_is_fetched_and_encrypted(
    world: World, server: SimulatedServer, lake: StudyLake, folder: Path, profile: str
) -> None:
    """Whatever the catalog says; also what is no table. A second run fetches nothing again."""
    server.profile = Profile.named(profile)
    with client_of(server) as client:
        first = sync(client, lake, cells_of(PERSON), daily=daily(client))
        assert [(report.complete, report.failures) for report in first] == [(True, ()), (True, ())]
        assert contents(lake) == served(world, profile)
        again = sync(client, lake, cells_of(PERSON), daily=daily(client))
        found = measure_completeness(
            lake, daily(client), participants=[PERSON], windows=WEEKS, streams=client.streams(STUDY)
        )
    assert sum(report.downloaded_bytes for report in again) < 500
    assert (found.complete, found.surplus, found.not_compared) == (True, [], set())
    assert all(manifest.streams == server.profile.streams for manifest in lake.manifests(PERSON))
    assert {record.encryption for manifest in lake.manifests(PERSON) for record in manifest.files} == {"cryptease"}
    check_lake(folder, lake)


@pytest.mark.parametrize("remove", [False, True])
def test_a_stream_that_the_server_loses_keeps_its_files(
    server: SimulatedServer, lake: StudyLake, folder: Path, remove: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no failure and no deletion, no window is fetched again for it, and it is named once."""
    with client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        held = contents(lake)
    server.profile = Profile.named("2026-08")
    for changed_only in (True, False):
        server.forget_requests()
        with client_of(server) as client:
            run = StudySync(client, lake, run_id="run-2", daily=daily(client), streams=("ambient_audio", "gps"))
            reports = list(run.run(cells_of(PERSON), changed_only=changed_only))
            found = measure_completeness(lake, daily(client), participants=[PERSON], windows=WEEKS, streams=["gps"])
        assert [(report.complete, report.deleted_upstream, report.failures) for report in reports] == [
            (True, 0, ())
        ] * 2
        assert downloads(server) == (0 if changed_only else 1)
        assert contents(lake) == held
        assert (found.complete, found.surplus) == (True, [])
        assert "ambient_audio" in found.not_compared
    assert "ambient_audio" in streams_in(lake)
    said = [record.getMessage() for record in caplog.records if "ambient_audio" in record.getMessage()]
    assert len(said) == 2  # once for each of the two clients
    check_lake(folder, lake)


def test_what_a_server_lost_does_not_go_with_a_participant_who_is_deleted_there(
    world: World, server: SimulatedServer, lake: StudyLake
) -> None:
    """Nobody can tell of such files whether they were deleted; the lake may hold the last copy."""
    with client_of(server) as client:
        sync(client, lake, cells_of(PERSON))
    server.profile = Profile.named("2026-08")
    del world.study(STUDY).participants[PERSON]
    with client_of(server) as client:
        policy = FetchPolicy(remove_deleted_upstream=True)
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client), policy=policy)
    assert all(report.participant_deleted_upstream for report in reports)
    assert streams_in(lake) == {"ambient_audio"}


def test_a_stream_that_comes_is_fetched_where_it_has_data(lake: StudyLake) -> None:
    """Windows of which nothing of it is counted count as fetched."""
    world = small_world(streams=("ambient_audio", "gps"), hours=(5,))
    world.add_hour(PERSON, "omniring", START + 9 * DAY)
    with SimulatedServer(world) as server:
        with client_of(server) as client:
            sync(client, lake, cells_of(PERSON), daily=daily(client))
        server.profile = Profile.named("image_survey")
        server.forget_requests()
        with client_of(server) as client:
            run = StudySync(client, lake, run_id="run-2", daily=daily(client))
            reports = list(run.run(cells_of(PERSON), changed_only=True))
        assert [report.added for report in reports] == [0, 1]
        assert downloads(server) == 1
    assert contents(lake) == served(world, "image_survey")


def test_a_stream_that_only_get_data_lacks_is_left_out(
    world: World, server: SimulatedServer, lake: StudyLake, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's own lists may lag behind. What it refuses is found by halving, once in a run."""
    server.profile = replace(Profile.named("2026-08"), still_counted=("ambient_audio",))
    with client_of(server) as client:
        reports = sync(client, lake, cells_of(PERSON, granularity="daily"))
    assert all(report.complete for report in reports)
    assert contents(lake) == served(world, "2026-08")
    assert len([record for record in caplog.records if "ambient_audio" in record.getMessage()]) == 1
    assert downloads(server) < 20


def test_a_server_may_be_updated_while_a_run_goes_on(world: World, server: SimulatedServer, lake: StudyLake) -> None:
    """What was committed before stays, the rest comes without the stream that is gone."""
    world.add_participant(STUDY)
    with client_of(server) as client:
        counted = daily(client)
        cells = cells_of(PERSON, *world.study(STUDY).participants)
        reports = []
        for report in StudySync(client, lake, run_id="run-1", daily=counted).run(cells):
            reports.append(report)
            server.profile = Profile.named("2026-08")
    assert [report.cell for report in reports] == sorted(set(cells))
    assert all(report.complete for report in reports)


def test_names_of_streams_are_judged_by_the_server(server: SimulatedServer, lake: StudyLake) -> None:
    """A misspelled one is an error with the nearest that the server has, before any data is asked for."""
    server.profile = Profile.named("image_survey")
    with client_of(server) as client, pytest.raises(UnknownStreamError, match=r"Did you mean 'omniring'.*image_survey"):
        sync(client, lake, cells_of(PERSON), streams=["omnirings"])
    assert downloads(server) == 0


def test_a_stream_that_is_not_counted_is_fetched_and_never_taken_for_deleted(
    world: World, server: SimulatedServer, lake: StudyLake
) -> None:
    """That its bytes have no field says nothing about its files."""
    server.profile = Profile.named("image_survey")
    everything = sorted(server.profile.streams)
    lost = START + 3 * DAY + 5 * HOUR
    with client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
    held = contents(lake)
    world.lose_object(PERSON, "omniring", lost)
    refusal = json.dumps({"errors": ["beiwe_omniring_bytes is not a valid field"]})
    with client_of(server) as client:
        assert client.streams(STUDY) == tuple(everything)
        with server.misbehave("wrong_json", route="/get-summary-statistics/v1", status=400, body=refusal, times=1):
            counted = daily(client)
        assert counted.uncounted == {"omniring"}
        reports = sync(client, lake, cells_of(PERSON), daily=counted)
    assert [(report.complete, report.deleted_upstream) for report in reports] == [(True, 0)] * 2
    assert contents(lake) == held


def test_streams_left_out_by_the_configuration_keep_their_files(server: SimulatedServer, lake: StudyLake) -> None:
    """A narrower configuration removes nothing, also where deleted files are to be removed."""
    with client_of(server) as client:
        sync(client, lake, cells_of(PERSON), daily=daily(client))
        held = contents(lake)
        reports = sync(client, lake, cells_of(PERSON), daily=daily(client), streams=["gps"])
    assert [(report.complete, report.deleted_upstream) for report in reports] == [(True, 0)] * 2
    assert contents(lake) == held
