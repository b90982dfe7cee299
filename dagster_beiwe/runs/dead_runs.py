"""Runs whose process died silently: Dagster shows them as running, and counts them, forever.

Dagster notices the death of a run if the code server or container engine that launched it is alive. It does not notice
any other: one started with ``dagster asset materialize`` or ``dg launch``, or by a code server that died as well. So
each process that works for a run says in the run's log which process it is, and the run is ended when it is gone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Final, TypeAlias

import dagster as dg

from dagster_beiwe.processes import Worker
from dagster_beiwe.runs.dagster_private import HIDDEN_TAG_PREFIX, DefaultRunLauncher, EngineEventData
from dagster_beiwe.typed_json import read_json

_WORKER: Final = "beiwe worker"
_STEPS: Final = "step_keys"
"""Metadata that only Dagster's in-process and multiprocess executors log."""
_SILENT = timedelta(minutes=6)
"""A run that waits for a pool logs it every five minutes."""
_SILENT_LOOKS = 8

IsSilent: TypeAlias = Callable[[dg.DagsterRun, "dg.EventLogRecord | None"], bool]
"""Whether a run has logged nothing for longer than a living one would, by the newest entry in its log."""

_OPEN = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
_marked: set[str] = set()


def mark_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Log in a run which process works for it; once per process."""
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
    """For a single look, on a machine whose clock agrees with that of the run."""
    said_at = newest.event_log_entry.timestamp if newest else 0.0
    return said_at < (datetime.now(timezone.utc) - _SILENT).timestamp()


class SilentLooks:
    """Counts how many looks in a row found nothing new in a run's log, for a look every minute.

    It uses no clock: those of two machines may differ, and a laptop that was asleep has missed nothing.
    """

    def __init__(self, text: str | None) -> None:
        self._before = read_json(text or "{}", dict[str, tuple[int, int]]) or {}  # or counting starts over
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
    """End runs whose processes are gone, free their slots in pools, and return their ids.

    Only runs that this package has a part in are ended, and only if it is certain that they are dead.
    """
    dead = list(dead_runs(instance, is_silent=is_silent))
    ended = [run.run_id for run in dead if _end(instance, run)]
    for run_id in ended:
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)
    return ended


def dead_runs(instance: dg.DagsterInstance, *, is_silent: IsSilent = is_silent_by_clock) -> Iterator[dg.DagsterRun]:
    """Runs that Dagster shows as running although they certainly are not."""
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=list(_OPEN))):
        workers = list(_workers(instance, run))
        if workers:
            gone = all(worker and worker.is_gone() for worker in workers)
        else:
            gone = _never_began(instance, run, is_silent)
        if gone and _is_on_one_machine(instance, run):
            yield run


def _end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """End a run, and return whether it was still open: it may have ended before its process did."""
    now = instance.get_run_by_id(run.run_id)
    if now is None or now.status not in _OPEN:
        return False
    if now.status == dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(now, "The process of this run is gone.")
    else:
        instance.report_run_failed(now, "The process of this run is gone: it was killed, or its machine went down.")
    return True


def _workers(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Worker | None]:
    """The processes that worked for a run; None for each that another version of this package described differently."""
    for log in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        value = log.dagster_event.engine_event_data.metadata.get(_WORKER) if log.dagster_event else None
        if isinstance(value, dg.TextMetadataValue) and value.text:
            yield read_json(value.text, Worker)


def _is_on_one_machine(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether a run and its steps are in one process and its children.

    Other executors (Kubernetes, Docker, Celery) run steps elsewhere: a step may wait for hours, and its process may
    have ended while the run continues.
    """
    logs = iter(instance.all_logs(run.run_id))
    for log in logs:  # what comes before the start is about how the run was launched
        if log.dagster_event_type == dg.DagsterEventType.PIPELINE_START:
            break
    engine = [
        log.dagster_event.engine_event_data.metadata
        for log in logs
        if log.dagster_event and log.dagster_event_type == dg.DagsterEventType.ENGINE_EVENT
    ]
    return not engine or any(_STEPS in metadata for metadata in engine)


def _never_began(instance: dg.DagsterInstance, run: dg.DagsterRun, is_silent: IsSilent) -> bool:
    """Whether a run of this package was killed before its first step, so that nothing more comes from it.

    Launchers of containers notice that themselves, and there a first step may wait long for its container.
    """
    if not isinstance(instance.run_launcher, DefaultRunLauncher):
        return False
    ours = any(key.path[0] == "beiwe" for key in run.asset_selection or ())
    if not ours and not any(tag.startswith(("beiwe/", f"{HIDDEN_TAG_PREFIX}beiwe_")) for tag in run.tags):
        return False
    newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    silent = is_silent(run, newest[0] if newest else None)
    return silent and not instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
