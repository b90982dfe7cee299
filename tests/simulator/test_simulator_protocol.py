"""Statuses, bodies and content types of the simulated server, against what a real one of March 2026 answers."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import requests
from simulator_helpers import ALPHA, BETA, NOW, Client, build_world

from dagster_beiwe.simulator import SimulatedServer, World

HTML, JSON, ZIP = "text/html; charset=utf-8", "application/json", "application/zip"
GOOD: dict[str, str] = {}
WRONG_ACCESS, WRONG_SECRET = {"access_key": "w" * 64}, {"secret_key": "w" * 64}

# request: route and form fields beyond the keys; answer: status, kind of body, content type
FACTS: list[tuple[str, Mapping[str, Any], int, str, str]] = [
    # credentials
    ("get-studies/v1", {"access_key": ""}, 400, "empty", HTML),
    ("get-studies/v1", {"secret_key": "has space!"}, 400, "empty", HTML),
    ("get-studies/v1", {"access_key": "not-base64_="}, 400, "empty", HTML),
    ("get-studies/v1", WRONG_ACCESS, 403, "empty", HTML),
    ("get-studies/v1", WRONG_SECRET, 403, "empty", HTML),
    ("get-studies/v1", GOOD, 200, "json", HTML),
    ("get-studies/v1/", GOOD, 200, "json", HTML),
    ("check-my-credentials/v1", GOOD, 200, "text", HTML),
    ("get-nothing/v1", GOOD, 404, "page", HTML),
    # the study is looked up before the credentials
    ("get-users/v1", {}, 400, "empty", HTML),
    ("get-users/v1", {"study_id": ""}, 400, "empty", HTML),
    ("get-users/v1", {"study_id": "abc123"}, 400, "empty", HTML),
    ("get-users/v1", {"study_id": "a" * 23 + "-"}, 400, "empty", HTML),
    ("get-users/v1", {"study_id": "z" * 24}, 404, "empty", HTML),
    ("get-users/v1", {"study_id": "z" * 24, **WRONG_ACCESS}, 404, "empty", HTML),
    ("get-users/v1", {"study_id": ALPHA, **WRONG_ACCESS}, 403, "empty", HTML),
    ("get-users/v1", {"study_pk": "abc"}, 400, "empty", HTML),
    ("get-users/v1", {"study_pk": "99999"}, 404, "empty", HTML),
    ("get-users/v1", {"study_pk": "1"}, 200, "json", JSON),
    ("get-users/v1", {"study_id": ALPHA}, 200, "json", JSON),
    ("get-participant-ids/v1", {"study_id": ALPHA}, 200, "json", JSON),
    ("get-study-settings/v1", {"study_id": ALPHA}, 200, "json", JSON),
    ("get-interventions/v1", {"study_id": ALPHA}, 200, "json", JSON),
    ("get-survey-history/v1", {"study_id": ALPHA}, 200, "json", "text/json"),
    ("get-participant-data-quantities/v1", {"study_id": ALPHA}, 200, "json", JSON),
    ("get-participant-table-data/v1", {"study_id": ALPHA}, 400, "text", HTML),
    ("get-participant-table-data/v1", {"study_id": ALPHA, "data_format": "xml"}, 400, "text", HTML),
    ("get-participant-table-data/v1", {"study_id": ALPHA, "data_format": "json"}, 200, "json", JSON),
    ("get-participant-table-data/v1", {"study_id": ALPHA, "data_format": "json_table"}, 200, "json", JSON),
    ("get-participant-table-data/v1", {"study_id": ALPHA, "data_format": "csv"}, 200, "text", "text/csv"),
    ("get-summary-statistics/v1", {"study_id": ALPHA}, 200, "json", JSON),
    # participant-level: credentials first
    ("get-participant-upload-history/v1", WRONG_ACCESS, 403, "empty", HTML),
    ("get-participant-upload-history/v1", {}, 400, "empty", HTML),
    ("get-participant-upload-history/v1", {"participant_id": "zzzzzzzz"}, 404, "empty", HTML),
    ("get-participant-upload-history/v1", {"participant_id": "andr1aaa"}, 200, "json", JSON),
    ("get-participant-heartbeat-history/v1", {"participant_id": "andr1aaa"}, 200, "json", JSON),
    ("get-participant-version-history/v1", {"participant_id": "andr1aaa"}, 200, "json", JSON),
    ("get-participant-device-status-history/v1", {"participant_id": "andr1aaa"}, 200, "json", JSON),
    ("get-participant-notification-history/v1", {"participant_id": "andr1aaa"}, 200, "json", JSON),
    ("get-participant-file-hashes/v1", {"participant_id": "andr1aaa"}, 500, "page", HTML),
    ("get-participant-file-hashes/v1", {"participant_id": "nodt4aaa"}, 200, "json", JSON),
    # get-data: lists
    ("get-data/v1", {}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": ["andr1aaa", "iphn2aaa"]}, 200, "zip", ZIP),
    ("get-data/v2", {"study_id": ALPHA, "user_ids": '["12345678"]'}, 200, "zip", ZIP),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": "andr1aaa"}, 200, "zip", ZIP),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": "12345678"}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": ""}, 404, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": '"andr1aaa"'}, 404, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": '["andr1aaa", "andr1aaa"]'}, 404, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "user_ids": '["andr1aaa", "zzzzzzzz"]'}, 404, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "data_streams": '["GPS"]'}, 404, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "data_streams": "null"}, 500, "page", HTML),
    # get-data: times and registries
    ("get-data/v1", {"study_id": ALPHA, "time_start": "2026-10-02"}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_start": ""}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_start": "2026-13-02T00:00:00"}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_start": "2026-10-02T00:00:00Z"}, 500, "page", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_end": "2026-10-02T01:59:59.999"}, 500, "page", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_end": "2026-10-02T01:59:59+00:00"}, 500, "page", HTML),
    ("get-data/v1", {"study_id": ALPHA, "time_start": "2026-10-2T0:0:0"}, 200, "zip", ZIP),
    ("get-data/v1", {"study_id": ALPHA, "registry": "nope"}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "registry": "[]"}, 400, "empty", HTML),
    ("get-data/v1", {"study_id": ALPHA, "registry": '{"a": null}'}, 500, "page", HTML),
]


@pytest.mark.parametrize(("route", "form", "status", "body", "content_type"), FACTS)
def test_answers_with_the_status_and_body_of_a_real_server(
    client: Client, route: str, form: Mapping[str, Any], status: int, body: str, content_type: str
) -> None:
    """Each kind of request gets the recorded status, kind of body and content type."""
    answer = client.post(route, **form)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, content_type)
    checks = {
        "empty": answer.content == b"",
        "json": body == "json" and answer.json() is not None,
        "page": answer.content.startswith(b"<!doctype html>") and len(answer.content) > 10_000,
        "text": len(answer.content) > 0 and not answer.content.startswith(b"<"),
        "zip": answer.content.startswith(b"PK"),
    }
    assert checks[body]


@pytest.mark.parametrize(
    ("path", "allowed"), [("/get-studies/v1", "POST"), ("/get-users/v1", "POST"), ("/validate_login", "POST")]
)
def test_another_method_is_refused_with_the_allowed_one(server: SimulatedServer, path: str, allowed: str) -> None:
    """405, empty, with an Allow header."""
    answer = requests.get(server.url + path, timeout=10)
    assert (answer.status_code, answer.headers["Allow"], answer.content) == (405, allowed, b"")


def test_get_on_get_data_ends_in_400(server: SimulatedServer) -> None:
    """The route takes GET, but keys are read from a form body only."""
    keys = {"access_key": server.access_key, "secret_key": server.secret_key, "study_id": ALPHA}
    answer = requests.get(f"{server.url}/get-data/v1", params=keys, timeout=10)
    assert (answer.status_code, answer.content) == (400, b"")


@pytest.mark.parametrize("how", ["json", "params"])
def test_keys_outside_the_form_are_not_read(server: SimulatedServer, how: str) -> None:
    """JSON bodies and query strings hold no credentials."""
    keys = {"access_key": server.access_key, "secret_key": server.secret_key}
    answer = requests.request(
        "POST",
        f"{server.url}/get-studies/v1",
        json=keys if how == "json" else None,
        params=keys if how == "params" else None,
        timeout=10,
    )
    assert answer.status_code == 400


def test_multipart_forms_are_read(server: SimulatedServer) -> None:
    """multipart/form-data works like a urlencoded form."""
    fields = [("access_key", (None, server.access_key)), ("secret_key", (None, server.secret_key))]
    answer = requests.post(f"{server.url}/get-studies/v1", files=fields, timeout=10)
    assert answer.json()[BETA] == "Beta Étude"


def test_researchers_see_only_their_studies(world: World, server: SimulatedServer) -> None:
    """403 outside one's studies; an administrator sees all; a deactivated key is refused."""
    seen = {}
    for one in world.researchers:
        keys = {"access_key": one.access_key, "secret_key": one.secret_key}
        listed = requests.post(f"{server.url}/get-studies/v1", data=keys, timeout=10)
        asked = requests.post(f"{server.url}/get-users/v1", data={**keys, "study_id": BETA}, timeout=10)
        seen[one.username] = (len(listed.json()) if listed.ok else listed.status_code, asked.status_code)
        assert {"+", "/"} <= set(one.access_key)
    assert seen == {
        "researcher": (2, 200),
        "restricted": (1, 403),
        "outsider": (0, 403),
        "administrator": (2, 200),
        "deactivated": (403, 403),
    }


def test_hidden_studies_answer_only_at_participant_level(world: World, client: Client) -> None:
    """A hidden study is unknown to study-level endpoints, yet its participants' histories stay."""
    world.hide_study(ALPHA)
    assert list(client.post("get-studies/v1").json()) == [BETA]
    assert client.get_data().status_code == 404
    assert client.post("get-participant-heartbeat-history/v1", participant_id="andr1aaa").json()


def test_participants_come_in_another_order_each_time(client: Client) -> None:
    """The order of ids is arbitrary; the set is not."""
    orders = [tuple(client.post("get-users/v1", study_id=ALPHA).json()) for _ in range(12)]
    assert len(set(orders)) > 1
    assert {tuple(sorted(order)) for order in orders} == {("12345678", "andr1aaa", "iphn2aaa", "nodt4aaa")}


def test_settings_hold_no_survey_ids_and_name_their_file(client: Client) -> None:
    """An attachment, with an encoded name for a study outside ASCII."""
    answer = client.post("get-study-settings/v1", study_id=BETA)
    settings = answer.json()
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename*=utf-8''Beta_%C3%89tude_surveys_and_settings.json"
    )
    assert settings["study_time_zone"] == "Asia/Kolkata"
    assert len(settings["device_settings"]) == 51
    assert [survey["name"] for survey in settings["surveys"]] == ["Daily mood", "Voice diary"]
    assert all("id" not in survey and "_id" not in survey for survey in settings["surveys"])
    history = client.post("get-survey-history/v1", study_id=BETA).json()
    assert len(history) == 3, "the deleted survey is in the history"


def test_table_has_one_row_per_participant_in_local_time(world: World, client: Client) -> None:
    """Sorted by id, without participants flagged deleted; times carry the study's offset."""
    world.flag_deleted("12345678")
    world.retire("iphn2aaa")
    rows = client.post("get-participant-table-data/v1", study_id=ALPHA, data_format="json").json()
    assert [(row["Patient ID"], row["Status"]) for row in rows] == [
        ("andr1aaa", "Active (past day)"),
        ("iphn2aaa", "Permanently Retired"),
        ("nodt4aaa", "Not Registered"),
    ]
    assert rows[0]["Last Upload"].endswith("-04:00")
    assert rows[2]["Last Upload"] is None
    text = client.post("get-participant-table-data/v1", study_id=ALPHA, data_format="csv").text
    assert text.count("\r\n") == 4
    assert "(EDT)" in text
    assert ",None" in text


def test_histories_can_omit_keys(client: Client) -> None:
    """Objects become arrays, and a bare value where there is one field."""
    whole = client.post("get-participant-upload-history/v1", participant_id="iphn2aaa").json()
    bare = client.post("get-participant-upload-history/v1", participant_id="iphn2aaa", omit_keys="true").json()
    assert bare == [list(one.values()) for one in whole]
    assert any(one["file_name"].startswith("ios/log/") for one in whole)
    assert [one["timestamp"] for one in whole] == sorted(one["timestamp"] for one in whole)
    beats = client.post("get-participant-heartbeat-history/v1", participant_id="iphn2aaa", omit_keys="true").json()
    assert beats
    assert all(isinstance(beat, str) for beat in beats)


def test_login_is_always_a_redirect_and_sets_a_session_only_when_right(server: SimulatedServer) -> None:
    """The website's login, and the settings page that it opens by integer key."""
    export = f"{server.url}/export_study_settings_file"
    with requests.Session() as session:
        login = {"username": server.username, "password": "wrong"}
        answer = session.post(f"{server.url}/validate_login", data=login, allow_redirects=False, timeout=10)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        assert session.get(f"{export}/1", allow_redirects=False, timeout=10).status_code == 302
        login["password"] = server.password
        session.post(f"{server.url}/validate_login", data=login, allow_redirects=False, timeout=10)
        assert "sessionid" in session.cookies
        assert session.get(f"{export}/1", timeout=10).json()["device_settings"]
        assert session.get(f"{export}/{ALPHA}", timeout=10).status_code == 400
        assert session.get(f"{server.url}/device_settings/1", timeout=10).status_code == 200
        assert session.get(f"{server.url}/device_settings/{ALPHA}", timeout=10).status_code == 404


def test_background_processing_is_reported_without_a_key(world: World, server: SimulatedServer) -> None:
    """200 while processing runs, 500 when it stopped, empty either way."""
    assert requests.get(f"{server.url}/background_processing_status", timeout=10).status_code == 200
    world.processing = False
    assert requests.get(f"{server.url}/background_processing_status", timeout=10).status_code == 500


def test_one_connection_serves_many_requests(server: SimulatedServer) -> None:
    """Keep-alive as HTTP/1.1 has it, also after an error."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("POST", "/get-studies/v1", body=b"")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 400
        assert connection.sock is first
    connection.close()


@pytest.mark.parametrize(
    ("method", "route", "fields"),
    [
        ("POST", "get-studies/v1", {}),
        ("POST", "check-my-credentials/v1", {"access_key": "", "secret_key": ""}),
        ("POST", "get-data/v1", {"study_id": BETA}),
        ("HEAD", "get-studies/v1", {}),
    ],
)
def test_log_is_written_before_the_answer_has_arrived(
    world: World, method: str, route: str, fields: dict[str, str]
) -> None:
    """Whoever has an answer, be it empty, short or long, finds it in the log: here writing the log takes its time."""

    class SlowLog(SimulatedServer):
        def record(self, *args: Any, **kwargs: Any) -> None:
            too_early.append(arrived.wait(timeout=0.2))
            super().record(*args, **kwargs)

    arrived, too_early = threading.Event(), list[bool]()
    with SlowLog(world) as server:
        keys = {"access_key": server.access_key, "secret_key": server.secret_key}
        requests.request(method, f"{server.url}/{route}", data={**keys, **fields}, timeout=10)
        arrived.set()
        assert (too_early, len(server.requests)) == ([False], 1)


def test_log_counts_requests_and_bytes_without_keys(server: SimulatedServer, client: Client) -> None:
    """The log is complete as soon as the client has its answer, and holds no credentials."""
    answer = client.get_data(user_ids='["andr1aaa"]')
    (record,) = server.requests
    assert (record.method, record.route, record.status) == ("POST", "/get-data/v1", 200)
    assert record.bytes_sent == len(answer.content)
    assert record.bytes_received > 128
    assert dict(record.form) == {"study_id": ALPHA, "user_ids": '["andr1aaa"]'}
    assert server.access_key not in repr(record)
    assert server.peak_downloads == 1
    server.forget_requests()
    assert (server.requests, server.peak_downloads) == ([], 0)


def test_server_stops_at_once_and_starts_again_on_its_port(world: World) -> None:
    """Idle keep-alive connections do not delay the stop; the same port is used again."""
    server = SimulatedServer(world).start()
    port = server.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/get-studies/v1", body=b"")
    connection.getresponse().read()
    server.stop()
    assert connection.sock is not None
    assert connection.sock.recv(1) == b"", "the server closed the idle connection"
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=10)
    connection.close()
    with server:
        assert server.port == port
    server.stop()


def test_same_seed_same_world_other_seed_other_world() -> None:
    """Keys, ids and bytes follow from the seed."""
    one, same, other = build_world(1), build_world(1), build_world(2)

    def fingerprint(world: World) -> str:
        return json.dumps([[file.key, file.sha1] for file in world.files(ALPHA)] + [world.researchers[0].access_key])

    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    demo, again = World.demo(seed=3, now=NOW), World.demo(seed=3, now=NOW)
    assert list(demo.studies) == list(again.studies)
    assert 2000 < sum(len(demo.files(study)) for study in demo.studies) < 10_000


def test_orders_follow_from_the_order_seed(world: World) -> None:
    """Two servers with the same order seed shuffle alike, so a failing test can be repeated."""
    seen = []
    for _ in range(2):
        with SimulatedServer(world, order_seed=5) as server, requests.Session() as session:
            seen.append([Client(server, session).archive().namelist() for _ in range(2)])
    assert seen[0] == seen[1]
    assert seen[0][0] != seen[0][1]


def test_form_limit_of_a_proxy(world: World) -> None:
    """A proxy in front may refuse large registries with 413."""
    with SimulatedServer(world, max_form_bytes=1000) as server, requests.Session() as session:
        client = Client(server, session)
        assert client.get_data(registry=json.dumps({"a" * 2000: "b"})).status_code == 413
        assert client.get_data().status_code == 200


def test_access_can_be_taken_away(world: World, client: Client) -> None:
    """Researchers are plain facts that a test may exchange."""
    assert client.get_data().status_code == 200
    world.researchers[0] = replace(world.researchers[0], study_ids=frozenset())
    assert client.get_data().status_code == 403
