"""One method per endpoint, against a simulated server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timezone
from urllib.parse import parse_qs, urlsplit

import pytest
from client_helpers import OTHER_STUDY, STUDY, asked_of, client_of, credentials_for
from scripted_server import Asked, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.client.json_bodies import parse_objects
from dagster_beiwe.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConfigurationError,
    NotFoundError,
    ServerError,
    TimeRangeError,
    UnknownStreamError,
)
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.streams import STREAM_NAMES

EVERYBODY = ["12345678", "andr9aaa", "delt7aaa", "iphn2aaa", "nodt6aaa", "retd5aaa"]


def test_valid_keys_are_confirmed(client: BeiweClient) -> None:
    """Nothing is returned and nothing raised."""
    client.check_credentials()


def test_studies_are_listed_with_their_names(client: BeiweClient) -> None:
    """Names outside ASCII come through."""
    assert client.studies() == {STUDY: "Loopback Study Alpha", OTHER_STUDY: "Beta Étude 2"}


def test_participants_are_sorted_whatever_the_servers_order(client: BeiweClient) -> None:
    """The server's order differs from request to request."""
    expected = [one for one in EVERYBODY if one != "andr9aaa"]
    for _ in range(3):
        assert client.participants(STUDY) == expected


def test_the_participant_table_leaves_out_deleted_ones(client: BeiweClient) -> None:
    """One object per row, with the server's own column names."""
    rows = client.participant_table(STUDY)
    assert [row["Patient ID"] for row in rows] == ["12345678", "iphn2aaa", "nodt6aaa", "retd5aaa"]


def test_settings_surveys_and_interventions_are_objects(client: BeiweClient) -> None:
    """Unknown keys are kept."""
    assert client.settings(STUDY)["study_time_zone"] == "America/New_York"
    assert "device_settings" in client.settings(STUDY)
    assert isinstance(client.interventions(STUDY), dict)
    assert all(isinstance(versions, list) for versions in client.survey_history(STUDY).values())


def test_quantities_are_sums_of_the_daily_bytes(client: BeiweClient) -> None:
    """Two endpoints, one truth."""
    totals = client.data_quantities(STUDY)
    assert set(totals["12345678"]) == set(STREAM_NAMES)
    days = client.summary_statistics(STUDY)
    for participant in ("12345678", "iphn2aaa"):
        for stream in ("gps", "survey_answers"):
            of_days = [day.bytes_by_stream.get(stream, 0) for day in days if day.participant == participant]
            assert sum(of_days) == totals[participant][stream] > 0


def test_daily_bytes_can_be_narrowed(client: BeiweClient, server: SimulatedServer) -> None:
    """Dates, participants and streams travel in the query string, where the server reads them."""
    every = client.summary_statistics(STUDY)
    day = every[0].day
    found = client.summary_statistics(STUDY, start_date=day, end_date=day, participants=["12345678"], streams=["gps"])
    assert [(one.participant, one.day, set(one.bytes_by_stream)) for one in found] == [("12345678", day, {"gps"})]
    last = asked_of(server)[-1]
    query = dict(last.query)
    assert query["fields"] == "date,participant_id,timezone,beiwe_gps_bytes"
    assert query["start_date"] == day.isoformat()
    assert dict(last.form) == {"study_id": STUDY}


def test_daily_bytes_are_sorted_and_can_not_be_changed(client: BeiweClient) -> None:
    """The records are facts."""
    found = client.summary_statistics(STUDY)
    assert found == sorted(found, key=lambda one: (one.participant, one.day))
    with pytest.raises(TypeError):
        found[0].bytes_by_stream["gps"] = 1  # type: ignore[index]


def test_many_participants_are_asked_for_in_short_addresses() -> None:
    """Each address stays under 4 kB, each participant is asked for once, and the answers are joined."""

    def answer(asked: Asked) -> Scripted:
        return Scripted(status=200, body=b"[]") if asked.body else Scripted(status=400)

    ids = [f"part{number:04d}" for number in range(1000)]
    with ScriptedServer(answer=answer) as server, client_of(server.url) as (client, _):
        assert client.summary_statistics(STUDY, participants=ids, streams=STREAM_NAMES) == []

    batches = [parse_qs(urlsplit(asked.path).query)["participant_ids"][0].split(",") for asked in server.asked]
    assert all(len(asked.path) < 4000 for asked in server.asked)
    assert sorted(one for batch in batches for one in batch) == ids
    assert len(batches) < 10


def test_histories_have_aware_times(client: BeiweClient, world: World) -> None:
    """Uploads, heartbeats and versions are in UTC, oldest first."""
    uploads = client.upload_history("12345678")
    assert uploads
    assert [one.arrived for one in uploads] == sorted(one.arrived for one in uploads)
    assert all(one.arrived.tzinfo == timezone.utc and one.size_bytes > 0 for one in uploads)
    beats = client.heartbeat_history("12345678")
    assert beats == sorted(beats)
    assert all(beat.tzinfo == timezone.utc for beat in beats)
    versions = client.version_history("12345678")
    assert all(isinstance(one.since, datetime) for one in versions)
    assert isinstance(client.device_status_history("12345678"), list)
    assert isinstance(client.notification_history("12345678"), dict)


def test_a_history_is_read_one_by_one(client: BeiweClient) -> None:
    """A year of uploads is some 100,000 files: the caller keeps what it needs, and no list of them is made."""
    assert client.read_uploads("12345678", lambda uploads: max(one.arrived for one in uploads)) == max(
        one.arrived for one in client.upload_history("12345678")
    )


def test_results_of_analyses_are_found_where_there_are_any(
    client: BeiweClient, world: World, server: SimulatedServer
) -> None:
    """The columns of a tree that ran, and the days that it analyzed; of a study without any, small requests tell."""
    assert client.forest_columns(STUDY) == ()
    assert sum(record.bytes_sent for record in server.requests) < 10_000
    world.analyze("12345678", "jasmine", date(2026, 3, 1), date(2026, 3, 2))
    columns = client.forest_columns(STUDY)
    assert {name.partition("_")[0] for name in columns} == {"jasmine"}
    found = client.forest_statistics(STUDY, columns, participants=["12345678", "iphn2aaa"])
    assert [(one.participant, one.day, one.zone) for one in found] == [
        ("12345678", date(2026, 3, day), "EST") for day in (1, 2)
    ]
    assert found[0].values.keys() == set(columns)


@pytest.mark.parametrize("profile", ["2026-08"])
def test_the_runs_of_analyses_are_listed_as_sent(world: World, profile: str) -> None:
    """Since July 2026."""
    world.analyze("12345678", "oak", date(2026, 3, 1), date(2026, 3, 2))
    with SimulatedServer(world, profile=profile) as server, BeiweClient(credentials_for(server)) as client:
        (task,) = client.forest_tasks(STUDY)
    assert (task["patient_id"], task["forest_tree"], task["data_date_end"]) == ("12345678", "oak", "2026-03-02")


def test_notification_times_are_asked_for_in_utc(client: BeiweClient, server: SimulatedServer) -> None:
    """The study's offset would differ between studies and seasons."""
    client.notification_history("12345678")
    assert "utc" in dict(asked_of(server)[-1].form)


def test_file_hashes_are_not_available_where_the_server_fails(client: BeiweClient, waits: list[float]) -> None:
    """The endpoint answers 500 for participants with data, and works for those without."""
    assert client.file_hashes("12345678") is None
    assert client.file_hashes("nodt6aaa") == {}
    assert waits == []


def test_unknown_participants_are_not_found(client: BeiweClient) -> None:
    """A 404 is never read as an empty history."""
    with pytest.raises(NotFoundError):
        client.upload_history("nobody00")


def test_another_researchers_study_is_denied(server: SimulatedServer, world: World) -> None:
    """A study that exists, but not for these keys."""
    others = [one for one in world.researchers if not one.may_see(OTHER_STUDY) and one.active]
    if not others:
        pytest.skip("every researcher of this world sees every study")
    keys = {"access_key": others[0].access_key, "secret_key": others[0].secret_key}
    with BeiweClient(credentials_for(server, **keys)) as client, pytest.raises(AccessDeniedError):
        client.participants(OTHER_STUDY)


@pytest.mark.parametrize("bad", ["", "short", "x" * 23 + "!", "x" * 25, "x" * 23 + "\n"])
def test_malformed_study_ids_are_not_sent(client: BeiweClient, bad: str) -> None:
    """The server would answer 400 without a word."""
    asks = (client.participants, client.settings, client.interventions, client.data_quantities, client.study_name)
    for ask in (*asks, client.forest_tasks, client.forest_columns):
        with pytest.raises(ConfigurationError, match="study id"):
            ask(bad)
    assert client.traffic.requests_sent == 0


@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a b", "naïve"])
def test_malformed_participants_are_not_sent(client: BeiweClient, bad: str) -> None:
    """Nor in histories, nor in lists."""
    for ask in (client.upload_history, client.heartbeat_history, client.version_history, client.file_hashes):
        with pytest.raises(ConfigurationError, match="participant"):
            ask(bad)
    with pytest.raises(ConfigurationError, match="participant"):
        client.summary_statistics(STUDY, participants=["12345678", bad])
    assert client.traffic.requests_sent == 0


def test_wrong_options_of_statistics_are_not_sent(client: BeiweClient) -> None:
    """Names that no stream can have, and reversed dates."""
    with pytest.raises(UnknownStreamError, match="accelerometer"):
        client.summary_statistics(STUDY, streams=["Accelerometer"])
    with pytest.raises(TimeRangeError):
        client.summary_statistics(STUDY, start_date=date(2026, 3, 2), end_date=date(2026, 3, 1))
    assert client.traffic.requests_sent == 0


@pytest.mark.parametrize(
    ("method", "bodies"),
    [
        ("studies", ["[]", '{"short": "name"}', '{"aaaaaaaaaaaaaaaaaaaaaaa1": 7}', "null", "7"]),
        ("participants", ["{}", "[7]", '["../../etc"]', '["a/b"]', '[""]', "null"]),
        ("participant_table", ["{}", "[7]"]),
        ("settings", ["[]"]),
        ("data_quantities", ["[]", '{"p1": 7}', '{"p1": {"gps_bytes": "7"}}', '{"../x": {}}']),
        (
            "summary_statistics",
            [
                "{}",
                "[7]",
                "[{}]",
                '[{"participant_id": "p1"}]',
                '[{"participant_id": "p1", "date": "yesterday"}]',
                '[{"participant_id": "../x", "date": "2026-01-01"}]',
                '[{"participant_id": "p1", "date": "2026-01-01", "beiwe_gps_bytes": "many"}]',
                '[{"participant_id": "p1", "date": "2026-01-01", "beiwe_gps_bytes": true}]',
                '[{"participant_id": "p1", "date": "2026-01-01", "beiwe_gps_bytes": -1}]',
                '[{"participant_id": "p1", "date": "2026-01-01"}',
            ],
        ),
        ("upload_history", ["{}", "[{}]", '[{"file_name": "a", "file_size": 1, "timestamp": "2026-01-01T00:00:00"}]']),
        ("heartbeat_history", ["[{}]", '[{"timestamp": 7}]']),
        ("device_status_history", ["{}", "[7]"]),
        ("forest_tasks", ["{}", "[7]"]),
        ("version_history", ["[{}]", '[{"created_on": "x"}]']),
        ("notification_history", ["[]"]),
    ],
)
def test_answers_of_another_shape_are_refused(method: str, bodies: list[str]) -> None:
    """Nothing malformed gets through, and messages do not repeat what came."""
    for body in bodies:

        def answer(asked: Asked, body: str = body) -> Scripted:
            return Scripted(body=body.encode()) if asked.body else Scripted(status=400)

        with ScriptedServer(answer=answer) as server, client_of(server.url) as (client, _):
            ask = getattr(client, method)
            with pytest.raises(BadAnswerError) as caught:
                ask(*([] if method == "studies" else ["p1" if "history" in method else STUDY]))
        assert "../" not in str(caught.value)
        assert "yesterday" not in str(caught.value)


def test_days_without_bytes_and_missing_numbers_are_left_out_of_a_day() -> None:
    """``null`` and 0 both mean that nothing was counted."""
    body = b'[{"participant_id": "p1", "date": "2026-01-01", "beiwe_gps_bytes": null, "beiwe_wifi_bytes": 0}]'

    def answer(asked: Asked) -> Scripted:
        return Scripted(body=body) if asked.body else Scripted(status=400)

    with ScriptedServer(answer=answer) as server, client_of(server.url) as (client, _):
        (found,) = client.summary_statistics(STUDY, streams=["gps", "wifi"])
    assert (found.participant, found.day, dict(found.bytes_by_stream)) == ("p1", date(2026, 1, 1), {})


def test_all_failures_have_one_base(server: SimulatedServer, client: BeiweClient) -> None:
    """Callers need one except clause for the server."""
    with server.misbehave("html_200"), pytest.raises(ServerError):
        client.studies()


@pytest.mark.parametrize("size", [1, 7, 65536])
def test_an_array_of_objects_is_read_in_chunks(size: int) -> None:
    """Wherever a chunk ends: inside a character, a name, a number or between objects."""
    rows = [{"name": "Étude ☃", "n": number, "deep": {"a": [1, {"b": "]},{["}]}} for number in range(50)]
    for indent in (None, 2):
        body = json.dumps(rows, ensure_ascii=False, indent=indent).encode()
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        assert list(parse_objects(chunks, "route")) == rows


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[", b"[{}", b"[{},", b"[{},]", b"[,{}]", b"[{}{}]", b"[{}]]", b"[{}] x", b"[1]", b'["a"]', b"{}",
     b"[{]", b"<html>", b"[[{}]]", b"[nul]", b'[{"a": ' + b"[" * 5000],
)  # fmt: skip
def test_what_is_not_an_array_of_objects_is_refused(body: bytes) -> None:
    """Every other text, cut ones included."""
    with pytest.raises(BadAnswerError):
        list(parse_objects([body], "route"))


def test_an_object_without_end_does_not_fill_the_memory() -> None:
    """Reading stops after a megabyte of one object."""
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b'[{"a": "'
        while True:
            taken += 1
            yield b"x" * 65536

    with pytest.raises(BadAnswerError, match="at most"):
        list(parse_objects(endless(), "route"))
    assert taken < 20
