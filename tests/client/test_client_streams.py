"""Which streams a server has is the server's to tell: how the client learns them, and what it does with refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from client_helpers import STUDY, asked_of, client_of, credentials_for
from scripted_server import PAGE, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import NotFoundError, RequestRefusedError, RouteMissingError, UnknownStreamError
from dagster_beiwe.simulator import PROFILE_NAMES, SimulatedServer, StudyPlan, World
from dagster_beiwe.simulator.profiles import Profile
from dagster_beiwe.streams import STREAM_NAMES
from dagster_beiwe.windows import Window

PERSON = "12345678"
HOUR = Window(datetime(2026, 3, 2, 5, tzinfo=timezone.utc), datetime(2026, 3, 2, 6, tzinfo=timezone.utc))
QUANTITIES = "/get-participant-data-quantities/v1"
STATISTICS = "/get-summary-statistics/v1"
LATER = ["2026-08", "ai_chat_logs", "image_survey"]


@pytest.mark.parametrize("profile", PROFILE_NAMES)
def test_the_streams_are_those_that_the_server_tells(world: World, profile: str) -> None:
    """Asked for once, with one request where the server counts totals; the catalog's where it tells nothing."""
    with SimulatedServer(world, profile=profile) as server, BeiweClient(credentials_for(server)) as client:
        assert client.streams(STUDY) == client.streams(STUDY) == Profile.named(profile).streams
        routes = [asked.route for asked in asked_of(server)]
    assert routes == [QUANTITIES] if profile >= "2024-07" else len(routes) == 3


@pytest.mark.parametrize("profile", LATER)
@pytest.mark.parametrize("broken", [(), (QUANTITIES,), (QUANTITIES, STATISTICS)])
def test_where_one_answer_fails_another_tells(world: World, profile: str, broken: tuple[str, ...]) -> None:
    """Totals, a row of the daily statistics, or the page for Tableau."""
    with SimulatedServer(world, profile=profile) as server, BeiweClient(credentials_for(server)) as client:
        for route in broken:
            server.misbehave("status", route=route, status=500)
        assert client.streams(STUDY) == server.profile.streams


def test_a_study_without_participants_has_the_streams_of_its_server() -> None:
    """Neither totals nor statistics have a row; the page tells nevertheless."""
    world = World.build(StudyPlan(id=STUDY, participants=0))
    with SimulatedServer(world, profile="2026-08") as server, BeiweClient(credentials_for(server)) as client:
        assert client.streams(STUDY) == server.profile.streams


def test_wanted_streams_that_the_server_lacks_are_left_out_and_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest goes on; where nothing is left, that is an error."""
    with SimulatedServer(world, profile="2026-08") as server, BeiweClient(credentials_for(server)) as client:
        for _ in range(2):
            assert client.choose_streams(STUDY, ["gps", "ambient_audio"]) == ("gps",)
        with pytest.raises(UnknownStreamError, match="none of the data streams ambient_audio"):
            client.choose_streams(STUDY, ["ambient_audio"])
        with pytest.raises(UnknownStreamError, match=r"no data stream 'acelerometer'.*Did you mean 'accelerometer'"):
            client.choose_streams(STUDY, ["acelerometer"])
    assert len([record for record in caplog.records if "ambient_audio" in record.getMessage()]) == 1


def test_streams_that_the_catalog_lacks_are_chosen_and_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """By name, and where none is named."""
    with SimulatedServer(world, profile="image_survey") as server, BeiweClient(credentials_for(server)) as client:
        assert client.choose_streams(STUDY, ["omniring", "gps"]) == ("gps", "omniring")
        assert set(client.choose_streams(STUDY)) == {*STREAM_NAMES, "image_survey", "omniring"}
    assert len([record for record in caplog.records if "image_survey, omniring" in record.getMessage()]) == 1


def test_streams_that_get_data_refuses_are_found_by_halving(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the totals tell. They are left out from then on, and said once."""
    with SimulatedServer(world, profile="2026-08") as server, BeiweClient(credentials_for(server)) as client:
        server.profile = replace(server.profile, still_counted=("ambient_audio", "moon_phase"))
        assert {"ambient_audio", "moon_phase"} < set(client.streams(STUDY))
        assert client.refused_streams(STUDY, PERSON, client.streams(STUDY)) == ("ambient_audio", "moon_phase")
        assert client.streams(STUDY) == server.profile.streams
        assert client.choose_streams(STUDY, ["gps", "moon_phase"]) == ("gps",)
        probes = [asked for asked in asked_of(server) if asked.route.startswith("/get-data")]
    assert len(probes) <= 15
    assert all(asked.bytes_sent < 200 for asked in probes)
    said = [record.getMessage() for record in caplog.records if "does not have" in record.getMessage()]
    assert len(said) == 1
    assert "ambient_audio, moon_phase" in said[0]


def test_a_404_about_the_participant_refuses_no_stream(client: BeiweClient) -> None:
    """It is asked first whether the server has the participant at all."""
    assert client.refused_streams(STUDY, "nobody99", STREAM_NAMES) == ()
    assert client.streams(STUDY) == STREAM_NAMES
    assert client.traffic.requests_sent == 3  # is there a v2, all streams of nobody99, which streams are there


def test_fields_that_the_statistics_lack_are_dropped_and_remembered(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Exactly those that the refusal names, whichever batch of participants meets it first."""
    with SimulatedServer(world, profile="2026-03") as older, BeiweClient(credentials_for(older)) as client:
        expected = client.summary_statistics(STUDY)
        assert client.uncounted_streams == frozenset()
    with SimulatedServer(world, profile="2026-08") as server, BeiweClient(credentials_for(server)) as client:
        for _ in range(2):
            found = client.summary_statistics(STUDY, streams=STREAM_NAMES)
        assert client.uncounted_streams == {"ambient_audio"}
        assert [asked.status for asked in asked_of(server)] == [400, 200, 200]
    known = [(one.participant, one.day, {**one.bytes_by_stream, "ambient_audio": None}) for one in expected]
    assert [(one.participant, one.day, {**one.bytes_by_stream, "ambient_audio": None}) for one in found] == known
    assert any("beiwe_ambient_audio_bytes" in record.getMessage() for record in caplog.records)


def test_fields_that_are_left_out_without_a_word_are_noticed(client: BeiweClient, server: SimulatedServer) -> None:
    """A stream without a field is not counted, which is not the same as having no bytes."""
    row = {"date": "2026-03-02", "participant_id": PERSON, "beiwe_gps_bytes": 7, "moon_phase": "full"}
    server.misbehave("wrong_json", route=STATISTICS, body=json.dumps([row, row]))
    (one, _) = client.summary_statistics(STUDY, streams=["gps", "wifi"])
    assert one.bytes_by_stream == {"gps": 7}
    assert client.uncounted_streams == {"wifi"}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"errors": "date"}', b'{"errors": ["date is not a valid field"]}', b'{"errors": [1, null]}']
)
def test_a_refusal_that_names_no_field_to_do_without_is_an_error(body: bytes) -> None:
    """It is asked once: nothing would be different the next time."""
    with (
        ScriptedServer(answer=lambda _: Scripted(status=400, body=body)) as server,
        client_of(server.url) as (client, _),
    ):
        with pytest.raises(RequestRefusedError):
            client.summary_statistics(STUDY, streams=["gps"])
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "error"), [(b"", NotFoundError), (b"There is none.", NotFoundError), (PAGE, RouteMissingError)]
)
def test_only_a_page_says_that_a_route_is_missing(body: bytes, error: type[Exception]) -> None:
    """A short text is an answer: newer routes say so that they have nothing."""
    with (
        ScriptedServer(answer=lambda _: Scripted(status=404, body=body)) as server,
        client_of(server.url) as (client, _),
        pytest.raises(error),
    ):
        client.data_quantities(STUDY)


def test_totals_that_count_no_stream_are_left_alone(client: BeiweClient, server: SimulatedServer) -> None:
    """A field that comes later hides no stream."""
    body = json.dumps({PERSON: {"gps_bytes": 7, "moon_bytes": None, "counted_at": "2026-08-01"}})
    server.misbehave("wrong_json", route=QUANTITIES, body=body)
    assert client.data_quantities(STUDY) == {PERSON: {"gps": 7, "moon": 0}}


@pytest.mark.parametrize("name", ["../x", "GPS", "a b", ""])
def test_names_that_can_not_be_folders_are_left_out(world: World, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """What the server calls a stream decides where files are put."""
    with SimulatedServer(world) as server, BeiweClient(credentials_for(server)) as client:
        server.misbehave(
            "wrong_json", route=QUANTITIES, body=json.dumps({PERSON: {"gps_bytes": 1, f"{name}_bytes": 1}})
        )
        assert client.streams(STUDY) == ("gps",)
    assert any("left out" in record.getMessage() for record in caplog.records)


def test_without_names_get_data_gives_every_stream_of_the_server(world: World) -> None:
    """No list is needed for that, so none can be wrong."""
    with SimulatedServer(world, profile="2026-08") as server, BeiweClient(credentials_for(server)) as client:
        window = Window(world.now - timedelta(days=1), world.now)
        with client.get_data(STUDY, participants=[PERSON], streams=(), window=window) as download:
            assert b"gps" in b"".join(download)
        assert "data_streams" not in dict(asked_of(server)[-1].form)
