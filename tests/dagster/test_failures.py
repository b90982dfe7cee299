"""How errors of this package end a step."""

from __future__ import annotations

import dagster as dg
import pytest

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.client import HttpPolicy
from dagster_beiwe.failures import clear_failures
from dagster_beiwe.simulator import SimulatedServer


@pytest.mark.parametrize(
    ("asked", "expected"), [("77", 77), ("999999999999", 300), ("Fri, 31 Dec 9999 23:59:59 GMT", 300)]
)
def test_a_server_that_asks_for_patience_gets_five_minutes_at_most(
    server: SimulatedServer, asked: str, expected: float
) -> None:
    """A step does not wait for 30,000 years because a server says so."""
    once = HttpPolicy(attempts=1)
    with (
        server.misbehave("status", status=503, retry_after=asked),
        BeiweResource(credentials=EnvCredentials()).get_client(policy=once) as client,
        pytest.raises(dg.RetryRequested) as caught,
        clear_failures(),
    ):
        client.studies()
    assert caught.value.seconds_to_wait == expected
