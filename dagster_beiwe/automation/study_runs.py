"""What Dagster knows about runs of a study's raw data: which wait or run, what they were for, what they did."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg

from dagster_beiwe.automation.changes import Grid
from dagster_beiwe.automation.requested import Request, latest_requests
from dagster_beiwe.cells import CellKey
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.runs.dagster_private import HIDDEN_TAG_PREFIX, PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from dagster_beiwe.studies.study import Study

REQUEST_TAG = f"{HIDDEN_TAG_PREFIX}beiwe_request"
"""Tag of a run that the sensor requested: the study's id."""

CHANGES_TAG = f"{HIDDEN_TAG_PREFIX}beiwe_changes"
"""Tag of such a run: what each of its windows was requested for, so that none is soon requested again for that."""

_OPEN = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

_BELIEVED = timedelta(hours=24)
"""A run whose process died may be shown as running forever. After this time, its windows are requested again."""


def busy_cells(instance: dg.DagsterInstance, study: Study, grid: Grid) -> Iterator[CellKey]:
    """The cells of runs of ``raw_data`` that wait or run. They need not be requested."""
    raw_data, since = study.asset_key("raw_data"), datetime.now(timezone.utc) - _BELIEVED
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_OPEN, updated_after=since)):
        if not run.asset_selection or raw_data in run.asset_selection:
            yield from _rectangle(run, grid).cells()


def last_requests(instance: dg.DagsterInstance, study: Study, grid: Grid, *, since: datetime) -> dict[CellKey, Request]:
    """What each window was last requested for since a time."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={REQUEST_TAG: study.id}, created_after=since))
    return latest_requests((_rectangle(run, grid), run.tags.get(CHANGES_TAG, "")) for run in runs)


def recorded_cells(instance: dg.DagsterInstance, study: Study) -> Callable[[CellKey], bool]:
    """Whether Dagster has recorded a window. It has not if the window was committed outside of Dagster, or by a run
    that died before it could say so. Dagster is asked once, when the first window is."""
    known: list[Collection[str]] = []

    def is_recorded(cell: CellKey) -> bool:
        if not known:
            known.append(instance.get_materialized_partitions(study.asset_key("raw_data")))
        return str(cell) in known[0]

    return is_recorded


def newest_recorded(instance: dg.DagsterInstance, study: Study) -> str:
    """Names the newest event of raw data, whichever run it is of; empty if there is none."""
    event = instance.get_latest_materialization_event(study.asset_key("raw_data"))
    return f"{event.run_id[:8]} {event.timestamp}" if event else ""


def _rectangle(run: dg.DagsterRun, grid: Grid) -> Rectangle:
    """What a run is about; empty if that is another study's."""
    single = run.tags.get(PARTITION_TAG, "")
    first, last = (CellKey.parse(run.tags.get(tag) or single) for tag in (RANGE_START_TAG, RANGE_END_TAG))
    return Rectangle(
        _between(grid.participants, first.participant, last.participant),
        _between([window.key for window in grid.windows], first.window, last.window),
    )


def _between(order: Sequence[str], first: str, last: str) -> tuple[str, ...]:
    """The part of an order from one name to another; empty if it lacks one of them."""
    if first not in order or last not in order:
        return ()
    return tuple(order[order.index(first) : order.index(last) + 1])
