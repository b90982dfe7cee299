"""Every status of a Beiwe server becomes the error that tells what to do."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
from datetime import datetime, timezone

import pytest
from client_helpers import ACCESS_KEY, SECRET_KEY, STUDY, client_of, credentials_for, everything_in
from scripted_server import PAGE, Asked, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import (
    AccessDeniedError,
    BadAnswerError,
    ConnectionFailedError,
    NotFoundError,
    RedirectError,
    RequestRefusedError,
    RequestTooLargeError,
    RouteMissingError,
    ServerBusyError,
    ServerError,
    ServerFailedError,
)
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.windows import Window

MAINTENANCE = b"This server is currently undergoing maintenance, please try again later."


@pytest.mark.usefixtures("deep_stack")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Scripted(status=400), RequestRefusedError),
        (Scripted(status=401), RequestRefusedError),
        (Scripted(status=403), AccessDeniedError),
        (Scripted(status=404), NotFoundError),
        (Scripted(status=404, body=PAGE), RouteMissingError),
        (Scripted(status=405, headers={"Allow": "POST"}), RequestRefusedError),
        (Scripted(status=413, body=PAGE), RequestTooLargeError),
        (Scripted(status=429), ServerBusyError),
        (Scripted(status=500, body=PAGE), ServerFailedError),
        (Scripted(status=502, body=PAGE), ServerBusyError),
        (Scripted(status=503, body=MAINTENANCE), ServerBusyError),
        (Scripted(status=504), ServerBusyError),
        (Scripted(status=507), ServerFailedError),
        (Scripted(status=301, headers={"Location": "https://elsewhere.example.org/get-studies/v1"}), RedirectError),
        (Scripted(status=302, headers={"Location": "/"}), RedirectError),
        (Scripted(status=201, body=b"{}"), BadAnswerError),
        (Scripted(status=200, body=PAGE), BadAnswerError),
        (Scripted(status=200, body=b"{"), BadAnswerError),
        (Scripted(status=200, body=b"[" * 100_000), BadAnswerError),
        (Scripted(status=200, body=b""), BadAnswerError),
    ],
)
def test_each_status_has_its_error(answer: Scripted, expected: type[ServerError]) -> None:
    """The class tells the cause, ``status`` the number, and the text holds neither keys nor bodies."""
    with (
        ScriptedServer(answer) as server,
        client_of(server.url, attempts=1) as (client, _),
        pytest.raises(ServerError) as caught,
    ):
        client.studies()
    assert type(caught.value) is expected
    assert caught.value.status == answer.status
    text = everything_in(caught.value)
    for secret in (ACCESS_KEY, SECRET_KEY, "CanaryAccess", "CanarySecret", "<html>"):
        assert secret not in text


def test_a_real_servers_two_kinds_of_404_are_told_apart(server: SimulatedServer, client: BeiweClient) -> None:
    """An empty 404 is about the study, a page about the route."""
    with pytest.raises(NotFoundError, match="does not exist there"):
        client.survey_history("x" * 24)
    server.profile = type(server.profile).named("2021-01")
    with pytest.raises(RouteMissingError, match="lacks the endpoint"):
        client.survey_history(STUDY)


@pytest.mark.parametrize("changed", ["access_key", "secret_key"])
def test_wrong_keys_are_access_denied(server: SimulatedServer, changed: str) -> None:
    """Both kinds of wrong key end in AccessDeniedError and not in retries."""
    waits: list[float] = []
    with (
        BeiweClient(credentials_for(server, **{changed: "W" * 64}), sleep=waits.append) as client,
        pytest.raises(AccessDeniedError),
    ):
        client.check_credentials()
    assert waits == []


@pytest.mark.parametrize("key", [ACCESS_KEY, SECRET_KEY])
def test_a_server_that_echoes_keys_puts_them_into_no_message(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the texts of a refusal nor the address of a redirect are quoted, in whatever case."""
    caplog.set_level(logging.DEBUG, logger="dagster_beiwe")
    echoes = (
        Scripted(status=400, body=json.dumps({"errors": [f"bad secret {key}"]}).encode()),
        Scripted(status=302, headers={"Location": f"https://{key.replace('/', '-')}.example.org/{key}?{key}"}),
        Scripted(status=307, headers={"Location": f"https://someone:{key}@elsewhere.example.org:8443/"}),
        Scripted(status=503, headers={"Retry-After": key}, body=key.encode()),
        Scripted(status=200, headers={"Set-Cookie": f"a={key}"}, body=json.dumps([key]).encode()),
    )
    for echo in echoes:
        with (
            ScriptedServer(echo) as server,
            client_of(server.url, attempts=2) as (client, _),
            pytest.raises(ServerError) as caught,
        ):
            client.studies()
        said = (everything_in(caught.value) + caplog.text).lower()
        assert "canary" not in said
        assert "elsewhere" not in said


def test_a_redirect_says_what_to_do() -> None:
    """Once, with the way to find out where it leads."""
    answer = Scripted(status=307, headers={"Location": "https://elsewhere.example.org/"})
    with (
        ScriptedServer(answer) as server,
        client_of(server.url) as (client, waits),
        pytest.raises(RedirectError, match=r"another address .* was not followed.* set BEIWE_URL"),
    ):
        client.studies()
    assert waits == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_keys_do_not_follow_a_redirect(status: int) -> None:
    """A second server named in the Location is never contacted."""
    with ScriptedServer(Scripted(body=b"{}")) as second:
        answer = Scripted(status=status, headers={"Location": f"{second.url}/get-studies/v1"})
        with ScriptedServer(answer) as first, client_of(first.url) as (client, _), pytest.raises(RedirectError):
            client.studies()
        assert len(first.asked) == 1
        assert second.asked == []


@pytest.mark.parametrize("location", ["https://[", "//", "", "https://host:port/"])
def test_a_malformed_location_is_still_a_redirect_error(location: str) -> None:
    """What can't be parsed does not raise anything else."""
    answer = Scripted(status=302, headers={"Location": location})
    with ScriptedServer(answer) as server, client_of(server.url) as (client, _), pytest.raises(RedirectError):
        client.studies()


def test_an_answer_over_the_limit_is_not_read_to_its_end() -> None:
    """Memory stays bounded whatever the server sends."""
    answer = Scripted(chunks=(b" " * 100_000,) * 20)
    with ScriptedServer(answer) as server, client_of(server.url, json_limit_bytes=300_000) as (client, waits):
        with pytest.raises(BadAnswerError, match="300,000"):
            client.studies()
        assert client.traffic.bytes_received < 600_000
    assert waits == []


@pytest.mark.parametrize("status", [200, 404, 502])
def test_a_compressed_body_is_not_unfolded(status: int) -> None:
    """390 kB would become 400 MB, although no compression was asked for; other statuses keep their meaning."""
    bomb = gzip.compress(b" " * 400_000_000, compresslevel=1)
    expected = {200: BadAnswerError, 404: RouteMissingError, 502: ServerBusyError}[status]
    answer = Scripted(status=status, headers={"Content-Encoding": "gzip"}, body=bomb)
    with ScriptedServer(answer) as server, client_of(server.url, attempts=1) as (client, _):
        tracemalloc.start()
        with pytest.raises(expected):
            client.studies()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000
    assert client.traffic.bytes_received < 1_000_000


def test_a_compressed_archive_is_refused() -> None:
    """Downloads are bounded in their members' sizes, which a compression around them would hide."""

    def answer(asked: Asked) -> Scripted:
        return Scripted(headers={"Content-Encoding": "gzip"}, body=b"x") if asked.body else Scripted(status=400)

    window = Window(datetime(2026, 3, 1, tzinfo=timezone.utc), datetime(2026, 3, 2, tzinfo=timezone.utc))
    with (
        ScriptedServer(answer=answer) as server,
        client_of(server.url) as (client, _),
        pytest.raises(BadAnswerError, match="is compressed"),
        client.get_data(STUDY, participants=["p1"], streams=["gps"], window=window),
    ):
        pass


def test_a_refused_connection_says_so() -> None:
    """A port where nobody listens."""
    with ScriptedServer(Scripted()) as server:
        url = server.url
    with client_of(url, attempts=1) as (client, _), pytest.raises(ConnectionFailedError, match="refused") as caught:
        client.studies()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def test_a_silent_server_ends_in_a_timeout(server: SimulatedServer) -> None:
    """Nothing within the read timeout is a connection error, with that reason."""
    with server.misbehave("hang", seconds=2.0), client_of(server.url, attempts=1, read_timeout_seconds=0.1) as pair:
        client, _ = pair
        with pytest.raises(ConnectionFailedError, match="read timeout"):
            client.studies()


def test_what_is_not_tls_says_so() -> None:
    """https to a port that speaks http fails once, with a hint about certificates, and is not retried."""
    with ScriptedServer(Scripted()) as server:
        url = server.url.replace("http://", "https://")
        with (
            client_of(url) as (client, waits),
            pytest.raises(ConnectionFailedError, match="REQUESTS_CA_BUNDLE"),
        ):
            client.studies()
        assert waits == []
