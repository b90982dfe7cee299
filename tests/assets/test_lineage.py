"""The lineage of a study: what comes first, and what makes what stale."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timezone
from itertools import pairwise

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.temporal_context import TemporalContext
from dagster._core.execution.asset_backfill import AssetBackfillData, execute_asset_backfill_iteration_inner
from labs import END_TAG, PARTICIPANTS, START_TAG, WEEKS, Lab, day_of_week, stale_because_of

from dagster_beiwe import BeiweTranslator, BeiweTranslatorData

ANNA, BERT, CLEO = PARTICIPANTS
WINDOW = f"{ANNA}|{WEEKS[1]}"


def fetch_everybody(lab: Lab) -> None:
    assert lab.run("participant", tags={START_TAG: lab.partitions[0], END_TAG: lab.partitions[-1]}).success


def test_a_newcomer_sees_what_comes_first(lab: Lab) -> None:
    """Studies, roster, participant, raw data, and what is built on it."""
    graph = lab.job.asset_layer.asset_graph
    line = ["studies", "roster", "participant", "raw_data", "coverage"]
    for first, then in pairwise(line):
        assert first in {key.path[-1] for key in graph.get(lab.key(then)).parent_keys}


def test_nothing_that_happens_to_participants_makes_windows_stale(lab: Lab) -> None:
    """Raw data comes after its participant, and is not made from what that says.

    Before anybody was fetched, after that, after each further time, after somebody changed, and after somebody joined.
    """
    assert lab.run("roster").success
    lab.backfill()
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    fetch_everybody(lab)
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    lab.world.set_intervention(ANNA, "Surgery", day_of_week(1))
    fetch_everybody(lab)
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    newcomer = lab.world.add_participant(lab.study.id)
    assert lab.run("roster").success
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    assert stale_because_of(lab, "raw_data", f"{newcomer}|{WEEKS[1]}") is None


def test_out_of_range_files_follow_their_participant_too(lab: Lab) -> None:
    """As raw data does."""
    lab.enrol()
    assert lab.run("out_of_range", partition=ANNA).success
    fetch_everybody(lab)
    assert stale_because_of(lab, "out_of_range", ANNA) == []


def test_a_participant_is_stale_after_the_roster_changed(lab: Lab) -> None:
    """Only after it changed: a roster that is materialized again, while phones report, makes nobody stale."""
    assert lab.run("roster").success
    fetch_everybody(lab)
    assert lab.run("roster").success
    assert stale_because_of(lab, "participant", ANNA) == []
    lab.world.add_participant(lab.study.id)
    assert lab.run("roster").success
    assert stale_because_of(lab, "participant", ANNA) == ["roster"]


class GrantTranslator(BeiweTranslator):
    """A lab whose raw data depends on something else, too, and whose code has a version."""

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(deps=["grant"], code_version="7") if data.name == "raw_data" else spec


def test_a_dependency_that_a_lab_added_makes_windows_stale(open_lab: Callable[..., Lab]) -> None:
    """When its version changes, and not before; the code's version is known."""
    lab = open_lab(translator=GrantTranslator())
    version = dg.AssetMaterialization("grant", tags={"dagster/data_version": "1"})
    lab.instance.report_runless_asset_event(version)
    lab.backfill()
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    lab.instance.report_runless_asset_event(version)
    assert stale_because_of(lab, "raw_data", WINDOW) == []
    changed = dg.AssetMaterialization("grant", tags={"dagster/data_version": "2"})
    lab.instance.report_runless_asset_event(changed)
    assert stale_because_of(lab, "raw_data", WINDOW) == ["grant"]


def test_a_backfill_of_raw_data_waits_for_no_participant(lab: Lab) -> None:
    """The edge shows the order and asks for nothing: the daemon starts all windows, though nobody was fetched."""
    lab.enrol()
    now = datetime.now(timezone.utc)
    graph = lab.definitions.get_repository_def().asset_graph
    every = AssetBackfillData.from_asset_partitions(
        asset_graph=graph,
        partition_names=None,
        asset_selection=[lab.key("raw_data")],
        dynamic_partitions_store=lab.instance,
        all_partitions=True,
        backfill_start_timestamp=now.timestamp(),
    )
    temporal = TemporalContext(effective_dt=now, last_event_id=None)
    view = AssetGraphView(temporal_context=temporal, instance=lab.instance, asset_graph=graph)
    log = logging.getLogger("backfill")
    runs = execute_asset_backfill_iteration_inner("b", every, view, now.timestamp(), log, None).run_requests
    ends = {(run.tags[START_TAG], run.tags[END_TAG]) for run in runs}
    assert ends == {(f"{participant}|{WEEKS[0]}", f"{participant}|{WEEKS[-1]}") for participant in PARTICIPANTS}
