"""Keys go to the one server they belong to, in the body of requests, and nowhere else."""

from __future__ import annotations

import concurrent.futures
import logging
import pickle
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from client_helpers import ACCESS_KEY, SECRET_KEY, STUDY, client_of, everything_in
from scripted_server import Asked, Scripted, ScriptedServer

from dagster_beiwe.client import BeiweClient, Traffic
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.windows import Window

WINDOW = Window(datetime(2026, 3, 1, tzinfo=timezone.utc), datetime(2026, 3, 2, tzinfo=timezone.utc))


def test_keys_travel_in_the_form_only() -> None:
    """Percent-encoded, because + would become a space; never in address or headers."""
    with ScriptedServer(Scripted(body=b"{}")) as server, client_of(server.url) as (client, _):
        client.studies()
    (asked,) = server.asked
    assert parse_qs(asked.body.decode()) == {"access_key": [ACCESS_KEY], "secret_key": [SECRET_KEY]}
    assert b"+" not in asked.body
    assert "Canary" not in asked.path + str(asked.headers)
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.headers["user-agent"].startswith("dagster-beiwe/")


def test_netrc_adds_no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login for the same host in ~/.netrc is somebody else's business."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password CanaryNetrc\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with ScriptedServer(Scripted(body=b"{}")) as server, client_of(server.url) as (client, _):
        client.studies()
        # Also where the environment's proxies and certificates are honoured, as they are for https.
        client._transport._session().trust_env = True
        client.studies()
    assert all("authorization" not in asked.headers for asked in server.asked)


def test_loopback_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http to this machine must not carry keys to another one."""
    with ScriptedServer(Scripted(body=b"{}")) as proxy, ScriptedServer(Scripted(body=b"{}")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        with client_of(server.url) as (client, _):
            client.studies()
    assert proxy.asked == []
    assert len(server.asked) == 1


def test_https_goes_through_the_labs_proxy_as_a_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy learns the host; its password does not show in the error when it refuses."""
    with ScriptedServer(Scripted(status=403)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://lab:CanaryProxy@"))
        monkeypatch.setenv("no_proxy", "")
        with client_of("https://beiwe.example.org", attempts=1) as (client, _), pytest.raises(BeiweError) as caught:
            client.studies()
    assert "proxy" in str(caught.value)
    assert "Canary" not in everything_in(caught.value)


def test_cookies_are_not_sent_back() -> None:
    """The API has no use for them."""
    with (
        ScriptedServer(Scripted(body=b"{}", headers={"Set-Cookie": "tracker=CanaryCookie; Path=/"})) as server,
        client_of(server.url) as (client, _),
    ):
        client.studies()
        client.studies()
    assert all("cookie" not in asked.headers for asked in server.asked)


def test_no_failure_shows_a_key(server: SimulatedServer, caplog: pytest.LogCaptureFixture) -> None:
    """Texts, attributes and causes of errors, and every log line down to DEBUG, for every way to fail."""
    caplog.set_level(logging.DEBUG)
    failures: list[BaseException] = []
    misbehaviors: tuple[tuple[Any, dict[str, Any]], ...] = (
        ("reset", {}),
        ("status", {"status": 500}),
        ("status", {"status": 400}),
        ("status", {"status": 403}),
        ("maintenance", {}),
        ("redirect", {}),
        ("html_200", {}),
        ("wrong_json", {}),
        ("cut", {"after_bytes": 3}),
        ("hang", {"seconds": 0.5}),
    )
    for name, options in misbehaviors:
        with (
            server.misbehave(name, **options),
            client_of(server.url, attempts=2, read_timeout_seconds=0.1) as (client, _),
            pytest.raises(BeiweError) as caught,
        ):
            client.studies()
        failures.append(caught.value)
    text = " ".join(everything_in(error) for error in failures) + caplog.text
    for secret in (ACCESS_KEY, SECRET_KEY, "Canary"):
        assert secret not in text


def test_clients_and_their_parts_show_no_key(server: SimulatedServer) -> None:
    """What ends in logs by accident is the repr."""
    with client_of(server.url) as (client, _):
        request = client._request("get-studies/v1", {"registry": "CanaryRegistry"})
        assert "Canary" not in repr(client) + repr(client._transport) + repr(request) + str(client.credentials)


def test_what_holds_keys_refuses_to_be_pickled(server: SimulatedServer) -> None:
    """A pickle is readable, and lies wherever somebody put it."""
    with client_of(server.url) as (client, _):
        for holder in (client, client._transport, client._request("get-studies/v1"), client.credentials):
            with pytest.raises(TypeError):
                pickle.dumps(holder)


def test_connections_are_reused_and_threads_have_their_own(server: SimulatedServer) -> None:
    """Four threads at once: every answer belongs to its request, and counts add up."""
    barrier = threading.Barrier(4)

    def answer(asked: Asked) -> Scripted:
        name = parse_qs(asked.body.decode()).get("participant_id", [""])[0]
        return Scripted(body=b'[{"timestamp": "2026-01-01T00:00:0%sZ"}]' % name[-1].encode())

    with ScriptedServer(answer=answer) as scripted, client_of(scripted.url) as (client, _):

        def work(number: int) -> list[int]:
            barrier.wait()
            return [client.heartbeat_history(f"p{number}")[0].second for _ in range(10)]

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [[number] * 10 for number in range(4)]
        assert client.traffic.requests_sent == 40
        assert len(client._transport._sessions) == 4


def test_a_closed_client_can_be_used_again(client: BeiweClient) -> None:
    """Closing lets go of connections and nothing else."""
    client.close()
    assert STUDY in client.studies()


def test_traffic_counts_everything(server: SimulatedServer, client: BeiweClient) -> None:
    """Requests with their retries and probes, and bytes of bodies."""
    with server.misbehave("reset", times=1):
        client.studies()
    client.supports("data_v2")
    assert (client.traffic.requests_sent, client.traffic.retries) == (3, 1)
    before = client.traffic.bytes_received
    with client.get_data(STUDY, participants=["12345678"], streams=["gps"], window=WINDOW) as stream:
        size = len(b"".join(stream))
    assert client.traffic.bytes_received - before == size
    assert "requests_sent=4" in repr(client.traffic)
    assert isinstance(client.traffic, Traffic)
