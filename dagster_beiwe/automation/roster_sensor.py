"""The sensor that makes new participants of a study partitions."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import dagster as dg

from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN, PARTITIONS_PER_TICK
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.ids import is_participant_id
from dagster_beiwe.partitions.definitions import (
    participant_partitions,
    participants_name,
    too_many_partitions,
    window_keys,
)
from dagster_beiwe.partitions.events import recorded_participants
from dagster_beiwe.partitions.rectangles import Rectangle, stretches
from dagster_beiwe.resource import resource_of
from dagster_beiwe.retries import HTTP_IN_SENSORS
from dagster_beiwe.runs.failures import never_seen_advice
from dagster_beiwe.runs.pools import limit_pool
from dagster_beiwe.studies.roster import enrollment_order
from dagster_beiwe.studies.study import Study
from dagster_beiwe.typed_json import read_json

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class RosterCursor:
    """What the sensor remembers: whose windows were requested, and which partitions were last not on the server."""

    requested: tuple[str, ...]
    deleted_upstream: tuple[str, ...] = ()

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str | None, *, partitions: Sequence[str]) -> RosterCursor:
        """The cursor of the last evaluation. The first one requests nothing for existing partitions, nor does one
        whose cursor can't be read, which is logged."""
        if cursor := read_json(text or "", cls):
            return cursor
        if text:
            logger.warning("The sensor's cursor can't be read. It starts over from the existing partitions.")
        return cls(requested=tuple(partitions))


def build_roster_sensor(
    study: Study,
    raw_data: dg.AssetsDefinition,
    *,
    interval_seconds: int = 600,
    running: bool = False,
) -> dg.SensorDefinition:
    """Makes new participants partitions of ``raw_data``, in order of enrollment, and requests all their windows.

    It never removes a partition: a participant who is no longer on the server keeps the history, and is reported.
    """

    @dg.sensor(
        name=f"{study.key}_participants",
        target=dg.AssetSelection.assets(raw_data),
        minimum_interval_seconds=interval_seconds,
        required_resource_keys={study.config.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=f"Makes new participants of {study.title} partitions, and fetches their windows.",
    )
    def participants(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with resource_of(context, study).get_client(policy=HTTP_IN_SENSORS) as client:
            ids = participants_in_order(client, study)
        before = context.instance.get_dynamic_partitions(participants_name(study.id))
        cursor = RosterCursor.from_text(context.cursor, partitions=before)
        gone = tuple(sorted(set(before) - set(ids)))
        if gone and gone != cursor.deleted_upstream:
            _warn_of_absent(context, gone, recorded_participants(context.instance, study))
        windows = window_keys(study, now=datetime.now(timezone.utc))
        added = [each for each in ids if each not in set(before)]
        if raw_data.op.pool:
            limit_pool(context.instance, raw_data.op.pool)
        order = [*before, *added]
        batch = _batch([each for each in ids if each not in set(cursor.requested)], windows=len(windows))
        if warning := too_many_partitions(study, participants=len(order), windows=len(windows)):
            context.log.warning(warning)
        requests = [
            dg.RunRequest(run_key=run.range, tags=run.tags, asset_selection=[raw_data.key], asset_check_keys=[])
            for stretch in stretches(order, batch)
            for run in Rectangle(stretch, tuple(windows)).split(PARTITIONS_PER_RUN)
        ]
        counts = f"{len(ids)} participants on the server, {len(added)} new, {len(gone)} no longer there but kept"
        return dg.SensorResult(
            run_requests=requests or None,
            skip_reason=None if requests else dg.SkipReason(f"No windows to request: {counts}."),
            dynamic_partitions_requests=[participant_partitions(study.id).build_add_request(added)] if added else None,
            cursor=RosterCursor(requested=(*cursor.requested, *batch), deleted_upstream=gone).to_text(),
        )

    return participants


def _warn_of_absent(context: dg.SensorEvaluationContext, absent: Collection[str], recorded: Collection[str]) -> None:
    """Partitions that are not on the server: participants who are no longer there, and ids that never were."""
    left = [each for each in absent if each in recorded]
    never_seen = [each for each in absent if each not in recorded]
    if left:
        context.log.warning(
            "%d participants are no longer on the server. Their partitions, data, and history are kept: %s",
            len(left),
            ", ".join(left[:50]),
        )
    if never_seen:
        context.log.warning(never_seen_advice(never_seen))


def _batch(participants: Sequence[str], *, windows: int) -> list[str]:
    """As many participants as one evaluation may request, at least one."""
    return list(participants[: max(1, PARTITIONS_PER_TICK // max(1, windows))])


def participants_in_order(client: BeiweClient, study: Study) -> list[str]:
    """Valid ids, in order of enrollment if the server reports it."""
    ids = [each for each in client.participants(study.id) if is_participant_id(each)]
    try:
        return enrollment_order(ids, client.participant_table(study.id))
    except (RouteMissingError, ServerFailedError) as error:
        logger.info("Participants of %s are processed in the order of their ids: %s", study.title, error)
        return sorted(ids)
