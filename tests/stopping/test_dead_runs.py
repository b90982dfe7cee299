"""Runs that are killed without a word: the next one does not wait for them."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import uuid4

import dagster as dg
import pandas as pd
import pytest
import time_machine
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.backfill import PartitionBackfill
from stopping_definitions import defs
from stopping_lab import KEY, KEYS, SOON_SECONDS, Lab

from dagster_beiwe.automation.dead_runs_sensor import build_dead_runs_sensor
from dagster_beiwe.cli import main
from dagster_beiwe.io_managers import EncryptedTableIOManager
from dagster_beiwe.processes import Worker
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.runs.dead_runs import _WORKER, dead_runs, end_dead_runs, mark_run
from dagster_beiwe.typed_json import read_json

OPEN = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # Dagster of itself
    pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources` is deprecated"),
]


def test_a_killed_run_with_a_process_per_step(lab: Lab) -> None:
    """Its step is a process of its own, which still works and counts; the run ends when that has come to its end."""
    with lab.held_run("multiprocess") as process:
        (run,) = lab.instance.get_runs(filters=OPEN)
        process.kill()
        process.wait()
        assert end_dead_runs(lab.instance) == []
        lab.server.let_go()
        lab.wait_until(lambda: end_dead_runs(lab.instance) == [run.run_id], "the run to be ended")
    assert lab.recorded(run) == KEYS


def test_a_run_that_was_killed_before_its_first_step(lab: Lab) -> None:
    """It has told nothing about its process; after some minutes of silence it counts as dead."""
    with time_machine.travel(datetime.now(timezone.utc) - timedelta(minutes=5)) as clock:
        silent, waiting, other = (start_run(lab.instance, key) for key in (KEY, KEY, dg.AssetKey("somebody_elses")))
        assert end_dead_runs(lab.instance) == []
        clock.shift(timedelta(minutes=5))
        lab.instance.report_engine_event("Step blocked by limit.", waiting)
        clock.shift(timedelta(minutes=2))
        assert end_dead_runs(lab.instance) == [silent.run_id]
    for run in (waiting, other):
        assert not lab.is_finished(run)
        lab.instance.report_run_canceled(run)


def test_the_sensor_asks_no_clock(lab: Lab) -> None:
    """Clocks of two machines may differ, and laptops sleep: only a log that stays as it is from look to look counts."""
    run = start_run(lab.instance, KEY)
    sensor, cursor = build_dead_runs_sensor(), None

    def look() -> None:
        nonlocal cursor
        with dg.build_sensor_context(instance=lab.instance, cursor=cursor) as context:
            sensor(context)
            cursor = context.cursor

    with time_machine.travel(datetime.now(timezone.utc) + timedelta(days=1)):
        for _ in range(7):
            look()
        here = EngineEventData(metadata={"step_keys": dg.MetadataValue.text("['raw_data']")})
        lab.instance.report_engine_event("Executing steps in process.", run, here)
        for _ in range(7):
            look()
        assert not lab.is_finished(run)
        look()
        assert lab.is_finished(run)


def start_run(instance: dg.DagsterInstance, key: dg.AssetKey) -> dg.DagsterRun:
    """A run that has started and does nothing."""
    run = dg.DagsterRun(job_name="nothing", run_id=str(uuid4()), asset_selection=frozenset([key]))
    instance.add_run(run)
    event = DagsterEvent(event_type_value=dg.DagsterEventType.PIPELINE_START.value, job_name=run.job_name)
    instance.report_dagster_event(event, run.run_id)
    return run


def test_runs_that_live_are_left_alone(lab: Lab) -> None:
    """Whatever Dagster's history says of them; also where their process cannot be seen from here."""
    run, elsewhere = start_run(lab.instance, KEY), start_run(lab.instance, KEY)
    mark_run(lab.instance, run)
    gone = replace(Worker.here(), processes={1: "never"})
    assert gone.is_gone()
    other_places = [replace(gone, host="elsewhere"), replace(gone, namespace="container"), replace(gone, user="x")]
    for worker in other_places:
        kept = read_json(worker.to_text(), Worker)
        assert kept == worker
        assert not kept.is_gone()
    assert list(dead_runs(lab.instance)) == []
    for each in (run, elsewhere):
        lab.instance.report_run_canceled(each)


def test_a_machine_that_was_started_again() -> None:
    """Nothing of before runs any more; containers may only look like the same machine, by an id in their image."""
    here = replace(Worker.here(), machine="an id", namespace="pid:[4026531836]")
    assert replace(here, boot="an earlier one").is_gone(here=here)
    unknown = replace(here, machine="")
    assert not replace(unknown, boot="an earlier one").is_gone(here=unknown)
    container = replace(here, namespace="pid:[4026532201]")
    assert not replace(container, boot="another machine's").is_gone(here=container)


def test_containers_that_wait_are_left_alone(lab: Lab) -> None:
    """Their launcher notices their death, and the first step may wait for hours for a place."""
    launcher = {"module": "dagster._core.test_utils", "class": "MockedRunLauncher", "config": {}}
    with dg.instance_for_test(overrides={"run_launcher": launcher}) as instance:
        with time_machine.travel(datetime.now(timezone.utc) - timedelta(hours=1)):
            start_run(instance, KEY)
        assert list(dead_runs(instance)) == []


def test_a_run_with_its_steps_elsewhere_is_left_alone(lab: Lab) -> None:
    """A step waits for a place in a cluster, or has done its part and left; the run itself goes on."""
    with time_machine.travel(datetime.now(timezone.utc) - timedelta(minutes=10)):
        waiting, between, local = (start_run(lab.instance, KEY) for _ in range(3))
        tell(lab, waiting, "Starting execution with step handler K8sStepHandler.")
        tell(lab, between, "Starting execution with step handler DockerStepHandler.")
        tell(lab, local, "Executing steps.", EngineEventData.multiprocess(1, ["step"]))
    gone = replace(Worker.here(), processes={1: "never"})
    tell(lab, between, "Working.", EngineEventData(metadata={_WORKER: dg.MetadataValue.text(gone.to_text())}))
    assert [run.run_id for run in dead_runs(lab.instance)] == [local.run_id]
    for run in (waiting, between, local):
        lab.instance.report_run_canceled(run)


def tell(lab: Lab, run: dg.DagsterRun, message: str, data: EngineEventData | None = None) -> None:
    """An event as executors write it."""
    event = DagsterEvent(
        event_type_value=dg.DagsterEventType.ENGINE_EVENT.value,
        job_name=run.job_name,
        message=message,
        event_specific_data=data or EngineEventData(),
    )
    lab.instance.report_dagster_event(event, run.run_id)


def test_a_lab_s_own_tables_count(lab: Lab) -> None:
    """A run has said what its process is where only an IO manager of ours is used."""
    with dg.DagsterInstance.ephemeral() as instance, lab.variables():
        tables = EncryptedTableIOManager(beiwe=BeiweResource(credentials=EnvCredentials()))
        run = dg.materialize([own_table], resources={"tables": tables}, instance=instance)
        (log,) = (each for each in instance.all_logs(run.run_id) if each.message.startswith("Working for this run"))
    assert str(os.getpid()) in log.message


@dg.asset(io_manager_key="tables")
def own_table() -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame({"number": [1]})
    return table


def test_the_command_ends_dead_runs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a lab without a daemon."""
    monkeypatch.setenv("DAGSTER_HOME", str(lab.home))
    with time_machine.travel(datetime.now(timezone.utc) - timedelta(minutes=10)):
        run = start_run(lab.instance, KEY)
    assert main(["runs"]) == 1
    assert run.run_id in capsys.readouterr().out
    assert main(["runs", "--end-dead", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dead": [run.run_id], "ended": True}
    assert main(["runs"]) == 0
    assert lab.is_finished(run)


def test_a_daemon_goes_on_after_ten_killed_runs(lab: Lab) -> None:
    """More are dead than may run at once; what is queued runs nevertheless, and can be terminated."""
    with lab.forks("in_process") as fork, lab.server.holding():
        for _ in range(10):
            process_id = fork()
            lab.wait_until(lambda: lab.server.held.acquire(timeout=0.1), "a download that is held")
            os.kill(process_id, signal.SIGKILL)
    killed = {run.run_id for run in lab.instance.get_runs(filters=OPEN)}
    assert len(killed) == 10
    lab.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="everything",
            asset_graph=defs().get_repository_def().asset_graph,
            partition_names=sorted(KEYS),
            asset_selection=[KEY],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=lab.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    with lab.server.holding(), lab.program("run", "-m", "stopping_definitions", name="dagster-daemon") as daemon:
        lab.wait_until(lambda: lab.server.held.acquire(timeout=0.1), "a download of the run that was queued", daemon)
        (run,) = lab.instance.get_runs(filters=OPEN)
        assert run.run_id not in killed
        began = time.monotonic()
        assert lab.instance.run_coordinator.cancel_run(run.run_id)
        lab.wait_until(lambda: lab.is_finished(run), "the run to end", daemon)
        assert time.monotonic() - began < SOON_SECONDS
    lab.was_canceled(run)
    assert lab.recorded(lab.run_here()) == KEYS
