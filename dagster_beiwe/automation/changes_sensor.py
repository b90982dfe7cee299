"""The sensor that follows the server's counts: one request a study, and runs for exactly the windows that moved.

The request asks for each participant's total, which is small. Only for participants whose total has moved, a second one
asks for the counts per day: those of a study of 500 participants are 100 MB a year.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone

import dagster as dg

from dagster_beiwe.automation.changes import RETRY_SECONDS, ChangesCursor, Grid, choose_runs, look_for_changes, run_key
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN, SENSOR_POLICY
from dagster_beiwe.automation.schedules import checks_request, checks_target
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.covering import Place
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.partitions import RANGE_END_TAG, RANGE_START_TAG, participants_name, study_windows
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.studies.config import StudyFacts
from dagster_beiwe.studies.server_counts import counts_around, known_zone
from dagster_beiwe.studies.time_zones import StudyZone, ask_time_zone
from dagster_beiwe.sync import DailyIndex

PARTITION_TAG = "dagster/partition"

_OPEN = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


_BELIEVED = timedelta(hours=24)
"""A run whose process died may be shown as running for ever: after this time its windows are requested again."""


def build_changes_sensor(
    study: StudyFacts,
    raw_data: dg.AssetsDefinition,
    summaries: Sequence[dg.AssetsDefinition],
    checks: dg.AssetChecksDefinition,
    *,
    interval_seconds: int = 3600,
    running: bool = False,
) -> dg.SensorDefinition:
    """Requests the windows whose counts moved since they were committed; when those runs are over, the checks.

    The server counts anew about every hour, so more than one look an hour finds nothing more.
    """

    @dg.sensor(
        name=f"{study.key}_changes",
        target=dg.AssetSelection.assets(raw_data).without_checks() | checks_target(summaries, checks),
        minimum_interval_seconds=interval_seconds,
        required_resource_keys={study.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=f"Late, changed and vanished data of {study.title}: fetches exactly the windows that moved.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(timezone.utc)
        cursor = ChangesCursor.from_text(context.cursor)
        grid = Grid(
            participants=context.instance.get_dynamic_partitions(participants_name(study.id)),
            windows=study_windows(study, now=now),
            streams=study.streams,
            today=now.date(),
        )
        if not grid.participants:
            return _nothing("No participant is a partition yet: materialise the roster.", cursor)
        resource: BeiweResource = getattr(context.resources, study.deployment)
        lake = resource.study_lake(study)
        with resource.get_client(policy=SENSOR_POLICY) as client:
            zone = (
                known_zone(study, context.instance)
                or StudyZone.from_texts(cursor.zone, cursor.zone_source)
                or ask_time_zone(client, study.id)
            )
            marks = _marks(client, study, grid, zone)
            moved = [each for each in grid.participants if not marks or cursor.settled.get(each) != marks[each]]
            try:
                daily = counts_around(client, study, zone, grid.windows, participants=moved) if moved else None
            except RouteMissingError:
                text = (
                    "This server does not count bytes per day (it is older than June 2024). The schedule fetches the "
                    f"newest {study.refresh_windows} windows of everybody again instead."
                )
                return _nothing(text, ChangesCursor(zone=zone.name, zone_source=zone.source))
        busy = set(busy_places(context.instance, raw_data.key, grid))
        look = look_for_changes(
            grid,
            daily or DailyIndex(zone.zone, {}),
            lambda participant: {key: entry.counted for key, entry in lake.index(participant).items()},
            marks=marks,
            cursor=cursor,
            busy=busy,
        )
        choice = choose_runs(grid, look.dirty, start=cursor.next, largest=PARTITIONS_PER_RUN)
        requests = [
            dg.RunRequest(
                run_key=run_key(run, look.dirty, now=now),
                tags=run.tags,
                asset_selection=[raw_data.key],
                asset_check_keys=[],
            )
            for run in choice.runs
        ]
        check_now = cursor.unchecked and not busy
        if check_now:
            key = f"checks {int(now.timestamp() // RETRY_SECONDS)}"
            requests.append(checks_request(summaries, checks, run_key=key))
        text = (
            f"{len(look.dirty)} windows moved, {len(busy)} are in runs already; {look.looked_at} participants looked "
            f"at, {len(look.settled)} settled."
        )
        if choice.waiting or look.stopped_at:
            context.log.info("%s %d runs wait for the next evaluation.", text, choice.waiting)
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if requests else dg.SkipReason(text),
            cursor=ChangesCursor(
                settled=look.settled,
                next=choice.next or (f"{look.stopped_at}|" if look.stopped_at else ""),
                zone=zone.name,
                zone_source=zone.source,
                unchecked=bool(choice.runs or busy) or (cursor.unchecked and not check_now),
            ).to_text(),
        )

    return changes


def _marks(client: BeiweClient, study: StudyFacts, grid: Grid, zone: StudyZone) -> dict[str, str]:
    """Marks of all participants; none where the server can't tell totals (before July 2024)."""
    try:
        return grid.marks(client.data_quantities(study.id), zone=zone.name)
    except RouteMissingError:
        return {}


def busy_places(instance: dg.DagsterInstance, raw_data: dg.AssetKey, grid: Grid) -> Iterator[Place]:
    """Participants and windows of runs of ``raw_data`` that wait or run: what they will do need not be requested."""
    windows = [window.key for window in grid.windows]
    since = datetime.now(timezone.utc) - _BELIEVED
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=_OPEN, updated_after=since)):
        if run.asset_selection and raw_data not in run.asset_selection:
            continue
        single = run.tags.get(PARTITION_TAG)
        first, last = (run.tags.get(tag) or single for tag in (RANGE_START_TAG, RANGE_END_TAG))
        if first and last:
            (top, _, left), (bottom, _, right) = first.rpartition("|"), last.rpartition("|")
            for participant in _between(grid.participants, top, bottom):
                for window in _between(windows, left, right):
                    yield participant, window


def _between(order: Sequence[str], first: str, last: str) -> Sequence[str]:
    """The part of an order from one name to another; nothing where they are another study's."""
    if first not in order or last not in order:
        return ()
    return order[order.index(first) : order.index(last) + 1]


def _nothing(reason: str, cursor: ChangesCursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=cursor.to_text())
