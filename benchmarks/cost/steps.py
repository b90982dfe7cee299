"""What a project does in a day and in its life, step by step.

``python -m benchmarks.cost.steps`` takes the study as JSON in the first line of its standard input, and a step in each
line after it. It answers with a line of JSON: what the step took of this process. The project is the package's own
definitions; its server, lake, and Dagster's history come from the environment.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any
from unittest import mock

import dagster as dg

from benchmarks.process import measured
from benchmarks.scale.project import history
from dagster_beiwe import BeiweResource, EnvCredentials, StudyConfig, build_beiwe_definitions
from dagster_beiwe.assets import raw_data
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.cells import Cell
from dagster_beiwe.definitions import Automation
from dagster_beiwe.demo.headless import execute
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import FetchPolicy, StudySync
from dagster_beiwe.windows import Window

KEY, DEPLOYMENT = "cost", "beiwe"
NEWEST_WEEKS = 3
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Facts = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A study, its first day, and the limits of a request."""

    study: str
    start: str
    request_bytes: int
    registry_bytes: int


class Project:
    """The definitions of one study, and Dagster's history of it. It keeps the cursors of its sensors."""

    def __init__(self, job: Job, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._cursors: dict[str, str | None] = {}
        self.policy = FetchPolicy(request_bytes=job.request_bytes, registry_bytes=job.registry_bytes)
        self.resource = BeiweResource(credentials=EnvCredentials())
        start = datetime.fromisoformat(job.start).date()
        self._definitions = build_beiwe_definitions(
            [StudyConfig(job.study, key=KEY, start=start)],
            deployments={DEPLOYMENT: self.resource},
            automation=Automation(changes_seconds=0, histories_seconds=0),
        )
        self._repository = self._definitions.get_repository_def()
        specs = self._definitions.resolve_all_asset_specs()
        found = (Study.from_metadata(spec.metadata) for spec in specs if spec.key.path[-1] == "raw_data")
        (self.study,) = filter(None, found)

    @property
    def participants(self) -> Sequence[str]:
        return self.instance.get_dynamic_partitions(participants_name(self.study.id))

    @property
    def windows(self) -> list[Window]:
        return study_windows(self.study, now=datetime.now(timezone.utc))

    def tick(self, name: str) -> list[dg.RunRequest]:
        """Evaluate a sensor once, and keep its cursor; the runs that it requests."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(name),
            resources={DEPLOYMENT: self.resource},
            repository_def=self._repository,
        ) as context:
            result = self._repository.get_sensor_def(f"{KEY}_{name}").evaluate_tick(context)
        self._cursors[name] = result.cursor
        for request in result.dynamic_partitions_requests or ():
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return list(result.run_requests or ())

    def schedule(self, name: str) -> list[dg.RunRequest]:
        """The runs that a schedule requests now."""
        moment = datetime.now(timezone.utc)
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=moment, repository_def=self._repository
        ) as context:
            found = self._repository.get_schedule_def(f"{KEY}_{name}").evaluate_tick(context).run_requests
        return list(found or ())

    def materialize(self, *names: str, tags: Mapping[str, str] | None = None) -> None:
        result = execute(self._definitions, self.instance, [self.study.asset_key(name) for name in names], tags=tags)
        assert result.success, names

    def launch(self, requests: Sequence[dg.RunRequest], *, of: str) -> int:
        """Run what was requested, of the asset that the requests are about unless they say so themselves."""
        for request in requests:
            keys = list(request.asset_selection or [self.study.asset_key(of)])
            assert execute(self._definitions, self.instance, keys, tags=request.tags).success, keys
        return len(requests)

    def job(self, name: str) -> None:
        """Run a job of the study."""
        job = self._repository.get_job(f"{KEY}_{name}")
        result = job.execute_in_process(instance=self.instance, run_config=_QUIET, raise_on_error=False)
        assert result.success, name


def _tables(project: Project) -> Facts:
    """What the daily schedule fetches about the study, and everybody who is new becomes a partition."""
    project.launch(project.schedule("refresh")[:1], of="roster")
    project.tick("participants")
    return {}


def _backfill(project: Project, *, number: int) -> Facts:
    """One run of a first backfill; ``runs`` says how many there are."""
    windows = tuple(window.key for window in project.windows)
    runs = list(Rectangle(tuple(project.participants), windows).split(PARTITIONS_PER_RUN))
    project.materialize("raw_data", tags=runs[number].tags)
    return {"runs": len(runs)}


def _changes(project: Project) -> Facts:
    """What the sensor that follows the counts does: it looks, and fetches what changed."""
    requests = [request for request in project.tick("changes") if request.job_name != f"{KEY}_checks"]
    return {"runs": project.launch(requests, of="raw_data")}


def _histories(project: Project) -> Facts:
    """What phones reported, of everybody who is due."""
    runs = 0
    while requests := project.tick("histories"):
        runs += project.launch(requests, of="participant")
    return {"runs": runs}


def _checks(project: Project) -> Facts:
    """The daily checks, and the tables that are made from manifests."""
    project.job("checks")
    return {}


def _audit(project: Project, *, newest: bool) -> Facts:
    """Compare everything, or the newest weeks, by hash."""
    windows = project.windows[-NEWEST_WEEKS if newest else 0 :]
    cells = [Cell(participant, window) for participant in project.participants for window in windows]
    lake = project.resource.study_lake(project.study)
    with project.resource.get_client() as client:
        found = list(StudySync(client, lake, run_id="audit", policy=project.policy).compare(cells))
    assert {each.outcome for each in found} == {"equal"}, {each.outcome for each in found}
    return {"windows": len(found)}


STEPS: Mapping[str, Callable[..., Facts]] = {
    "tables": _tables,
    "backfill": _backfill,
    "changes": _changes,
    "histories": _histories,
    "checks": _checks,
    "audit": _audit,
}


@contextmanager
def project(job: Job) -> Iterator[Callable[[Facts], Facts]]:
    """What takes the steps: each is an entry of ``STEPS`` with its options."""
    limits = partial(FetchPolicy, request_bytes=job.request_bytes, registry_bytes=job.registry_bytes)
    with mock.patch.object(raw_data, "FetchPolicy", limits), history({}) as instance:
        built = Project(job, instance)

        def take(step: Facts) -> Facts:
            options, found = dict(step), Facts()
            with measured(found, anew=True):
                found |= STEPS[options.pop("step")](built, **options)
            return found

        yield take


def main() -> None:
    with project(Job(**json.loads(sys.stdin.readline()))) as take:
        for line in sys.stdin:
            print(json.dumps(take(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
