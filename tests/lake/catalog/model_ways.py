"""How things are done in a schedule, and how much there is of everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from dagster_beiwe.lake.catalog.batch import Batch
from dagster_beiwe.lake.catalog.catalog import Catalog
from dagster_beiwe.lake.catalog.collector import Collector, Retention
from dagster_beiwe.lake.catalog.log import Log
from dagster_beiwe.lake.catalog.state import RULES, Rules
from dagster_beiwe.lake.catalog.withdrawal import withdraw

Kind = Literal["disk", "objects"]


class CatalogThatLooks(Catalog):
    """The catalog as it is."""


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How things are done. The defaults are how the package does them; a mutation breaks one of them."""

    rules: Rules = RULES
    retention: type[Retention] = Retention
    log: type[Log] = Log
    catalog: type[Catalog] = CatalogThatLooks
    batch: type[Batch] = Batch
    collector: type[Collector] = Collector
    withdraw: Callable[..., object] = withdraw
    sync: bool = True
    guards: bool = True
    revive: bool = False
    reuse_names: bool = False
    reuse_files: bool = False


HONEST = Ways()


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What schedules are made of: how much there is of everything, and how often what happens."""

    people: int = 2
    windows: int = 2
    steps: tuple[int, int] = (4, 14)
    writers: float = 0.5
    collectors: float = 0.22
    readers: float = 0.14
    snapshots: float = 0.07
    upsets: float = 0.07
    cuts: float = 0.3
    forgetful: float = 0.3
    leaps: float = 0.01
    nests: float = 0.08
    tidied: float = 1.0
    """Of how many schedules it is seen that collections find everything in the end; that takes half the time."""
    stops: tuple[int, ...] = (1, 1, 1, 8)
    """For how many steps of others a process is stopped."""


WIDE = Mix()


NARROW = Mix(
    people=1, windows=1, steps=(10, 24), writers=0.55, collectors=0.4, readers=0.02, snapshots=0.02, leaps=0.04
)


PAPERS = Mix(people=1, windows=1, steps=(10, 24), writers=0.45, collectors=0.25, readers=0.05, snapshots=0.25, upsets=0)


RETURNS = Mix(people=1, windows=2, steps=(10, 24), writers=0.5, collectors=0.25, readers=0, snapshots=0)


LATE_RETURNS = replace(RETURNS, collectors=0.35, leaps=0.04, tidied=0)
"""Whoever comes again finds that what there was before has been collected."""


CUTS = Mix(
    people=1,
    steps=(20, 40),
    collectors=0.4,
    readers=0.05,
    snapshots=0,
    upsets=0.2,
    cuts=0.95,
    forgetful=1,
    leaps=0.05,
    tidied=0.2,
)
