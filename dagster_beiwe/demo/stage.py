"""One study on a simulated server, with the work of Dagster's daemon done in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import dagster as dg
import pandas as pd

from dagster_beiwe.checks import CHECKS
from dagster_beiwe.definitions import Automation, build_beiwe_definitions
from dagster_beiwe.demo.headless import execute, recorded
from dagster_beiwe.resource import BeiweResource, EnvCredentials
from dagster_beiwe.runs.dagster_private import RANGE_START_TAG
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.tables.store import TableStore

KEY = "sleep"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Requests, and bytes of the bodies that the server sent."""

    requests: int
    size_bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(requests=self.requests + other.requests, size_bytes=self.size_bytes + other.size_bytes)


@dataclass
class Outcome:
    """Partitions that runs recorded, and the messages of runs that failed."""

    partitions: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class Stage:
    """Evaluates sensors, launches what they request and evaluates checks, one after the other."""

    def __init__(self, server: SimulatedServer, instance: dg.DagsterInstance, config: StudyConfig) -> None:
        self.server, self._instance = server, instance
        self._beiwe = BeiweResource(credentials=EnvCredentials())
        self._definitions = definitions = build_beiwe_definitions(
            [config], deployments={"beiwe": self._beiwe}, automation=Automation(changes_seconds=0)
        )
        self._repository = definitions.get_repository_def()
        self._graph = definitions.resolve_asset_graph()
        self._cursors: dict[str, str | None] = {}
        self._known_keys: set[str] = set()

    def cost(self) -> Cost:
        """The cost of all requests since the last call."""
        records = list(self.server.requests)
        self.server.forget_requests()
        return Cost(requests=len(records), size_bytes=sum(record.bytes_sent for record in records))

    def tick(self, sensor: str) -> list[dg.RunRequest]:
        """Evaluate a sensor once; the runs of raw data that it requests, without those whose run key is known."""
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursors.get(sensor),
            resources={"beiwe": self._beiwe},
            repository_def=self._repository,
        ) as context:
            result = self._repository.get_sensor_def(f"{KEY}_{sensor}").evaluate_tick(context)
        self._cursors[sensor] = result.cursor
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self._instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        requests = [each for each in result.run_requests or () if each.run_key not in self._known_keys]
        self._known_keys |= {each.run_key for each in requests if each.run_key}
        return [each for each in requests if RANGE_START_TAG in each.tags]

    def launch(self, requests: Sequence[dg.RunRequest]) -> Outcome:
        """Run what a sensor requested."""
        whole = Outcome()
        for request in requests:
            outcome = self.run("raw_data", tags=request.tags)
            whole.partitions += outcome.partitions
            whole.failures += outcome.failures
        return whole

    def run(self, *names: str, tags: Mapping[str, str] | None = None, partition: str | None = None) -> Outcome:
        """Materialize assets of the study."""
        keys = {dg.AssetKey(["beiwe", KEY, name]) for name in names}
        result = execute(self._definitions, self._instance, keys, tags=tags, partition=partition)
        outcome = Outcome([str(event.partition) for event in recorded(self._instance, result.run_id)])
        for log in self._instance.all_logs(result.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = log.dagster_event
            if event is not None:
                failure = event.step_failure_data.user_failure_data
                outcome.failures.append(str(failure.description if failure else "The run failed."))
        return outcome

    def check(self, *names: str) -> list[dg.AssetCheckEvaluation]:
        """Evaluate checks."""
        keys = {key for key in self._graph.asset_check_keys if key.name in names}
        evaluations = execute(self._definitions, self._instance, (), checks=keys).get_asset_check_evaluations()
        return sorted(evaluations, key=lambda each: list(CHECKS).index(each.check_name))

    def table(self, name: str, *, study_id: str) -> pd.DataFrame:
        """A table of the study, as it lies in the lake."""
        lake = self._beiwe.get_lake().study(study_id, passphrase=self._beiwe.passphrase())
        return TableStore.of_study(lake).read(["beiwe", KEY, name])


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables, and no others that begin with ``BEIWE_``, while the block runs."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("BEIWE_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
