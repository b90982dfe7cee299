"""The log's invariants, in hundreds of schedules of what processes, disks and stores may do."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import pytest
from model import play
from model_mutations import MUTATIONS, Mutation
from model_ways import CUTS, NARROW, PAPERS, RETURNS, WIDE, Kind

SCHEDULES = {"wide": (WIDE, 160), "narrow": (NARROW, 70), "returns": (RETURNS, 50), "papers": (PAPERS, 40)}
SCHEDULES |= {"cuts": (CUTS, 80)}
"""Of each kind of store. As many as it takes to find the broken rules below."""


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
    seeds = itertools.chain([mutation.seed], range(8000))
    assert play(seeds, mutation.kind, mutation.ways, mutation.mix) is not None
