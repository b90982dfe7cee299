"""How many runs use a server at once."""

from __future__ import annotations

import dagster as dg
import pytest
from stopping_lab import POOL, ROSTER, Lab

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster of itself


def limits(lab: Lab) -> dict[str, int | None]:
    return {pool.name: pool.limit for pool in lab.instance.event_log_storage.get_pool_limits()}


def test_the_pool_has_its_limit_before_its_first_run(lab: Lab) -> None:
    """Whoever makes participants partitions sees to it: Dagster starts all runs that wait for a pool without one."""
    assert limits(lab) == {}
    lab.run_here(ROSTER)
    assert limits(lab) == {POOL: 2}


def test_a_limit_of_its_own_stays(lab: Lab) -> None:
    """The lab has asked the server's operators."""
    lab.instance.event_log_storage.set_concurrency_slots(POOL, 5)
    lab.run_here(ROSTER)
    assert limits(lab) == {POOL: 5}


def test_a_lab_without_a_default_keeps_its_own(lab: Lab) -> None:
    """Nothing is limited, or unlimited, that was not before."""
    with dg.DagsterInstance.local_temp(str(lab.folder)) as instance:
        instance.event_log_storage.set_concurrency_slots(POOL, 4)
        lab.run_here(ROSTER, instance)
        assert {pool.limit for pool in instance.event_log_storage.get_pool_limits()} == {4}
