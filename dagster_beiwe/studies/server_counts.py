"""What the server counts per day of a study, and the time zone that its days are in, as runs and sensors need them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

import dagster as dg

from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.studies.config import StudyFacts
from dagster_beiwe.studies.time_zones import StudyZone, ask_time_zone, check_time_zone
from dagster_beiwe.sync import Cell, DailyIndex
from dagster_beiwe.windows import Window

ZONE_METADATA = "time zone"
ZONE_SOURCE_METADATA = "time zone told by"

FEW_PARTICIPANTS = 100
"""Up to this number their ids fit into the address of one request; for more, all are asked for."""

_DAY = timedelta(days=1)

logger = logging.getLogger("dagster_beiwe")


def settings_key(study: StudyFacts) -> dg.AssetKey:
    return dg.AssetKey(["beiwe", study.key, "settings"])


def known_zone(study: StudyFacts, instance: dg.DagsterInstance) -> StudyZone | None:
    """The study's time zone without asking the server: from its configuration, or as its settings last told."""
    if study.time_zone is not None:
        return StudyZone(name=check_time_zone(study.time_zone), source="configuration")
    event = instance.get_latest_materialization_event(settings_key(study))
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    return StudyZone.from_texts(*(_text(metadata.get(name)) for name in (ZONE_METADATA, ZONE_SOURCE_METADATA)))


def zone_of_study(study: StudyFacts, instance: dg.DagsterInstance, client: BeiweClient) -> StudyZone:
    """The study's time zone; asked from the server where nobody has asked before. Raises ``ServerError``."""
    return known_zone(study, instance) or ask_time_zone(client, study.id)


def counts_around(
    client: BeiweClient,
    study: StudyFacts,
    zone: StudyZone,
    windows: Sequence[Window],
    *,
    participants: Iterable[str] = (),
) -> DailyIndex:
    """Counts of the days around windows: one request. Raises ``RouteMissingError`` on servers older than June 2024.

    ``participants`` narrows them down where these are few.
    """
    few = sorted(set(participants))
    records = client.summary_statistics(
        study.id,
        start_date=(min(window.start for window in windows) - _DAY).date(),
        end_date=(max(window.end for window in windows) + _DAY).date(),
        participants=few if len(few) <= FEW_PARTICIPANTS else (),
        streams=study.streams,
    )
    return DailyIndex.of(zone.zone, records)


def counts_for_cells(
    client: BeiweClient, study: StudyFacts, instance: dg.DagsterInstance, cells: Collection[Cell]
) -> DailyIndex | None:
    """Counts for the windows of a run, or None where the server can't tell: the run does without then.

    Without them, the run plans its requests by what arrives, and does not notice files that have vanished.
    """
    participants = {cell.participant for cell in cells}
    try:
        zone = zone_of_study(study, instance, client)
        return counts_around(client, study, zone, [cell.window for cell in cells], participants=participants)
    except (RouteMissingError, ServerFailedError) as error:
        logger.info("Raw data of %s is fetched without the server's daily counts: %s", study.title, error)
        return None


def _text(value: object) -> str:
    value = getattr(value, "value", value)
    return value if isinstance(value, str) else ""
