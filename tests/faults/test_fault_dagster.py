"""Dagster's own databases are locked by somebody else. One test per row of the table."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from fault_scene import (
    FIRST,
    NOW,
    PASSPHRASE,
    SECOND,
    START,
    STREAMS,
    STUDY,
    CheckLosses,
    check_lake,
    everything_in,
    held,
    secrets_of,
    truth,
)

from dagster_beiwe import BeiweResource, EnvCredentials
from dagster_beiwe.assets import AssetOptions
from dagster_beiwe.assets.raw_data import build_raw_data_asset
from dagster_beiwe.io_managers import EncryptedLakeIOManager
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.run_keys import rectangle_tags
from dagster_beiwe.simulator import SimulatedServer, World
from dagster_beiwe.simulator.answers import Answer
from dagster_beiwe.simulator.forms import Request
from dagster_beiwe.simulator.misbehavior import Delivery
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import windows_between


class LockingServer(SimulatedServer):
    """At the first archive of the second participant, somebody else locks Dagster's databases."""

    databases: Path
    held_seconds: float | None = None
    connections: list[sqlite3.Connection]

    def respond(self, request: Request) -> tuple[Answer, Delivery]:
        if request.route.startswith("/get-data/") and SECOND in (request.value("user_ids") or ""):
            self.lock()
        return super().respond(request)

    def lock(self) -> None:
        if self.connections:
            return
        for path in self.databases.rglob("*.db"):
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            self.connections.append(connection)
        if self.held_seconds is not None:
            threading.Timer(self.held_seconds, self.release).start()

    def release(self) -> None:
        while self.connections:
            self.connections.pop().close()


class Lab:
    """A Dagster instance on disk, and raw_data of the study."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        config = StudyConfig(STUDY, window="daily", streams=STREAMS)
        study = Study(id=STUDY, name="Faults", key="faults", start=START.date(), config=config)
        asset = build_raw_data_asset(study, AssetOptions(pool="p", retry_policy=dg.RetryPolicy(max_retries=0)))
        beiwe = BeiweResource(credentials=EnvCredentials())
        resources = {"beiwe": beiwe, "beiwe_lake_io_manager": EncryptedLakeIOManager(beiwe=beiwe)}
        definitions = dg.Definitions(assets=[asset], resources=resources, executor=dg.in_process_executor)
        self.key, self.job = asset.key, definitions.resolve_implicit_global_asset_job_def()
        instance.add_dynamic_partitions(participants_name(STUDY), [FIRST, SECOND])
        self.days = [window.key for window in windows_between("daily", START, NOW)]

    def run(self) -> bool:
        tags = rectangle_tags([FIRST, SECOND], self.days)
        return self.job.execute_in_process(instance=self.instance, tags=dict(tags), raise_on_error=False).success

    def failure(self) -> str:
        """How a run ends that can't write down even that it has failed; empty if it succeeds."""
        try:
            return "" if self.run() else "failed"
        except Exception as error:  # noqa: BLE001  # Dagster's, of whatever kind
            return everything_in(error)

    def recorded(self) -> set[str]:
        return self.instance.get_materialized_partitions(self.key)


@pytest.fixture
def lab(
    world: World, lake_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Lab, LockingServer]]:
    """A lab whose database somebody else will lock."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log

    monkeypatch.setattr(
        sqlite_event_log, "SQLITE_BUSY_TIMEOUT_SECONDS", 3, raising=False
    )  # absent in the oldest Dagster
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with LockingServer(world) as server, dg.DagsterInstance.local_temp(str(home)) as instance:
        server.databases, server.connections = home, []
        for name, value in {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": str(lake_folder),
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
        }.items():
            monkeypatch.setenv(name, value)
        yield Lab(lake_folder, instance), server
        server.release()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Dagster of itself
def test_event_log_locked_briefly(lab: tuple[Lab, LockingServer], world: World) -> None:
    """Somebody copies the database, for a second: Dagster waits, and the run knows nothing of it."""
    dagster, server = lab
    server.held_seconds = 1
    assert dagster.run()
    assert len(dagster.recorded()) == 6
    assert held(dagster.folder) == truth(world)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Dagster's own connections, after its own error
def test_event_log_locked(
    lab: tuple[Lab, LockingServer], world: World, check_losses: CheckLosses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run fails; the lake is intact and holds what was committed; the next run records everything."""
    from dagster._core.storage.event_log.sqlite import sqlite_event_log

    monkeypatch.setattr(sqlite_event_log, "SQLITE_BUSY_TIMEOUT_SECONDS", 0, raising=False)
    dagster, server = lab
    before = held(dagster.folder)
    failure = dagster.failure()
    assert failure
    for secret in secrets_of(server):
        assert secret not in failure
    server.release()
    server.databases = server.databases / "nothing more to lock"
    check_lake(dagster.folder)
    check_losses(dagster.folder, world, before)
    first = {key: content for key, content in truth(world).items() if f"/{FIRST}/" in key}
    assert first.items() <= held(dagster.folder).items()
    assert dagster.run()
    assert len(dagster.recorded()) == 6
    assert held(dagster.folder) == truth(world)
