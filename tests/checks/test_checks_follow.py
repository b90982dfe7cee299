"""When checks run by themselves: after each refresh, once its runs are over, and by a schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
from labs import PARTICIPANTS, WEEKS, Lab, day_of_week, moment

from dagster_beiwe.automation.changes_sensor import build_changes_sensor
from dagster_beiwe.automation.schedules import build_checks_schedule
from dagster_beiwe.partitions.run_keys import rectangle_tags

ANNA, BERT, CLEO = PARTICIPANTS


def test_checks_follow_when_the_runs_are_over(lab: Lab) -> None:
    """Once after a refresh, not at every look."""
    lab.enrol()
    lab.follow()
    (request,) = lab.tick()
    assert request.asset_selection == [lab.key("restatements"), lab.key("coverage")]
    assert {key.name for key in request.asset_check_keys or ()} == {
        "complete", "intact", "protected", "roster", "settings",
    }  # fmt: skip
    assert lab.tick() == []


def test_each_refresh_has_its_checks(lab: Lab) -> None:
    """With a key that Dagster does not know, however soon the next one comes."""
    lab.enrol()
    keys = []
    for week in range(3):
        lab.world.add_rows(ANNA, "gps", moment(day_of_week(week)))
        assert lab.follow()
        keys += [request.run_key for request in lab.tick()]
    assert len(set(keys)) == 3


def test_checks_wait_until_what_moved_is_fetched(lab: Lab) -> None:
    """They would judge data of which a part is still to come."""
    lab.backfill()
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)))
    (first,) = lab.tick()
    assert not first.asset_check_keys
    lab.run("raw_data", tags=dict(first.tags))
    (second,) = lab.tick()
    assert second.asset_check_keys


def test_checks_follow_runs_of_others_too(lab: Lab) -> None:
    """A backfill by hand: over before the sensor looked, or seen while it ran."""
    lab.backfill()
    (request,) = lab.tick()
    assert request.asset_check_keys
    job = lab.job.get_subset(asset_selection={lab.key("raw_data")})
    tags = rectangle_tags([ANNA], WEEKS[:1])
    run = lab.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert lab.tick() == []
    lab.instance.delete_run(run.run_id)
    (request,) = lab.tick()
    assert request.asset_check_keys
    assert lab.tick() == []


def test_checks_do_not_wait_for_the_next_question_to_the_server(lab: Lab) -> None:
    """In an active study something has moved at each look; in between, the sensor asks nothing from the server."""
    lab.sensor = build_changes_sensor(lab.study, lab.assets, lab.checks)
    assert lab.sensor.minimum_interval_seconds == 600
    lab.enrol()
    assert lab.follow()
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)))
    lab.server.forget_requests()
    (request,) = lab.tick()
    assert request.asset_check_keys
    assert lab.routes() == []


def test_servers_without_counts_have_their_checks(open_lab: Callable[..., Lab]) -> None:
    """After what the schedule fetched."""
    lab = open_lab(profile="2023-11")
    lab.backfill()
    (request,) = lab.tick()
    assert request.asset_check_keys
    assert lab.tick() == []


def test_a_schedule_runs_all_checks(lab: Lab, tmp_path: Path) -> None:
    """And the tables of restatements and coverage, in one run with a key of its own."""
    schedule = build_checks_schedule(lab.study, lab.assets.summaries, lab.checks)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as stored:
        at = moment(day_of_week(1), 8)
        with dg.build_schedule_context(instance=stored, scheduled_execution_time=at) as context:
            (request,) = schedule.evaluate_tick(context).run_requests or ()
    assert request.run_key == f"{at:%Y-%m-%dT%H:%M:%S} checks"
    assert set(request.asset_check_keys or ()) == set(lab.checks.check_keys)
    assert request.asset_selection == [summary.key for summary in lab.assets.summaries]
