"""The same definitions on Postgres and S3, with Dagster's own daemon and run processes: kill, resume, verify."""

from __future__ import annotations

import itertools
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import PartitionBackfill
from deploy_helpers import PASSPHRASE, PEOPLE, STUDY_ID, WEEKS, Program, partition_keys

from beiwe_project.definitions import defs
from dagster_beiwe import BeiweLake
from dagster_beiwe.ids import host_slug
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.runs.pools import limit_pool
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.sync import FetchPolicy

KEY = dg.AssetKey(["beiwe", "deploy", "raw_data"])
PROJECT = ("-m", "beiwe_project.definitions")
PROCESS = re.compile(r"Started process for run \(pid: (\d+)\)")
HANGS_AT = PEOPLE[2]
pytestmark = pytest.mark.filterwarnings("ignore:Function `AssetSelection.sources` is deprecated")  # Dagster's own use


@pytest.fixture
def history(instance: dg.DagsterInstance, server: SimulatedServer) -> dg.DagsterInstance:
    """Dagster's history, with the study's participants as partitions."""
    instance.add_dynamic_partitions(participants_name(STUDY_ID), PEOPLE)
    return instance


def make_pool(history: dg.DagsterInstance, server: SimulatedServer) -> None:
    """As ``roster`` does, which has made the participants partitions in a lab."""
    limit_pool(history, f"beiwe_{host_slug(server.url)}")


@pytest.mark.large  # test_engines kills a run in a container, where there are any
def test_a_backfill_goes_on_after_a_killed_run(
    history: dg.DagsterInstance, lake: str, server: SimulatedServer, tmp_path: Path
) -> None:
    """Dagster notices and retries; what was committed is not downloaded again, and the lake is whole."""
    make_pool(history, server)
    slow = FetchPolicy().uncommitted_seconds + 1  # so that what was fetched before is committed
    with (
        server.misbehave("hang", route="/get-data*", participant=PEOPLE[1], seconds=slow),
        server.misbehave("hang", route="/get-data*", participant=HANGS_AT, seconds=3600, times=1),
    ):
        start_backfill(history, partition_keys())
        with Program("dagster-daemon", "run", *PROJECT, log=tmp_path / "daemon.log") as daemon:
            daemon.wait_until(lambda: len(ended(history)) == 1, what="the run that does not hang to end")
            daemon.wait_until(lambda: len(hanging(history)) == 1, what="a run that hangs at its third participant")
            (run_id,) = hanging(history)
            os.kill(process_of(history, run_id), signal.SIGKILL)
            daemon.wait_until(lambda: len(ended(history)) == 3, what="two runs and a retry to end")
    killed = history.get_run_by_id(run_id)
    assert killed is not None
    assert killed.status == dg.DagsterRunStatus.FAILURE
    assert Counter(run.status for run in ended(history))[dg.DagsterRunStatus.SUCCESS] == 2
    assert history.get_materialized_partitions(KEY) == set(partition_keys())
    assert_whole(lake, server)
    assert server.peak_downloads <= 2


def test_rosters_of_several_studies_limit_their_pool_together(instance: dg.DagsterInstance) -> None:
    """Their first refresh begins at the same moment, and Postgres ends the transaction of whoever comes second."""
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(limit_pool, [instance] * 4, ["beiwe_server"] * 4))
    (pool,) = instance.event_log_storage.get_pool_limits()
    assert (pool.name, pool.limit) == ("beiwe_server", 2)


def test_two_processes_share_a_lake(
    history: dg.DagsterInstance, lake: str, server: SimulatedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are about the same windows at the same time; both succeed, and the lake is whole."""
    make_pool(history, server)
    monkeypatch.setattr(server, "download_begins", first_two_together(server.download_begins))
    two = PEOPLE[:2]
    keys = f"{two[0]}|{WEEKS[0]}...{two[1]}|{WEEKS[-1]}"
    command = ("asset", "materialize", "--select", KEY.to_user_string(), "--partition-range", keys, *PROJECT)
    with (
        Program("dagster", *command, log=tmp_path / "one.log") as one,
        Program("dagster", *command, log=tmp_path / "two.log") as other,
    ):
        assert one.succeeds(), one.log()
        assert other.succeeds(), other.log()
    assert server.peak_downloads == 2
    assert history.get_materialized_partitions(KEY) == set(partition_keys(two))
    assert_whole(lake, server, two)


def first_two_together(begin: Callable[[], None]) -> Callable[[], None]:
    """The first download waits for the second one: however slowly the other process starts, they overlap."""
    meeting, count = threading.Barrier(2), itertools.count()

    def begin_together() -> None:
        begin()
        if next(count) < 2:
            meeting.wait(300)

    return begin_together


def assert_whole(lake: str, server: SimulatedServer, people: Sequence[str] = PEOPLE) -> None:
    """The lake holds every file of these participants, and is intact."""
    study = BeiweLake(lake).study(STUDY_ID, passphrase=PASSPHRASE)
    result = verify_study(study)
    assert result.findings == []
    files = server.world.files(STUDY_ID, participants=list(people))
    assert (result.windows, result.files) == (len(people) * len(WEEKS), len(files))


def start_backfill(history: dg.DagsterInstance, keys: list[str]) -> None:
    """As the button in the UI does."""
    history.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id="everything",
            asset_graph=defs().get_repository_def().asset_graph,
            partition_names=keys,
            asset_selection=[KEY],
            backfill_timestamp=time.time(),
            tags={},
            dynamic_partitions_store=history,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )


def hanging(history: dg.DagsterInstance) -> list[str]:
    """Runs that are under way and have committed all participants before the third."""
    runs = history.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    return [run.run_id for run in runs if len(recorded_by(history, run.run_id)) == PEOPLE.index(HANGS_AT)]


def recorded_by(history: dg.DagsterInstance, run_id: str) -> list[object]:
    return list(history.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION))


def ended(history: dg.DagsterInstance) -> list[dg.DagsterRun]:
    statuses = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    return list(history.get_runs(dg.RunsFilter(statuses=statuses)))


def process_of(history: dg.DagsterInstance, run_id: str) -> int:
    (found,) = filter(None, (PROCESS.search(log.message) for log in history.all_logs(run_id)))
    return int(found[1])
