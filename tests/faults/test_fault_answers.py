"""Every fault of the server at every endpoint that gives an answer: recovered, or an error by name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fault_endpoints import ANSWER_CASES, ENDPOINTS, Endpoint
from fault_matrix import Outcome, ServerFault, Times
from fault_scene import Elsewhere, check_message, client_of, everything_in, new_world, secrets_of

from dagster_beiwe import errors
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import BeiweError
from dagster_beiwe.simulator import SimulatedServer

CASES = [pytest.param(*case, id=f"{case[1].name}-{case[0].name}-{case[2]}") for case in ANSWER_CASES]


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, SimulatedServer]]:
    """One server of each generation for all cases; each case switches off what it switched on."""
    running = {profile: SimulatedServer(new_world(), profile=profile) for profile in {e.profile for e in ENDPOINTS}}
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.mark.parametrize(("fault", "endpoint", "times", "outcome"), CASES)
def test_an_answer(
    fault: ServerFault,
    endpoint: Endpoint,
    times: Times,
    outcome: Outcome,
    servers: dict[str, SimulatedServer],
    elsewhere: Elsewhere,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The outcome is the table's, no key goes to another host, and nothing that is said holds a secret."""
    caplog.set_level(logging.DEBUG)
    server = servers[endpoint.profile]
    waits: list[float] = []
    with client_of(server, waits, **_patience(fault)) as client:
        # Without the fault first: what comes then is what has to come with it, and the routes are known.
        expected = endpoint.call(client) if endpoint.kind != "probe" else None
        _inflict(fault, server, endpoint, times, client, elsewhere)
        try:
            if outcome.kind == "recovered":
                assert _comparable(endpoint.call(client)) == _comparable(expected) or endpoint.kind == "probe"
            else:
                with pytest.raises(BeiweError) as caught:
                    endpoint.call(client)
                assert isinstance(caught.value, getattr(errors, outcome.error)), everything_in(caught.value)
                check_message(str(caught.value), secrets_of(server))
                check_message(everything_in(caught.value), secrets_of(server))
        finally:
            server.behave()
            server.start()
    if fault.misbehavior.get("retry_after") and waits:
        assert set(waits) == {77.0}
    assert elsewhere.came == []
    for record in caplog.records:
        if record.name == "dagster_beiwe":
            check_message(record.getMessage(), secrets_of(server))


def _patience(fault: ServerFault) -> dict[str, Any]:
    if fault.misbehavior.get("what") == "hang":
        return {"attempts": 2, "read_timeout_seconds": 0.15}
    return {"attempts": 3}


def _inflict(
    fault: ServerFault,
    server: SimulatedServer,
    endpoint: Endpoint,
    times: Times,
    client: BeiweClient,
    elsewhere: Elsewhere,
) -> None:
    if not fault.misbehavior:
        server.stop()
        if times == "once":  # somebody starts it again while the client waits

            def start(_seconds: float) -> None:
                server.start()

            client._transport._sleep = start
        return
    options = {**fault.misbehavior, "route": endpoint.route, "times": 1 if times == "once" else None}
    if options["what"] == "redirect":
        options["location"] = elsewhere.url
    server.misbehave(**options)


def _comparable(answer: object) -> object:
    """Two answers differ in their order at most, except for what tells the time of day."""
    return sorted(map(str, answer)) if isinstance(answer, list) else answer
