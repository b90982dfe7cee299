"""The log's invariants, in thousands of schedules of what processes, disks and stores may do."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from model import play
from model_mutations import MUTATIONS, Mutation
from model_ways import CUTS, NARROW, PAPERS, RETURNS, SHORT, WIDE, Kind

SCHEDULES = {"short": (SHORT, 4680), "wide": (WIDE, 80), "narrow": (NARROW, 60), "returns": (RETURNS, 60)}
SCHEDULES |= {"papers": (PAPERS, 60), "cuts": (CUTS, 60)}
"""With both kinds of stores, 10,000 in all."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Derived files that cannot be written are warned of, in every other schedule."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", ["disk", "objects"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_invariants_hold_in_every_schedule(name: str, kind: Kind) -> None:
    """Kills, stops, power losses, lost and late answers, collectors, withdrawals, backups laid back, cut logs."""
    mix, count = SCHEDULES[name]
    assert play(range(count), kind, mix=mix) is None


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_rule_is_found(name: str) -> None:
    """Each rule is needed, and the model notices when it is gone."""
    mutation: Mutation = MUTATIONS[name]
    assert play(range(8000), mutation.kind, mutation.ways, mutation.mix) is not None


def test_ten_thousand_schedules_are_played() -> None:
    assert sum(count for _, count in SCHEDULES.values()) * 2 == 10_000
