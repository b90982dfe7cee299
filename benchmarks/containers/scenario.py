"""A backfill on an engine, with a killed run and wrong clocks: what came of it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal
from unittest import mock
from urllib.parse import urlsplit

import boto3
import dagster as dg
import fsspec
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionsFilter

from benchmarks.containers.deployment import Deployment, recorded_partitions, runs_in
from benchmarks.containers.engines import Engine
from benchmarks.containers.outages import Proxy
from benchmarks.containers.postgres import Postgres
from benchmarks.scale.project import first_day, raw_data
from benchmarks.scale.server import PASSPHRASE, STUDY_VARIABLE, WEEKS_VARIABLE
from dagster_beiwe import BeiweLake
from dagster_beiwe.ids import host_slug
from dagster_beiwe.lake.study import StudyLake
from dagster_beiwe.maintenance.verify import verify_study
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import ContentPlan, ParticipantPlan, SimulatedServer, StudyPlan, World
from dagster_beiwe.sync import FetchPolicy

STUDY_ID = "ContainersContainersCont"
_LOOKS_UNTIL_BY_HAND = 30
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many participants and weekly windows, with one small file each, and the pool's limit (None: the default).

    The server takes ``request_seconds`` for each download, as real ones do before the first byte. Instead of a run that
    is killed, code server, daemon and runs can be cut off from Dagster's database or from the store for a while.
    """

    participants: int
    weeks: int
    limit: int | None = None
    patience_seconds: float = 600
    request_seconds: float = 0
    cut_off_from: Literal["database", "store"] | None = None
    cut_off_seconds: float = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a backfill.

    ``twice`` are partitions that two successful runs recorded, ``different`` files of the server that the lake lacks or
    has otherwise, or the other way round. ``peak_*`` are the most at the same time. ``clocks_ahead`` counts containers.
    """

    partitions: int
    recorded: int
    twice: int
    runs: dict[str, int]
    peak_runs: int
    peak_downloads: int
    clocks_ahead: int
    different: int
    findings: list[str]
    seconds: float


def play(
    folder: Path,
    size: Size,
    engine: Engine,
    *,
    postgres: Postgres,
    store: dict[str, str],
    say: Callable[[str], None] = lambda _text: None,
) -> Outcome:
    """Refresh the roster, backfill everything, disturb it in the middle, and look at what there is in the end.

    ``store`` is the environment of an object store. ``folder``, whose name is also that of the database and the bucket,
    becomes the ``DAGSTER_HOME``.
    """
    away = size.cut_off_from
    behind = postgres.port if away == "database" else urlsplit(store["AWS_ENDPOINT_URL"]).port
    assert behind is not None, "stand-ins have a port of their own"
    with SimulatedServer(small_files(size)) as server, reachable(store), Proxy(behind) as line:
        boto3.client("s3").create_bucket(Bucket=folder.name)
        variables = {
            "BEIWE_URL": server.url,
            "BEIWE_ACCESS_KEY": server.access_key,
            "BEIWE_SECRET_KEY": server.secret_key,
            "BEIWE_LAKE": f"s3://{folder.name}/lake",
            "BEIWE_LAKE_PASSPHRASE": PASSPHRASE,
            **{name: store[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")},
        }
        elsewhere = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}" if away == "store" else store["AWS_ENDPOINT_URL"],
            STUDY_VARIABLE: STUDY_ID,
            WEEKS_VARIABLE: str(size.weeks),
        }
        if away == "database":
            variables["DAGSTER_PG_PORT"] = str(line.port)
        with Deployment(folder, engine, postgres=postgres, variables=variables, elsewhere=elsewhere) as deployment:
            say(f"the webserver is at {deployment.url}")
            return _Play(deployment, server, line, size, say).outcome(variables["BEIWE_LAKE"])


@contextmanager
def reachable(store: dict[str, str]) -> Iterator[None]:
    """fsspec keeps clients with the store that they were made for: those of others are forgotten, and these too."""
    clients = fsspec.get_filesystem_class("s3")
    clients.clear_instance_cache()
    with mock.patch.dict(os.environ, store):
        yield
    clients.clear_instance_cache()


class _Play:
    def __init__(
        self, deployment: Deployment, server: SimulatedServer, line: Proxy, size: Size, say: Callable[[str], None]
    ) -> None:
        self._deployment, self._server, self._line, self._size, self._say = deployment, server, line, size, say
        self._history = deployment.history
        self._peak_runs = 0
        self._looks: Counter[str] = Counter()
        self._retried: set[str | None] = set()

    def outcome(self, lake: str) -> Outcome:
        people = self._roster()
        self._server.forget_requests()
        began = time.monotonic()
        self._server.misbehave("latency", route="/get-data*", seconds=self._size.request_seconds)
        middle = len(people) // 2
        # Runs are held in their middle until one is disturbed: first for so long that they commit what they have, and
        # then not for long, as the server holds a dead one's request, too.
        commits = FetchPolicy().uncommitted_seconds + 1
        with ExitStack() as held:
            for person, hold_seconds in ((people[middle], commits), (people[middle + 1], 6)):
                hold = self._server.misbehave("hang", route="/get-data*", participant=person, seconds=hold_seconds)
                held.enter_context(hold)
            self._deployment.backfill(raw_data())
            self._wait(lambda: self._disturb(after=middle), what="a run to be in its middle")
        self._wait(self._is_over, what="the backfill to end")
        seconds = time.monotonic() - began
        succeeded = {run.run_id for run in runs_in(self._history, [dg.DagsterRunStatus.SUCCESS])}
        times = Counter(key for run, key in recorded_partitions(self._history, raw_data()) if run in succeeded)
        study = BeiweLake(lake).study(STUDY_ID, passphrase=PASSPHRASE)
        return Outcome(
            partitions=self._size.participants * self._size.weeks,
            recorded=len(times),
            twice=sum(count > 1 for count in times.values()),
            runs=dict(Counter(run.status.value for run in runs_in(self._history, _ENDED))),
            peak_runs=self._peak_runs,
            peak_downloads=self._server.peak_downloads,
            clocks_ahead=self._deployment.engine.clocks_ahead(),
            different=len(files_of(self._server.world) ^ files_in(study)),
            findings=[str(finding) for finding in verify_study(study).findings],
            seconds=seconds,
        )

    def _roster(self) -> list[str]:
        """Participants in the order of the partitions, which its run has made; it has also limited the pool."""
        run_id = self._deployment.launch(dg.AssetKey([*raw_data().path[:-1], "roster"]))
        self._wait(lambda: run_id in {run.run_id for run in runs_in(self._history, _ENDED)}, what="roster to end")
        pool = f"beiwe_{host_slug(self._server.url)}"
        limits = {each.name: each.limit for each in self._history.event_log_storage.get_pool_limits()}
        assert limits == {pool: 2}, limits
        if self._size.limit:
            self._history.event_log_storage.set_concurrency_slots(pool, self._size.limit)
        return list(self._history.get_dynamic_partitions(participants_name(STUDY_ID)))

    def _disturb(self, *, after: int) -> bool:
        """Kill a run that has recorded so many partitions, or cut them all off; returns whether there was one."""
        assert not self._has_ended(), "the backfill ended before a run was in its middle"
        for run in runs_in(self._history, [dg.DagsterRunStatus.STARTED]):
            recorded = len(self._history.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION))
            if recorded < after:
                continue
            if self._size.cut_off_from:
                with self._line.away():
                    threading.Event().wait(self._size.cut_off_seconds)
                return True
            if self._deployment.engine.kill(self._history, run):
                self._say(f"killed run {run.run_id} after {recorded} partitions")
                return True
        return False

    def _see_to_retries(self) -> None:
        """Re-execute what failed and is not retried after a while, as a person would.

        Dagster's daemon passes a failed run by if it looks between the two writes that say so.
        """
        failed = [
            run for run in runs_in(self._history, [dg.DagsterRunStatus.FAILURE]) if run.run_id not in self._retried
        ]
        if not failed:
            return
        self._retried |= {run.parent_run_id for run in self._history.get_runs()}
        for run in failed:
            if not {run.run_id, run.root_run_id} & self._retried:
                self._looks[run.run_id] += 1
                if self._looks[run.run_id] == _LOOKS_UNTIL_BY_HAND:
                    self._say(f"Dagster does not retry run {run.run_id}: it is re-executed by hand")
                    self._deployment.reexecute(run.run_id)

    def _is_over(self) -> bool:
        """A backfill may have all of its partitions while a killed run is still to be retried."""
        self._see_to_retries()
        going_on = [status for status in dg.DagsterRunStatus if status not in _ENDED]
        return self._has_ended() and not self._history.get_runs_count(dg.RunsFilter(statuses=going_on))

    def _has_ended(self) -> bool:
        """Without a look at the backfill itself, which has all of its partitions in one text."""
        return self._history.get_backfills_count(BulkActionsFilter(statuses=BULK_ACTION_TERMINAL_STATUSES)) > 0

    def _wait(self, condition: Callable[[], bool], *, what: str) -> None:
        def watched() -> bool:
            started = self._history.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
            self._peak_runs = max(self._peak_runs, started)
            return condition()

        self._deployment.wait_until(watched, what=what, seconds=self._size.patience_seconds)


def small_files(size: Size) -> World:
    """A world with one small file of each participant in each week."""
    first = datetime.combine(first_day(size.weeks), datetime.min.time(), timezone.utc)
    study = StudyPlan(
        name="Containers",
        id=STUDY_ID,
        participants=tuple(ParticipantPlan() for _ in range(size.participants)),
        start=first,
        end=first,
        hours=(),
        streams=("gps",),
        content=ContentPlan(rows=3),
    )
    world = World.build(study)
    for person in world.studies[STUDY_ID].participants:
        for week in range(size.weeks):
            world.add_hour(person, "gps", first + timedelta(weeks=week), rows=3)
    return world


def files_of(world: World) -> set[tuple[str, ...]]:
    """What the server has."""
    return {
        (file.participant_id, file.stream, file.bin.isoformat(), hashlib.sha256(file.read()).hexdigest())
        for file in world.files(STUDY_ID)
    }


def files_in(study: StudyLake) -> set[tuple[str, ...]]:
    """What the lake has."""
    return {
        (person, file.stream, file.moment.isoformat(), file.sha256)
        for person in study.participants()
        for manifest in study.manifests(person)
        for file in manifest.files
    }
