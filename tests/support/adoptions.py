"""Adoptions of a small study from old trees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core_helpers import NOW, PASSPHRASE, START, STUDY, daily, small_world
from old_trees import save_by_hand

from dagster_beiwe.adoption.adoption import Adoption
from dagster_beiwe.adoption.old_tree import OldTree
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.simulator import ParticipantPlan, World
from dagster_beiwe.sync import FetchPolicy, WindowReport
from dagster_beiwe.windows import windows_between

ONE_WINDOW = FetchPolicy(longest_request_hours=7 * 24)
WINDOWS = list(windows_between("weekly", START, NOW))


def adoption(client: BeiweClient, lake: StudyLake, old: Path, **options: Any) -> Adoption:
    found = OldTree.read(
        old,
        study_id=STUDY,
        participants=client.participants(STUDY),
        streams=client.choose_streams(STUDY, ()),
    )
    usual: dict[str, Any] = {"windows": WINDOWS, "passphrases": [PASSPHRASE], "passphrase": PASSPHRASE}
    return Adoption(client, lake, found, **{**usual, **options})


def adopt(wanted: Adoption, client: BeiweClient, *, processes: bool = False) -> list[WindowReport]:
    """All that the plan names."""
    plan = wanted.plan()
    with wanted.working(plan, processes=processes) as at_work:
        return [report for cells in wanted.parts(plan) for report in wanted.run(cells, daily(client), at_work)]


def tree_of(old: Path, *people: str) -> World:
    """What some participants' phones sent, and an old tree of it."""
    world = small_world(people=[ParticipantPlan(id=each) for each in people], hours=(5,), streams=("gps",))
    save_by_hand(world, old, streams=("gps",))
    return world
