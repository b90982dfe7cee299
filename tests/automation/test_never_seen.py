"""A partition that was made by hand with a mistyped id: refused, told apart from who has left, and not refreshed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from labs import NOW, WEEKS, Lab, raw_data_requests, values, world_of

from dagster_beiwe.automation.roster_sensor import build_roster_sensor
from dagster_beiwe.automation.schedules import build_refresh_schedule
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import ParticipantPlan

SLIP = "anna00O1"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """On a disk: schedules find an instance by its place."""
    (tmp_path / "stored").mkdir()
    (tmp_path / "stored" / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with dg.DagsterInstance.local_temp(str(tmp_path / "stored")) as stored:
        yield stored


@pytest.fixture
def slipped(open_lab: Callable[..., Lab]) -> Lab:
    """Everything was fetched once; then one participant left the server, and a mistyped one became a partition."""
    lab = open_lab(world_of("anna0001", "bert0002"))
    lab.backfill()
    del lab.world.study(lab.study.id).participants["bert0002"]
    lab.instance.add_dynamic_partitions(participants_name(lab.study.id), [SLIP])
    return lab


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = [each for each in result.all_events if each.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return str(data.description)


def test_it_is_refused_and_told_from_who_has_left(slipped: Lab) -> None:
    """With what to do, and without the advice to run it again; who has left is recorded as before."""
    result = slipped.run("raw_data", tags=dict(rectangle_tags(slipped.partitions, WEEKS[:2])))
    message = failure(result)
    assert f"of which nothing was ever fetched: {SLIP}." in message
    assert "dagster-beiwe partitions remove" in message
    assert "materialize again" not in message
    assert "windows were refused" in message
    assert "incomplete" not in message
    logs = slipped.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    recorded = {str(log.dagster_event.partition) for log in logs if log.dagster_event}
    assert recorded == {f"{one}|{week}" for one in ("anna0001", "bert0002") for week in WEEKS[:2]}
    assert slipped.lake.participants() == ["anna0001", "bert0002"]
    assert f"nothing was ever fetched: {SLIP}" in failure(slipped.run("out_of_range", tags={"dagster/partition": SLIP}))
    evaluation = slipped.check("roster")
    assert not evaluation.passed
    assert f"{SLIP}: never seen on the server" in str(evaluation.description)
    told = values(evaluation)
    assert (told["never seen"], told["no longer on the server"]) == (SLIP, "bert0002")


def test_refreshes_leave_it_out(slipped: Lab) -> None:
    """The schedule, which keeps to the roster, and both sensors; who has left, or joined later, is looked at."""
    newcomer = slipped.world.add_participant(slipped.study.id, ParticipantPlan(id="cleo0003", os=""))
    assert slipped.run("roster").success
    event = slipped.instance.get_latest_materialization_event(slipped.key("roster"))
    assert event
    assert event.asset_materialization
    metadata = event.asset_materialization.metadata
    assert (metadata["never seen"].value, metadata["no longer on the server"].value) == (1, 1)
    slipped.instance.add_dynamic_partitions(participants_name(slipped.study.id), ["bert00O2"])  # since then
    assert slipped.partitions == ["anna0001", "bert0002", SLIP, newcomer, "bert00O2"]
    raw_data = slipped.definitions.resolve_assets_def(slipped.key("raw_data"))
    schedule = build_refresh_schedule(slipped.study, raw_data=raw_data)
    with dg.build_schedule_context(instance=slipped.instance, scheduled_execution_time=NOW) as context:
        requests = raw_data_requests(schedule.evaluate_tick(context).run_requests or [])
    refreshed = {key.partition("|")[0] for request in requests for key in slipped.partitions_of(request)}
    assert refreshed == {"anna0001", "bert0002", newcomer}
    sensor = build_roster_sensor(slipped.study, raw_data)
    with dg.build_sensor_context(instance=slipped.instance, resources={"beiwe": slipped.beiwe}) as looking:
        assert not sensor.evaluate_tick(looking).run_requests
    assert {key.partition("|")[0] for key in slipped.requested()} == {"bert0002"}
