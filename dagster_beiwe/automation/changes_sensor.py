"""The sensor that follows the server's counts: one request a study, and runs for exactly the windows that moved.

The request asks for each participant's total, which is small. Only for participants whose total has moved, others ask
for the counts per day: those of a study of 500 participants are 100 MB a year, so they are asked for in batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial

import dagster as dg

from dagster_beiwe.assets import StudyAssets
from dagster_beiwe.automation.changes import (
    LOOK_SECONDS,
    ChangesCursor,
    Choice,
    Grid,
    Held,
    Look,
    choose_runs,
    commit_fingerprints,
    look_for_changes,
)
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.automation.requested import Request, latest_requests, not_requested, request_tag
from dagster_beiwe.automation.schedules import checks_request, checks_target
from dagster_beiwe.cells import CellKey
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.retries import CHANGE_REQUESTED_AGAIN_SECONDS, HTTP_IN_SENSORS
from dagster_beiwe.runs.dagster_private import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG
from dagster_beiwe.studies.server_counts import ToldZone, batches, counts_around, find_zone, zone_tag
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone

REQUEST_TAG = "beiwe/request"
"""Tag of a run that the sensor requested: the study's id."""

CHANGES_TAG = "beiwe/changes"
"""Tag of the same run: what each of its windows was requested for, so that none is soon requested again for that."""

CHECK_SECONDS = 600
"""How often the sensor looks whether runs are over and checks are due. That asks nothing from the server."""

_OPEN = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

_BELIEVED = timedelta(hours=24)
"""A run whose process died may be shown as running for ever: after this time its windows are requested again."""


_LOGS: dict[str, Opening] = {}
"""Logs that this process has read, by study."""


def build_changes_sensor(
    study: Study,
    assets: StudyAssets,
    checks: dg.AssetChecksDefinition,
    *,
    interval_seconds: int = 3600,
    running: bool = False,
) -> dg.SensorDefinition:
    """Requests the windows whose counts moved since they were committed; when all runs are over, the checks.

    The server counts anew about every hour, so asking it more than once an hour finds nothing more. In between, and
    where there is more to do than fits into one evaluation, the sensor goes on every ten minutes.
    """

    raw_data, summaries = assets.raw_data, assets.summaries

    @dg.sensor(
        name=f"{study.key}_changes",
        target=dg.AssetSelection.assets(raw_data).without_checks() | checks_target(summaries, checks),
        minimum_interval_seconds=min(interval_seconds, CHECK_SECONDS),
        required_resource_keys={study.config.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=f"Late, restated and deleted data of {study.title}: fetches exactly the windows that moved.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(timezone.utc)
        cursor = ChangesCursor.from_text(context.cursor)
        grid = Grid(
            participants=context.instance.get_dynamic_partitions(participants_name(study.id)),
            windows=study_windows(study, now=now),
            streams=study.config.streams,
            today=now.date(),
        )
        if not grid.participants:
            reason = dg.SkipReason("No participant is a partition yet: materialise the roster.")
            return dg.SensorResult(skip_reason=reason, cursor=cursor.to_text())
        busy = set(busy_cells(context.instance, raw_data.key, grid))
        outcome = _Outcome(cursor, f"The server is asked again when {interval_seconds} s are over.")
        early = min(interval_seconds, CHECK_SECONDS) / 2  # evaluations are never exactly an hour apart
        if cursor.next or now.timestamp() - cursor.looked_at >= interval_seconds - early:
            resource: BeiweResource = getattr(context.resources, study.config.deployment)
            outcome = _look(context.instance, resource, study, raw_data.key, grid, cursor, busy, now=now)
        if outcome.waiting:
            context.log.info("%s %d runs wait for the next evaluation.", outcome.text, outcome.waiting)
        recorded = _newest_recorded(context.instance, raw_data.key)
        unchecked = outcome.cursor.unchecked or bool(outcome.requests or busy) or recorded != cursor.recorded
        requests = list(outcome.requests)
        if unchecked and not (requests or busy or outcome.waiting):
            requests.append(checks_request(summaries, checks, run_key=f"checks {now.isoformat()}"))
            unchecked = False
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if requests else dg.SkipReason(f"{outcome.text} {len(busy)} windows are in runs already."),
            cursor=replace(outcome.cursor, unchecked=unchecked, recorded=recorded).to_text(),
        )

    return changes


@dataclass(frozen=True)
class _Outcome:
    """What came of asking the server: the cursor to go on with, words for it, requests, and how many runs wait."""

    cursor: ChangesCursor
    text: str
    requests: tuple[dg.RunRequest, ...] = ()
    waiting: int = 0


def _look(
    instance: dg.DagsterInstance,
    resource: BeiweResource,
    study: Study,
    raw_data: dg.AssetKey,
    grid: Grid,
    cursor: ChangesCursor,
    busy: Collection[CellKey],
    *,
    now: datetime,
) -> _Outcome:
    """Ask the server what moved, as far as the time goes."""
    started = time.monotonic()
    lake = _opened(resource.study_lake(study))
    known = StudyZone.from_texts(cursor.zone, cursor.zone_source, cursor.former_zones)
    with resource.get_client(policy=HTTP_IN_SENSORS) as client:
        told = find_zone(study, instance, client, remembered=ToldZone(zone=known, at=cursor.zone_at) if known else None)
        totals = _totals(client, study)
        grid = replace(grid, streams=client.choose_streams(study.id, study.config.streams))
        fingerprints = (
            {}
            if totals is None
            else grid.counts_fingerprints(totals, zone=told.zone.name, held=commit_fingerprints(lake))
        )
        cursor = replace(
            cursor,
            zone=told.zone.name,
            zone_source=told.zone.source,
            former_zones=told.zone.former,
            zone_at=told.at,
            looked_at=now.timestamp(),
        )
        try:
            look = look_for_changes(
                grid,
                lambda batch: counts_around(client, study, told.zone, grid.windows, participants=batch),
                partial(Held.of, lake),
                fingerprints=fingerprints,
                cursor=cursor,
                batches=partial(batches, days=grid.days),
                busy=busy,
                is_recorded=_recorded_windows(instance, raw_data),
                seconds=LOOK_SECONDS - (time.monotonic() - started),
            )
        except RouteMissingError:
            text = (
                "This server does not count bytes per day (it is older than June 2024). The schedule fetches the "
                f"newest {study.config.refresh_windows} windows of everybody again instead."
            )
            return _Outcome(replace(cursor, up_to_date={}, next=""), text)
    latest = (
        _latest_requests(instance, study, grid, since=now - timedelta(seconds=CHANGE_REQUESTED_AGAIN_SECONDS))
        if look.dirty
        else {}
    )
    changes = not_requested(look.dirty, latest)
    choice = choose_runs(grid, changes, start=cursor.next, largest=PARTITIONS_PER_RUN)
    tag = partial(request_tag, changes=changes, record=max(lake.state.number, 0))
    request = partial(_request, study=study, tag=tag, raw_data=raw_data, zone=told.zone, now=now)
    return _outcome(look, choice, cursor, tuple(map(request, choice.runs)))


def _outcome(look: Look, choice: Choice, cursor: ChangesCursor, requests: tuple[dg.RunRequest, ...]) -> _Outcome:
    return _Outcome(
        cursor=replace(
            cursor,
            up_to_date=look.up_to_date,
            next=choice.next or (str(CellKey(look.stopped_at, "")) if look.stopped_at else ""),
        ),
        text=f"{len(look.dirty)} windows moved; {look.looked_at} participants looked at, "
        f"{len(look.up_to_date)} up to date.",
        requests=requests,
        waiting=choice.waiting,
    )


def _request(
    run: Rectangle,
    *,
    study: Study,
    tag: Callable[[Rectangle], str],
    raw_data: dg.AssetKey,
    zone: StudyZone,
    now: datetime,
) -> dg.RunRequest:
    """A run of raw data. Its key is new each time: what was requested lately is left out by its tags."""
    return dg.RunRequest(
        run_key=f"{run.range} {now.isoformat()}",
        tags={**run.tags, **zone_tag(zone), REQUEST_TAG: study.id, CHANGES_TAG: tag(run)},
        asset_selection=[raw_data],
        asset_check_keys=[],
    )


def _totals(client: BeiweClient, study: Study) -> Mapping[str, Mapping[str, int]] | None:
    """Each participant's totals by stream; None where the server can't tell them (before July 2024)."""
    try:
        return client.data_quantities(study.id)
    except RouteMissingError:
        return None


def _opened(lake: StudyLake) -> StudyLake:
    """The newest state; its log goes on from what this process has read before, so that a look is two requests."""
    if (before := _LOGS.get(lake.study_id)) is not None:
        lake.log.take_over(before)
    _LOGS[lake.study_id] = lake.log
    return lake.at()


def _recorded_windows(instance: dg.DagsterInstance, raw_data: dg.AssetKey) -> Callable[[CellKey], bool]:
    """Whether Dagster knows a window as materialised: not if it was committed by a run that died before it said so, or
    outside of Dagster. Asked from Dagster once, and only if anybody is looked at."""
    known: list[Collection[str]] = []

    def is_recorded(cell: CellKey) -> bool:
        if not known:
            known.append(instance.get_materialized_partitions(raw_data))
        return str(cell) in known[0]

    return is_recorded


def _newest_recorded(instance: dg.DagsterInstance, raw_data: dg.AssetKey) -> str:
    """Names the newest event of raw data, whoever ran it; empty if there is none."""
    event = instance.get_latest_materialization_event(raw_data)
    return f"{event.run_id[:8]} {event.timestamp}" if event else ""


def _latest_requests(
    instance: dg.DagsterInstance, study: Study, grid: Grid, *, since: datetime
) -> dict[CellKey, Request]:
    """What each window was last requested for since then."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={REQUEST_TAG: study.id}, created_after=since))
    return latest_requests((_rectangle(run, grid), run.tags.get(CHANGES_TAG, "")) for run in runs)


def busy_cells(instance: dg.DagsterInstance, raw_data: dg.AssetKey, grid: Grid) -> Iterator[CellKey]:
    """Participants and windows of runs of ``raw_data`` that wait or run: what they will do need not be requested."""
    since = datetime.now(timezone.utc) - _BELIEVED
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_OPEN, updated_after=since)):
        if not run.asset_selection or raw_data in run.asset_selection:
            yield from _rectangle(run, grid).cells()


def _rectangle(run: dg.DagsterRun, grid: Grid) -> Rectangle:
    """What a run is about; an empty rectangle where that is another study's."""
    single = run.tags.get(PARTITION_TAG, "")
    first, last = (run.tags.get(tag) or single for tag in (RANGE_START_TAG, RANGE_END_TAG))
    begin, end = CellKey.parse(first), CellKey.parse(last)
    return Rectangle(
        _between(grid.participants, begin.participant, end.participant),
        _between([window.key for window in grid.windows], begin.window, end.window),
    )


def _between(order: Sequence[str], first: str, last: str) -> tuple[str, ...]:
    """The part of an order from one name to another; nothing where they are another study's."""
    if first not in order or last not in order:
        return ()
    return tuple(order[order.index(first) : order.index(last) + 1])
