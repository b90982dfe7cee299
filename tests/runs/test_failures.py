"""How errors of this package end a step."""

from __future__ import annotations

import logging

import dagster as dg
import pytest

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.runs.failures import with_retries
from dagster_beiwe.simulator import SimulatedServer

TWICE = dg.RetryPolicy(max_retries=1, delay=30)


def waits(server: SimulatedServer) -> list[float]:
    """For how long a step waits that asks for the studies; it fails in the end."""
    waited: list[float] = []
    with (
        BeiweResource(credentials=EnvCredentials()).get_client(policy=HttpPolicy(attempts=1)) as client,
        pytest.raises(dg.Failure),
    ):
        with_retries(client.studies, policy=TWICE, log=logging.getLogger("step"), sleep=waited.append)
    return waited


@pytest.mark.parametrize(
    ("asked", "expected"), [("77", 77), ("999999999999", 300), ("Fri, 31 Dec 9999 23:59:59 GMT", 300)]
)
def test_a_server_that_asks_for_patience_gets_five_minutes_at_most(
    server: SimulatedServer, asked: str, expected: float
) -> None:
    """A step does not wait for 30,000 years because a server says so."""
    with server.misbehave("status", status=503, retry_after=asked):
        assert waits(server) == [expected]


def test_a_busy_server_is_asked_again_after_the_policys_delay(server: SimulatedServer) -> None:
    """As often as the policy says."""
    with server.misbehave("status", status=503):
        assert waits(server) == [30]


def test_what_will_not_pass_is_not_tried_again(server: SimulatedServer) -> None:
    """Only a person can help against a refusal of the keys."""
    with server.misbehave("status", status=403):
        assert waits(server) == []
