"""The sensor that follows the server's counts: one request per study, and runs for exactly the windows that changed.

The request asks for each participant's total, which is small. Counts per day are requested only for participants whose
total changed, in batches: for a study of 500 participants, they are 100 MB a year.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import partial

import dagster as dg

from dagster_beiwe.automation.changes import (
    LOOK_SECONDS,
    ChangesCursor,
    Grid,
    Held,
    Look,
    choose_runs,
    commit_fingerprints,
    look_for_changes,
)
from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.automation.requested import not_requested, request_tag
from dagster_beiwe.automation.study_runs import (
    CHANGES_TAG,
    REQUEST_TAG,
    busy_cells,
    last_requests,
    newest_recorded,
    recorded_cells,
)
from dagster_beiwe.cells import CellKey
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.lake.catalog.opening import Opening
from dagster_beiwe.partitions.definitions import participants_name, study_windows
from dagster_beiwe.partitions.rectangles import Rectangle
from dagster_beiwe.resource import resource_of
from dagster_beiwe.retries import CHANGE_REQUESTED_AGAIN_SECONDS, HTTP_IN_SENSORS
from dagster_beiwe.runs.dagster_private import ANONYMOUS_ASSET_JOB_PREFIX, AssetJob
from dagster_beiwe.studies.server_counts import DatedZone, batches, counts_around, find_zone, zone_tag
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone

CHECK_SECONDS = 600
"""How often the sensor checks whether runs are over and checks are due. This sends no request."""

_LOGS: dict[str, Opening] = {}
"""Logs that this process has read, by study."""


def build_changes_sensor(
    study: Study,
    raw_data: dg.AssetsDefinition,
    checks: AssetJob,
    *,
    interval_seconds: int = 3600,
    running: bool = False,
) -> dg.SensorDefinition:
    """Requests the windows whose counts changed since they were committed, and the job ``checks`` when all runs are
    over.

    The server counts about once an hour, so asking it more often finds nothing more. In between, and if there is more
    to do than fits into one evaluation, the sensor continues every ten minutes.
    """

    windows = dg.define_asset_job(_windows_job(study), selection=[raw_data])

    @dg.sensor(
        name=f"{study.key}_changes",
        jobs=[checks, windows],
        minimum_interval_seconds=min(interval_seconds, CHECK_SECONDS),
        required_resource_keys={study.config.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=f"Fetches the windows of {study.title} whose data is late, restated, or deleted upstream.",
    )
    def changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        evaluation = _Evaluation(context, study)
        if not evaluation.grid.participants:
            reason = dg.SkipReason("No participant is a partition yet: materialize the roster.")
            return dg.SensorResult(skip_reason=reason, cursor=evaluation.cursor.to_text())
        outcome = evaluation.outcome(interval_seconds)
        requests, busy = list(outcome.requests), evaluation.busy
        recorded = newest_recorded(context.instance, study)
        unchecked = outcome.cursor.unchecked or bool(requests or busy) or recorded != evaluation.cursor.recorded
        if unchecked and not (requests or busy or outcome.waiting):
            requests.append(dg.RunRequest(run_key=f"checks {evaluation.now.isoformat()}", job_name=checks.name))
            unchecked = False
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if requests else dg.SkipReason(f"{outcome.text} {len(busy)} windows are already in runs."),
            cursor=replace(outcome.cursor, unchecked=unchecked, recorded=recorded).to_text(),
        )

    return changes


def _windows_job(study: Study) -> str:
    """The job of the runs of raw data, which Dagster does not list: nobody launches a backfill from it."""
    return f"{ANONYMOUS_ASSET_JOB_PREFIX}_{study.key}_changes"


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What the server was found to have: the cursor to continue with, a summary, and runs to request or to wait."""

    cursor: ChangesCursor
    text: str
    requests: tuple[dg.RunRequest, ...] = ()
    waiting: int = 0


class _Evaluation:
    """One evaluation of the sensor."""

    def __init__(self, context: dg.SensorEvaluationContext, study: Study) -> None:
        self._log, self._instance, self._study = context.log, context.instance, study
        self._resource = resource_of(context, study)
        self._started = time.monotonic()
        self.now = datetime.now(timezone.utc)
        self.cursor = ChangesCursor.from_text(context.cursor)
        self.grid = Grid(
            participants=self._instance.get_dynamic_partitions(participants_name(study.id)),
            windows=study_windows(study, now=self.now),
            streams=study.config.streams,
            today=self.now.date(),
        )
        self.busy = set(busy_cells(self._instance, study, self.grid))

    def outcome(self, interval_seconds: int) -> _Outcome:
        """What the server has, if it is time to ask it."""
        early = min(interval_seconds, CHECK_SECONDS) / 2  # evaluations are never exactly an hour apart
        if not self.cursor.next and self.now.timestamp() - self.cursor.looked_at < interval_seconds - early:
            return _Outcome(cursor=self.cursor, text=f"The server is asked again after {interval_seconds} s.")
        found = self._ask()
        if found.waiting:
            self._log.info("%s %d runs wait for the next evaluation.", found.text, found.waiting)
        return found

    def _ask(self) -> _Outcome:
        lake = _opened(self._resource.study_lake(self._study))
        with self._resource.get_client(policy=HTTP_IN_SENSORS) as client:
            zone = self._find_zone(client)
            try:
                look = self._look(client, lake, zone)
            except RouteMissingError:
                text = (
                    "This server is older than June 2024 and does not count bytes per day. Instead, the schedule "
                    f"fetches the newest {self._study.config.refresh_windows} windows of every participant again."
                )
                return _Outcome(cursor=replace(self.cursor, up_to_date={}, older={}, next=""), text=text)
        return self._choose(look, lake, zone)

    def _find_zone(self, client: BeiweClient) -> StudyZone:
        """The study's time zone, which the cursor remembers from now on."""
        cursor = self.cursor
        known = StudyZone.from_texts(cursor.zone, cursor.zone_source, cursor.former_zones)
        remembered = DatedZone(zone=known, at=cursor.zone_at) if known else None
        dated = find_zone(self._study, self._instance, client, remembered=remembered)
        self.cursor = replace(
            cursor,
            zone=dated.zone.name,
            zone_source=dated.zone.source,
            former_zones=dated.zone.former,
            zone_at=dated.at,
            looked_at=self.now.timestamp(),
        )
        return dated.zone

    def _look(self, client: BeiweClient, lake: StudyLake, zone: StudyZone) -> Look:
        """Find what changed, as far as time permits. Raises ``RouteMissingError`` if the server counts nothing."""
        study = self._study
        totals = _totals(client, study)
        grid = replace(self.grid, streams=client.choose_streams(study.id, study.config.streams))
        fingerprints: Mapping[str, str] = {}
        older = None
        if totals is not None:
            older = partial(grid.older_fingerprint, totals, zone.name)
            fingerprints = grid.counts_fingerprints(totals, zone=zone.name, held=commit_fingerprints(lake))
        return look_for_changes(
            grid,
            lambda batch, windows: counts_around(client, study, zone, windows, participants=batch),
            partial(Held.of, lake),
            fingerprints=fingerprints,
            cursor=self.cursor,
            older_fingerprint=older,
            batches=lambda people, windows: batches(people, days=(windows[-1].end - windows[0].start).days),
            busy=self.busy,
            is_recorded=recorded_cells(self._instance, study),
            seconds=LOOK_SECONDS - (time.monotonic() - self._started),
        )

    def _choose(self, look: Look, lake: StudyLake, zone: StudyZone) -> _Outcome:
        """The runs to request for what changed and was not requested lately."""
        since = self.now - timedelta(seconds=CHANGE_REQUESTED_AGAIN_SECONDS)
        latest = last_requests(self._instance, self._study, self.grid, since=since) if look.dirty else {}
        changes = not_requested(look.dirty, latest)
        choice = choose_runs(self.grid, changes, start=self.cursor.next, largest=PARTITIONS_PER_RUN)
        record = max(lake.state.number, 0)
        stopped_at = str(CellKey(look.stopped_at, "")) if look.stopped_at else ""
        return _Outcome(
            cursor=replace(self.cursor, up_to_date=look.up_to_date, older=look.older, next=choice.next or stopped_at),
            text=f"{len(look.dirty)} windows changed; {look.looked_at} participants checked, {len(look.up_to_date)} up "
            "to date.",
            requests=tuple(self._request(run, zone, request_tag(run, changes, record=record)) for run in choice.runs),
            waiting=choice.waiting,
        )

    def _request(self, run: Rectangle, zone: StudyZone, changes: str) -> dg.RunRequest:
        """A run of raw data. Its key is new each time: tags already rule out what was requested lately."""
        return dg.RunRequest(
            job_name=_windows_job(self._study),
            run_key=f"{run.range} {self.now.isoformat()}",
            tags={**run.tags, **zone_tag(zone), REQUEST_TAG: self._study.id, CHANGES_TAG: changes},
            asset_selection=[self._study.asset_key("raw_data")],
            asset_check_keys=[],
        )


def _totals(client: BeiweClient, study: Study) -> Mapping[str, Mapping[str, int]] | None:
    """Each participant's totals by stream; None if the server has none (before July 2024)."""
    try:
        return client.data_quantities(study.id)
    except RouteMissingError:
        return None


def _opened(lake: StudyLake) -> StudyLake:
    """The newest state. Its log continues from what this process has read before, so that a look is two requests."""
    if (before := _LOGS.get(lake.study_id)) is not None:
        lake.log.take_over(before)
    _LOGS[lake.study_id] = lake.log
    return lake.at()
