"""The sensor that fetches what phones reported, of participants for whom that is worth five requests."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import dagster as dg

from dagster_beiwe.automation.due_participants import due_participants, still_requested
from dagster_beiwe.automation.limits import PARTICIPANT_RUNS_PER_TICK, PARTICIPANTS_PER_TICK
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.partitions.events import listed_participants
from dagster_beiwe.partitions.fetched import Fetched, fetched_participants
from dagster_beiwe.partitions.rectangles import stretches
from dagster_beiwe.partitions.run_keys import stretch_tags
from dagster_beiwe.resource import resource_of
from dagster_beiwe.retries import HTTP_IN_SENSORS
from dagster_beiwe.studies.roster import roster_rows
from dagster_beiwe.studies.study import Study
from dagster_beiwe.typed_json import read_json

logger = logging.getLogger("dagster_beiwe")


def build_histories_sensor(
    study: Study, participant: dg.AssetsDefinition, *, interval_seconds: int = 3600, running: bool = False
) -> dg.SensorDefinition:
    """Requests ``participant`` of everybody who is due: one request for the participant table in each evaluation, and
    runs for a bounded number of participants."""

    @dg.sensor(
        name=f"{study.key}_histories",
        target=dg.AssetSelection.assets(participant),
        minimum_interval_seconds=interval_seconds,
        required_resource_keys={study.config.deployment},
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description=(
            f"Fetches what the phones of {study.title} reported: for new, changed, and silent participants at once, "
            f"for the others every {study.config.participant_days} days."
        ),
    )
    def histories(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = datetime.now(timezone.utc)
        order = context.instance.get_dynamic_partitions(participants_name(study.id))
        fetched = fetched_participants(context.instance, study)
        requested = still_requested(_cursor_from_text(context.cursor), fetched, now=now)
        with resource_of(context, study).get_client(policy=HTTP_IN_SENSORS) as client:
            known = _known(client, study, _listed(context.instance, study, order), now=now)
        due = due_participants(known, fetched, requested, days=study.config.participant_days)
        runs = list(stretches(order, due[:PARTICIPANTS_PER_TICK]))[:PARTICIPANT_RUNS_PER_TICK]
        requested |= {each: now.timestamp() for run in runs for each in run}
        return dg.SensorResult(
            run_requests=[_request(run, now=now) for run in runs] or None,
            skip_reason=None if runs else dg.SkipReason(f"Nobody is due; {len(requested)} are being fetched."),
            cursor=json.dumps(requested),
        )

    return histories


def _listed(instance: dg.DagsterInstance, study: Study, order: Sequence[str]) -> Sequence[str]:
    """The partitions of participants whom the server listed: of others it has no history."""
    listed = listed_participants(instance, study)
    return order if listed is None else [each for each in order if each in listed]


def _known(client: BeiweClient, study: Study, order: Sequence[str], *, now: datetime) -> dict[str, Fetched | None]:
    """What the server says of each participant now; None for everybody if it has no participant table."""
    try:
        table = client.participant_table(study.id)
    except (RouteMissingError, ServerFailedError) as error:
        logger.info("It is not known whose phones in %s reported something: %s", study.title, error)
        return dict.fromkeys(order)
    return {str(row["participant"]): Fetched.now(row, now=now) for row in roster_rows(order, table)}


def _request(participants: Sequence[str], *, now: datetime) -> dg.RunRequest:
    """A run of adjacent participants. Its key is new each time: a participant is fetched again and again."""
    return dg.RunRequest(
        run_key=f"{participants[0]}...{participants[-1]} {now.isoformat()}",
        tags=dict(stretch_tags(participants)),
    )


def _cursor_from_text(text: str | None) -> Mapping[str, float]:
    """{participant: Unix time of the request}. A text that can't be read is logged; then some are requested twice."""
    requested = read_json(text or "{}", dict[str, float])
    if requested is None:
        logger.warning("The sensor's cursor can't be read. Participants may be requested a second time.")
        return {}
    return requested
