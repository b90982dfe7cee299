"""When checks run by themselves: after each refresh, once its runs are over, and by a schedule."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
from labs import PARTICIPANTS, WEEKS, Lab, day_of_week, moment

from dagster_beiwe.automation.changes_sensor import build_changes_sensor
from dagster_beiwe.automation.schedules import build_job_schedule
from dagster_beiwe.checks import CHECKS
from dagster_beiwe.partitions.run_keys import rectangle_tags

ANNA, BERT, CLEO = PARTICIPANTS


def is_checks(request: dg.RunRequest) -> bool:
    return request.job_name == "sleep_checks"


def test_checks_follow_when_the_runs_are_over(lab: Lab) -> None:
    """Once after a refresh, not at every look."""
    lab.enrol()
    lab.follow()
    (request,) = lab.tick()
    assert is_checks(request)
    assert lab.tick() == []


def test_the_job_runs_all_checks_and_the_summaries(lab: Lab) -> None:
    """Whoever starts it: the sensor, the schedule, or somebody in Dagster's list of jobs."""
    layer = lab.definitions.resolve_job_def(lab.checks_job.name).asset_layer
    assert layer.selected_asset_keys == {lab.key("restatements"), lab.key("coverage")}
    assert {key.name for key in layer.asset_graph.asset_check_keys} == set(CHECKS)


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
    assert not is_checks(first)
    lab.run("raw_data", tags=dict(first.tags))
    (second,) = lab.tick()
    assert is_checks(second)


def test_checks_follow_runs_of_others_too(lab: Lab) -> None:
    """A backfill by hand: over before the sensor looked, or seen while it ran."""
    lab.backfill()
    (request,) = lab.tick()
    assert is_checks(request)
    job = lab.job.get_subset(asset_selection={lab.key("raw_data")})
    tags = rectangle_tags([ANNA], WEEKS[:1])
    run = lab.instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)
    assert lab.tick() == []
    lab.instance.delete_run(run.run_id)
    (request,) = lab.tick()
    assert is_checks(request)
    assert lab.tick() == []


def test_checks_do_not_wait_for_the_next_question_to_the_server(lab: Lab) -> None:
    """In an active study something has moved at each look; in between, the sensor asks nothing from the server."""
    lab.sensor = build_changes_sensor(lab.study, lab.assets.raw_data, lab.checks_job)
    assert lab.sensor.minimum_interval_seconds == 600
    lab.enrol()
    assert lab.follow()
    lab.world.add_rows(ANNA, "gps", moment(day_of_week(1)))
    lab.server.forget_requests()
    (request,) = lab.tick()
    assert is_checks(request)
    assert lab.routes() == []


def test_servers_without_counts_have_their_checks(open_lab: Callable[..., Lab]) -> None:
    """After what the schedule fetched."""
    lab = open_lab(profile="2023-11")
    lab.backfill()
    (request,) = lab.tick()
    assert is_checks(request)
    assert lab.tick() == []


def test_a_schedule_runs_the_job(lab: Lab) -> None:
    """Daily."""
    schedule = build_job_schedule(lab.checks_job)
    assert (schedule.job_name, schedule.cron_schedule) == (lab.checks_job.name, "0 8 * * *")
