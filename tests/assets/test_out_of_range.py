"""Files dated outside every window: found, fetched, noticed when it is deleted, and counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone

import dagster as dg
import labs
import pytest
import time_machine
from labs import PARTICIPANTS, START, Lab, moment, values, world_of

from dagster_beiwe import BeiwePartitions
from dagster_beiwe.errors import CommitConflictError, WithdrawnError
from dagster_beiwe.lake import LakeWriter, merge
from dagster_beiwe.lake.writer import Plan
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ParticipantPlan
from dagster_beiwe.windows import Window

ANNA, BERT, CLEO = PARTICIPANTS
LONG_AGO = moment(START - timedelta(weeks=20))


def test_out_of_range_files_are_found_counted_and_fetched(open_lab: Callable[..., Lab]) -> None:
    """Data of 1969 and next year: two requests a participant, whatever lies between."""
    lab = open_lab(world_of(ANNA, ParticipantPlan(id=BERT, wrong_clock=True)))
    lab.backfill()
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    told = values(evaluation)
    assert told["out-of-range partitions to run"] == BERT
    assert told["out-of-range bytes"] > 0 == told["out-of-range bytes in the lake"]
    lab.server.forget_requests()
    result = lab.run("out_of_range", partition=BERT)
    assert result.success
    assert sum("get-data" in record.route and bool(record.form) for record in lab.server.requests) <= 2
    (event,) = result.asset_materializations_for_node(
        lab.definitions.resolve_assets_def(lab.key("out_of_range")).op.name
    )
    assert event.metadata["files before"].value == 2
    assert event.metadata["files after"].value == 1
    evaluation = lab.check("complete")
    assert evaluation.passed
    assert values(evaluation)["out-of-range bytes in the lake"] == told["out-of-range bytes"]
    assert lab.check("intact", verify_share=1.0).passed
    assert lab.check("protected").passed
    assert lab.requested() == []
    record = lab.lake.manifest(BERT, "before").files[0]  # type: ignore[union-attr]
    lab.lake.storage.delete(lab.lake.folder(BERT, record.path))
    told = values(lab.check("intact"))
    assert told["out-of-range partitions to run"] == BERT
    assert "partitions to run" not in told


def test_out_of_range_files_of_a_participant_who_has_none_are_a_success(lab: Lab) -> None:
    """Several participants in one run."""
    lab.enrol()
    assert lab.run("out_of_range", tags=dict(zip(rectangle_tags(["x"], ["y"]), (ANNA, BERT), strict=True))).success
    assert lab.instance.get_materialized_partitions(lab.key("out_of_range")) == {ANNA, BERT}


def test_who_was_withdrawn_meanwhile_is_not_fetched_by_a_second_attempt(
    open_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run names the participant and fails, although the second attempt brings everybody else."""
    monkeypatch.setattr(labs, "AT_ONCE", dg.RetryPolicy(max_retries=1))
    lab = open_lab(world_of(ANNA, BERT))
    lab.enrol()
    plan, errors = LakeWriter.plan, {ANNA: WithdrawnError("withdrawn"), BERT: CommitConflictError("another run")}

    def plan_later(writer: LakeWriter, participant: str, windows: Iterable[Window | str]) -> Plan:
        if participant in errors:
            raise errors.pop(participant)
        return plan(writer, participant, windows)

    monkeypatch.setattr(LakeWriter, "plan", plan_later)
    result = lab.run("out_of_range", tags=dict(zip(rectangle_tags(["x"], ["y"]), (ANNA, BERT), strict=True)))
    assert not result.success
    assert lab.instance.get_materialized_partitions(lab.key("out_of_range")) == {BERT}
    (failure,) = result.get_step_failure_events()
    assert f"Withdrawn from the lake meanwhile, and not fetched again: {ANNA}." in str(failure.step_failure_data)


def test_a_new_out_of_range_file_is_not_masked_by_others(lab: Lab) -> None:
    """Those that are deleted, and those of other days, are held too and say nothing of it."""
    lab.world.add_hour(ANNA, "gps", LONG_AGO, rows=500)
    lab.backfill()
    assert lab.run("out_of_range", partition=ANNA).success
    assert lab.check("complete").passed
    lab.world.delete_files(ANNA, stream="gps", hour=LONG_AGO)
    lab.world.add_hour(ANNA, "gps", LONG_AGO + timedelta(days=3), rows=2)
    assert values(lab.check("complete"))["out-of-range partitions to run"] == ANNA
    assert lab.run("out_of_range", partition=ANNA).success
    assert lab.check("complete").passed


def test_an_out_of_range_file_that_is_deleted_is_noticed(lab: Lab) -> None:
    """The check says so, the next run of the asset finds which one it is, and keeps it marked."""
    lab.world.add_hour(ANNA, "gps", LONG_AGO)
    lab.world.add_hour(ANNA, "gps", LONG_AGO + timedelta(hours=1))
    lab.backfill()
    assert lab.run("out_of_range", partition=ANNA).success
    lab.world.delete_files(ANNA, stream="gps", hour=LONG_AGO)
    evaluation = lab.check("complete")
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert values(evaluation)["out-of-range partitions to run"] == ANNA
    assert lab.run("out_of_range", partition=ANNA).success
    assert [record.present for record in lab.lake.manifest(ANNA, "before").files] == [False, True]  # type: ignore[union-attr]
    assert lab.check("complete").passed


def test_out_of_range_files_that_time_moved_into_a_window_count_once(open_lab: Callable[..., Lab]) -> None:
    """An earlier start, or a future that has come: what a window holds is no longer out of range."""
    late = open_lab(start=START + timedelta(weeks=1))
    late.enrol()
    assert late.run("out_of_range", tags=dict(zip(rectangle_tags(["x"], ["y"]), (ANNA, CLEO), strict=True))).success
    early = Lab(late.server, late.instance)
    weeks = [(START + timedelta(weeks=number)).isoformat() for number in range(4)]
    assert not early.check("complete").passed
    assert early.run("raw_data", tags=dict(rectangle_tags(PARTICIPANTS, weeks))).success
    evaluation = early.check("complete")
    assert evaluation.passed
    assert values(evaluation)["out-of-range bytes in the lake"] == 0
    files = early.world.files(early.study.id)
    assert early.table("coverage")["files"].sum() == len(files)


def test_a_file_before_the_first_window_but_on_its_day_is_noticed_when_it_is_deleted(
    open_lab: Callable[..., Lab],
) -> None:
    """Sunday evening in New York is in the window that begins on Monday in UTC, Sunday noon is before all windows."""
    lab = open_lab(world_of(ANNA, hours=(2, 12)))
    noon = moment(START, 12) - timedelta(days=1)
    lab.world.add_hour(ANNA, "gps", noon, rows=1)
    lab.backfill()
    with time_machine.travel(datetime.now(timezone.utc) + timedelta(seconds=5)):  # what came then was there by now
        assert lab.run("out_of_range", partition=ANNA).success
    assert lab.check("complete").passed
    lab.world.delete_files(ANNA, stream="gps", hour=noon)
    assert values(lab.check("complete"))["out-of-range partitions to run"] == ANNA
    assert lab.run("out_of_range", partition=ANNA).success
    assert lab.check("complete").passed


def test_windows_before_a_later_start_are_out_of_range_and_count_once(lab: Lab) -> None:
    """The lake has them twice then: in their windows, and as out-of-range files."""
    lab.backfill()
    late = Lab(lab.server, lab.instance, start=START + timedelta(weeks=1))
    assert late.check("complete").passed
    assert late.run("out_of_range", partition=ANNA).success
    evaluation = late.check("complete")
    assert evaluation.passed
    assert values(evaluation)["out-of-range bytes in the lake"] == values(evaluation)["out-of-range bytes"] > 0


def test_a_lake_that_says_strays_is_read_and_kept(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier lakes keep these files in another folder: they stay there, and new files go to the new one."""
    lab.world.add_hour(ANNA, "gps", LONG_AGO)
    lab.backfill()
    with monkeypatch.context() as earlier:
        earlier.setattr(merge, "OUT_OF_RANGE", "strays")
        assert lab.run("out_of_range", partition=ANNA).success
    assert [lab.check(name).passed for name in ("complete", "intact", "protected")] == [True] * 3
    lab.world.add_hour(ANNA, "gps", LONG_AGO + timedelta(hours=1))
    assert lab.run("out_of_range", partition=ANNA).success
    view = BeiwePartitions.of(lab.lake, participants=[ANNA], out_of_range=True)
    assert [file.name.split("/")[0] for file in view[f"{ANNA}|before"].files()] == ["strays", "out_of_range"]
    assert [lab.check(name).passed for name in ("complete", "intact", "protected")] == [True] * 3
