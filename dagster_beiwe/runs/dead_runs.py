"""Runs whose process died without a word: Dagster shows them as running, and counts them, for ever.

Dagster notices the death of a run that a living code server or a container engine has launched. Of any other (started
with ``dagster asset materialize``, with ``dg launch``, or by a code server that died as well) nobody tells it. So each
process that works for a run says in the run's log which one it is, and whoever sees that it is gone ends the run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Final, TypeAlias

import dagster as dg

from dagster_beiwe.processes import Worker
from dagster_beiwe.runs.dagster_private import DefaultRunLauncher, EngineEventData

_WORKER: Final = "beiwe worker"
_STEPS: Final = "step_keys"
"""What only Dagster's in-process and multiprocess executors say about themselves."""
_SILENT = timedelta(minutes=6)
"""A run that waits for a pool says so every five minutes."""
_SILENT_LOOKS = 8

IsSilent: TypeAlias = Callable[[dg.DagsterRun, "dg.EventLogRecord | None"], bool]
"""Whether nothing has come from a run for longer than a living one is silent, by the newest entry in its log."""

_OPEN = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_marked: set[str] = set()


def mark_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Say in a run's log which process this is; once, however often it is called."""
    if run.run_id in _marked:
        return
    _marked.add(run.run_id)
    worker = Worker.here()
    instance.report_engine_event(
        f"Working for this run on {worker.host}: process {' of '.join(map(str, worker.processes))}.",
        run,
        EngineEventData(metadata={_WORKER: dg.MetadataValue.text(worker.to_text())}),
    )


def is_silent_by_clock(run: dg.DagsterRun, newest: dg.EventLogRecord | None) -> bool:  # noqa: ARG001 - the form
    """For somebody who looks once, on a machine whose clock agrees with the run's."""
    said_at = newest.event_log_entry.timestamp if newest else 0.0
    return said_at < (datetime.now(timezone.utc) - _SILENT).timestamp()


class SilentLooks:
    """Counts the looks in a row at which a run had nothing new in its log, for somebody who looks every minute.

    No clock is asked: those of two machines may differ, and a laptop that slept has missed nothing.
    """

    def __init__(self, text: str | None) -> None:
        try:
            self._before = {
                str(run_id): (int(newest), int(looks)) for run_id, (newest, looks) in json.loads(text or "{}").items()
            }
        except (ValueError, TypeError, AttributeError):
            self._before = {}  # counting begins anew
        self._now: dict[str, tuple[int, int]] = {}

    def __call__(self, run: dg.DagsterRun, newest: dg.EventLogRecord | None) -> bool:
        said = newest.storage_id if newest else 0
        known, looks = self._before.get(run.run_id, (said, 0))
        looks = looks + 1 if said == known else 1
        self._now[run.run_id] = (said, looks)
        return looks >= _SILENT_LOOKS

    def to_text(self) -> str:
        return json.dumps(self._now)


def end_dead_runs(instance: dg.DagsterInstance, *, is_silent: IsSilent = is_silent_by_clock) -> list[str]:
    """End the runs whose processes are gone, and give back what they hold in pools; returns their ids.

    Only runs in which this package has a part, and only where it is certain.
    """
    dead = list(dead_runs(instance, is_silent=is_silent))
    ended = [run.run_id for run in dead if _end(instance, run)]
    for run_id in ended:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return ended


def dead_runs(instance: dg.DagsterInstance, *, is_silent: IsSilent = is_silent_by_clock) -> Iterator[dg.DagsterRun]:
    """Runs that Dagster shows as running and that certainly are not."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=list(_OPEN))):
        workers = list(_workers(instance, run))
        if workers:
            gone = all(worker and worker.is_gone() for worker in workers)
        else:
            gone = _never_began(instance, run, is_silent)
        if gone and _is_on_one_machine(instance, run):
            yield run


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the run was still open; it may have ended by itself before its process did."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status not in _OPEN:
        return False
    if now.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, "The process of this run is gone.")
    else:
        instance.report_run_failed(now, "The process of this run is gone: it was killed, or its machine went down.")
    return True


def _workers(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Worker | None]:
    """The processes that have worked for a run; None for those that another version describes in its own way."""
    for log in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        value = log.dagster_event.engine_event_data.metadata.get(_WORKER) if log.dagster_event else None
        if isinstance(value, dg.TextMetadataValue) and value.text:
            try:
                yield Worker.from_text(value.text)
            except ValueError:
                yield None


def _is_on_one_machine(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run is, with its steps, in one process and those that this one has made.

    Other executors (of Kubernetes, Docker, Celery) have their steps elsewhere: a step may wait for its place for hours,
    and its process may have ended while the run goes on.
    """
    logs = iter(instance.all_logs(run.run_id))
    for log in logs:  # what comes before the start is about how the run was launched
        if log.dagster_event_type == dg.DagsterEventType.PIPELINE_START:
            break
    told = [
        log.dagster_event.engine_event_data.metadata
        for log in logs
        if log.dagster_event and log.dagster_event_type == dg.DagsterEventType.ENGINE_EVENT
    ]
    return not told or any(_STEPS in metadata for metadata in told)


def _never_began(instance: dg.DagsterInstance, run: dg.DagsterRun, is_silent: IsSilent) -> bool:
    """Whether a run of ours was killed before its first step: nothing comes from it any more.

    Launchers of containers notice that themselves, and a first step may wait long for a container of its own.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return False
    ours = any(key.path[0] == "beiwe" for key in run.asset_selection or ())
    if not ours and not any(tag.startswith("beiwe/") for tag in run.tags):
        return False
    newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    silent = is_silent(run, newest[0] if newest else None)
    return silent and not instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
