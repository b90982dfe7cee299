"""What runs by itself: schedules that fetch the newest windows again and check the lake, a sensor for the roster.

All are off until somebody turns them on. They ask for few runs: each is a rectangle of neighbouring participants by
consecutive windows. The sensor that follows the server's counts is in ``changes_sensor``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import dagster as dg

from dagster_beiwe.client import BeiweClient, HttpPolicy
from dagster_beiwe.config import StudyFacts
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.names import is_participant_id
from dagster_beiwe.partitions import (
    participant_partitions,
    participants_name,
    rectangle_tags,
    too_many_partitions,
    window_keys,
)
from dagster_beiwe.roster import enrolment_order

DEFAULT_CRON = "0 5 * * *"
DEFAULT_CHECKS_CRON = "0 8 * * *"

SENSOR_POLICY = HttpPolicy(connect_timeout_seconds=5, read_timeout_seconds=20, attempts=1)
"""A sensor has 60 s for an evaluation: two requests of this patience, and the rest for Dagster's own work."""

PARTITIONS_PER_RUN = 500
"""Size of a rectangle: long enough to make the five seconds that a run costs by itself small."""

RUNS_PER_TICK = 8
"""Dagster needs up to 8 s to submit a run of 500 partitions: more of them wait for the next evaluation."""

logger = logging.getLogger("dagster_beiwe")


def build_refresh_schedule(
    study: StudyFacts,
    assets: Sequence[dg.AssetsDefinition],
    *,
    cron: str = DEFAULT_CRON,
    running: bool = False,
) -> dg.ScheduleDefinition:
    """Fetches the study's newest windows of all participants again, and its roster and settings."""
    tables = [asset for asset in assets if asset.key.path[-1] in ("roster", "settings")]
    raw_data = [asset for asset in assets if asset.key.path[-1] == "raw_data"]

    @dg.schedule(
        name=f"{study.key}_refresh",
        target=dg.AssetSelection.assets(*tables, *raw_data).without_checks(),
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=(
            f"Roster, settings and the newest {study.refresh_windows} windows of all participants of {study.name}."
        ),
    )
    def refresh(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        moment = context.scheduled_execution_time.astimezone(timezone.utc)
        table_keys = [asset.key for asset in tables]
        run_key = f"{moment:%Y-%m-%dT%H:%M:%S} tables"
        yield dg.RunRequest(run_key=run_key, asset_selection=table_keys, asset_check_keys=[])
        participants = context.instance.get_dynamic_partitions(participants_name(study.id))
        windows = window_keys(study, now=moment)[-study.refresh_windows :]
        for tags in rectangles(participants, windows):
            run_key = f"{moment:%Y-%m-%dT%H:%M:%S} {_range(tags)}"
            keys = [asset.key for asset in raw_data]
            yield dg.RunRequest(run_key=run_key, tags=dict(tags), asset_selection=keys, asset_check_keys=[])

    return refresh


def build_checks_schedule(
    study: StudyFacts,
    summaries: Sequence[dg.AssetsDefinition],
    checks: dg.AssetChecksDefinition,
    *,
    cron: str = DEFAULT_CHECKS_CRON,
    running: bool = False,
) -> dg.ScheduleDefinition:
    """Runs every check of the study, and what is made from manifests alone; some hours after the refresh."""

    @dg.schedule(
        name=f"{study.key}_checks",
        target=checks_target(summaries, checks),
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=f"Checks that the data of {study.name} are complete, intact and protected.",
    )
    def check(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        moment = context.scheduled_execution_time.astimezone(timezone.utc)
        return checks_request(summaries, checks, run_key=f"{moment:%Y-%m-%dT%H:%M:%S} checks")

    return check


def checks_target(summaries: Sequence[dg.AssetsDefinition], checks: dg.AssetChecksDefinition) -> dg.AssetSelection:
    """What a job must know of to run checks."""
    return dg.AssetSelection.assets(*summaries) | dg.AssetSelection.checks(checks)


def checks_request(
    summaries: Sequence[dg.AssetsDefinition], checks: dg.AssetChecksDefinition, *, run_key: str
) -> dg.RunRequest:
    """A run of all checks and of what is made from manifests alone."""
    return dg.RunRequest(
        run_key=run_key,
        asset_selection=[summary.key for summary in summaries],
        asset_check_keys=sorted(checks.check_keys, key=lambda key: (key.asset_key, key.name)),
    )


@dataclass(frozen=True, kw_only=True)
class RosterCursor:
    """What the sensor remembers: whose windows were requested, and who was last seen to be gone from the server."""

    requested: tuple[str, ...]
    gone: tuple[str, ...] = ()

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None, *, partitions: Sequence[str]) -> RosterCursor:
        """The cursor of the last evaluation. At the first one, whoever is a partition already is left to those who made
        it one. A text that can't be read is logged and replaced in the same way."""
        try:
            value = json.loads(text) if text else {"requested": partitions}
            return cls(requested=tuple(map(str, value["requested"])), gone=tuple(map(str, value.get("gone", ()))))
        except (ValueError, TypeError, KeyError, AttributeError):
            logger.warning("The sensor's cursor can't be read; it begins anew with the partitions that exist.")
            return cls(requested=tuple(partitions))


def build_roster_sensor(
    study: StudyFacts,
    raw_data: dg.AssetsDefinition,
    *,
    interval_seconds: int = 600,
    running: bool = False,
) -> dg.SensorDefinition:
    """Makes new participants partitions of ``raw_data``, in order of enrolment, and requests all their windows.

    Never removes a partition: a participant who is gone from the server keeps the history, and is reported.
    """

    @dg.sensor(
        name=f"{study.key}_participants",
        target=dg.AssetSelection.assets(raw_data).without_checks(),
        minimum_interval_seconds=interval_seconds,
        required_resource_keys={study.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=f"New participants of {study.name} become partitions, and their windows are fetched.",
    )
    def participants(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with getattr(context.resources, study.deployment).get_client(policy=SENSOR_POLICY) as client:
            ids = _participants(client, study)
        before = context.instance.get_dynamic_partitions(participants_name(study.id))
        cursor = RosterCursor.from_text(context.cursor, partitions=before)
        gone = tuple(sorted(set(before) - set(ids)))
        if gone and gone != cursor.gone:
            context.log.warning(
                "%d participants are partitions but no longer on the server; their data and history are kept: %s",
                len(gone),
                ", ".join(gone[:50]),
            )
        windows = window_keys(study, now=datetime.now(timezone.utc))
        added = [each for each in ids if each not in set(before)]
        order = [*before, *added]
        batch = _batch([each for each in ids if each not in set(cursor.requested)], windows=len(windows))
        if warning := too_many_partitions(study, participants=len(order), windows=len(windows)):
            context.log.warning(warning)
        requests = [
            dg.RunRequest(run_key=_range(tags), tags=dict(tags))
            for stretch in stretches(order, batch)
            for tags in rectangles(stretch, windows)
        ]
        counts = f"{len(ids)} participants on the server, {len(added)} new, {len(gone)} gone from it but kept"
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if requests else dg.SkipReason(f"No windows to request: {counts}."),
            dynamic_partitions_requests=[participant_partitions(study.id).build_add_request(added)] if added else None,
            cursor=RosterCursor(requested=(*cursor.requested, *batch), gone=gone).to_text(),
        )

    return participants


def rectangles(participants: Sequence[str], windows: Sequence[str]) -> Iterator[Mapping[str, str]]:
    """Range tags of the runs that cover neighbouring participants by consecutive windows, none above a run's size."""
    width = min(len(windows), PARTITIONS_PER_RUN)
    height = PARTITIONS_PER_RUN // width if width else 0
    for top in range(0, len(participants), height or 1):
        for left in range(0, len(windows), width or 1):
            yield rectangle_tags(participants[top : top + height], windows[left : left + width])


def stretches(order: Sequence[str], wanted: Collection[str]) -> Iterator[list[str]]:
    """The wanted ones in the given order, cut where others lie between: a range would take those along."""
    stretch: list[str] = []
    for each in order:
        if each in wanted:
            stretch.append(each)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _batch(participants: Sequence[str], *, windows: int) -> list[str]:
    """As many participants as may be requested in one evaluation, at least one."""
    return list(participants[: max(1, RUNS_PER_TICK * PARTITIONS_PER_RUN // max(1, windows))])


def _participants(client: BeiweClient, study: StudyFacts) -> list[str]:
    """Ids in order of enrolment, as far as the server tells it; ids that no partition can have are left out."""
    ids = [each for each in client.participants(study.id) if is_participant_id(each)]
    try:
        return enrolment_order(ids, client.participant_table(study.id))
    except (RouteMissingError, ServerFailedError) as error:
        logger.info("Participants of %s are taken in the order of their ids: %s", study.name, error)
        return sorted(ids)


def _range(tags: Mapping[str, str]) -> str:
    return " to ".join(tags.values())
