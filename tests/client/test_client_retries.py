"""Patience: what is repeated, how often, and after which wait."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from client_helpers import ACCESS_KEY, SECRET_KEY, client_of
from scripted_server import Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.credentials import Credentials
from dagster_beiwe.errors import (
    AccessDeniedError,
    ConfigurationError,
    ConnectionFailedError,
    NotFoundError,
    RequestRefusedError,
    ServerBusyError,
    ServerError,
    ServerFailedError,
)
from dagster_beiwe.simulator import SimulatedServer

GOOD = Scripted(body=b"{}")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again(status: int) -> None:
    """Two failures, then success: waits double."""
    busy = Scripted(status=status)
    with ScriptedServer(busy, busy, GOOD) as server, client_of(server.url, jitter=0.0) as (client, waits):
        assert client.studies() == {}
        assert waits == [1.0, 2.0]
        assert (client.traffic.requests_sent, client.traffic.retries) == (3, 2)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, RequestRefusedError), (403, AccessDeniedError), (404, NotFoundError), (500, ServerFailedError)],
)
def test_what_waiting_does_not_change_is_not_repeated(status: int, expected: type[ServerError]) -> None:
    """No retries on 4xx and, by default, on 500."""
    with ScriptedServer(Scripted(status=status)) as server, client_of(server.url) as (client, waits):
        with pytest.raises(expected):
            client.studies()
        assert (len(server.asked), waits) == (1, [])


def test_500_is_repeated_on_request() -> None:
    """``retry_server_errors`` is for servers that fail at random."""
    failed = Scripted(status=500)
    with ScriptedServer(failed, GOOD) as server, client_of(server.url, retry_server_errors=True) as (client, waits):
        assert client.studies() == {}
    assert len(waits) == 1


def test_it_gives_up_and_says_after_how_many_attempts() -> None:
    """The last error is raised; there is no wait after it."""
    with ScriptedServer(Scripted(status=503)) as server, client_of(server.url, attempts=3) as (client, waits):
        with pytest.raises(ServerBusyError, match="Gave up after 3 attempts"):
            client.studies()
        assert (len(server.asked), len(waits)) == (3, 2)


def test_nothing_is_repeated_after_the_client_was_closed() -> None:
    """A request that nobody waits for any more ends; the next one is sent."""
    busy = Scripted(status=503)
    with ScriptedServer(busy, GOOD) as server:
        credentials = Credentials(url=server.url, access_key=ACCESS_KEY, secret_key=SECRET_KEY)
        client = BeiweClient(credentials, sleep=lambda _: client.close())
        with pytest.raises(ServerBusyError):
            client.studies()
        assert len(server.asked) == 1
        assert client.studies() == {}
        client.close()


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_waits_stay_between_the_jitter_and_the_cap(jitter: float) -> None:
    """Ten failures: no wait is above the cap or below what jitter may take away."""
    policy = {"attempts": 10, "backoff_cap_seconds": 8.0, "jitter": jitter}
    with (
        ScriptedServer(Scripted(status=503)) as server,
        client_of(server.url, **policy) as (client, waits),
        pytest.raises(ServerBusyError),
    ):
        client.studies()
    for number, wait in enumerate(waits):
        full = min(2.0**number, 8.0)
        assert full * (1 - jitter) <= wait <= full


@pytest.mark.parametrize(("asked", "expected"), [("7", 7.0), ("0", 1.0), ("999999", 300.0), ("soon", 1.0), ("-5", 1.0)])
def test_retry_after_in_seconds_is_honoured_up_to_a_cap(asked: str, expected: float) -> None:
    """What is unreadable or below the own backoff changes nothing."""
    busy = Scripted(status=503, headers={"Retry-After": asked})
    with ScriptedServer(busy, GOOD) as server, client_of(server.url, jitter=0.0) as (client, waits):
        client.studies()
    assert waits == [expected]


@pytest.mark.parametrize(("ahead_seconds", "expected"), [(42, 42.0), (90_000, 300.0), (-42, 1.0)])
def test_retry_after_as_a_date_is_compared_with_the_servers_clock(ahead_seconds: int, expected: float) -> None:
    """The server's Date decides, so that a client with a wrong clock waits as long as it should."""
    then = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    asked = format_datetime(then + timedelta(seconds=ahead_seconds), usegmt=True)
    from dagster_beiwe.client.statuses import Answer, retry_after_seconds

    answer = Answer(status=503, headers={"Date": format_datetime(then, usegmt=True), "retry-after": asked})
    found = retry_after_seconds(answer)
    assert HttpPolicy(jitter=0.0).wait_seconds(1, asked_seconds=found, chance=0.5) == expected


def test_the_error_tells_what_the_server_asked_for() -> None:
    """Callers that plan their own waiting can read it."""
    busy = Scripted(status=429, headers={"Retry-After": "30"})
    with (
        ScriptedServer(busy) as server,
        client_of(server.url, attempts=1) as (client, _),
        pytest.raises(ServerBusyError) as caught,
    ):
        client.studies()
    assert caught.value.retry_after_seconds == 30.0


def test_a_reset_connection_is_repeated(server: SimulatedServer, client: BeiweClient, waits: list[float]) -> None:
    """The server drops the connection twice without an answer."""
    with server.misbehave("reset", times=2):
        assert len(client.studies()) == 2
    assert len(waits) == 2


@pytest.mark.parametrize("chunked", [True, False])
def test_a_cut_json_body_is_repeated(chunked: bool) -> None:
    """A body that ends too early is a transport error, not an answer."""
    cut = Scripted(chunks=(b'{"a',), cut=True) if chunked else Scripted(body=b'{"a', cut=True)
    with ScriptedServer(cut, GOOD) as server, client_of(server.url) as (client, waits):
        assert client.studies() == {}
    assert len(waits) == 1


def test_a_body_that_is_always_cut_fails_as_a_connection() -> None:
    """The message tells that the answer was incomplete."""
    cut = Scripted(chunks=(b'{"a',), cut=True)
    with (
        ScriptedServer(cut) as server,
        client_of(server.url, attempts=2) as (client, _),
        pytest.raises(ConnectionFailedError, match="broke off"),
    ):
        client.studies()


def test_retries_are_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    """One line per retry, with the endpoint and the reason."""
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(Scripted(status=503), GOOD) as server, client_of(server.url) as (client, _):
        client.studies()
    lines = [record.getMessage() for record in caplog.records if record.name == "dagster_beiwe"]
    assert len(lines) == 1
    assert "get-studies/v1" in lines[0]
    assert ACCESS_KEY not in caplog.text
    assert SECRET_KEY not in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [{"attempts": 0}, {"read_timeout_seconds": 0}, {"jitter": 1.5}, {"backoff_first_seconds": -1.0}],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, float]) -> None:
    """Mistakes are told when the policy is made."""
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        HttpPolicy(**wrong)  # type: ignore[arg-type]
