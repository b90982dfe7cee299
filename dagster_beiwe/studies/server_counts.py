"""The server's daily counts of a study, and the time zone of its days, as runs and sensors need them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from dagster_beiwe.client import BeiweClient, DailyBytes
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.meanwhile import read_ahead
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone, ask_time_zone, check_time_zone
from dagster_beiwe.sync import Cell, DailyIndex
from dagster_beiwe.windows import Window

ZONE_METADATA = "time zone"
ZONE_SOURCE_METADATA = "time zone source"

FORMER_ZONES_METADATA = "former time zones"

ZONE_TAG = ".dagster/beiwe_time_zone"
"""Tag of a run, which Dagster does not show: the zone that the requesting sensor used, its source, and former zones, so
that both mean the same days."""

ZONE_SECONDS = 24 * 3600
"""How long an answer about the zone is used: researchers may change it."""

FEW_PARTICIPANTS = 100
"""Up to this number, ids fit into the address of one request; for more, everybody's counts are requested."""

ROWS_PER_REQUEST = 10_000
"""Participants by days in one answer, of some 700 bytes each."""

_REPORTED = ("server", "phones")

_DAY = timedelta(days=1)

logger = logging.getLogger("dagster_beiwe")


@dataclass(frozen=True, kw_only=True)
class DatedZone:
    """A study's time zone, and when it was learned, as a Unix time in seconds."""

    zone: StudyZone
    at: float


def find_zone(
    study: Study,
    instance: dg.DagsterInstance,
    client: BeiweClient,
    *,
    remembered: DatedZone | None = None,
) -> DatedZone:
    """The study's time zone: as configured; else as its settings or ``remembered`` have it, if that is fresh; else as
    the server answers now. An unknown zone is not remembered. Earlier zones of settings and ``remembered`` become the
    study's former zones. Raises ``ServerError``.
    """
    now = time.time()
    known = [each for each in (remembered, zone_of_settings(study, instance)) if each]
    former = [name for each in known for name in each.zone.known]

    def found(zone: StudyZone, at: float) -> DatedZone:
        return DatedZone(zone=zone.after(former), at=at)

    if study.config.time_zone is not None:
        return found(StudyZone(name=check_time_zone(study.config.time_zone), source="configuration"), now)
    reported = [each for each in known if each.zone.source in _REPORTED]
    newest = max(reported, key=lambda each: each.at, default=None)
    if newest and now - newest.at < ZONE_SECONDS:
        return found(newest.zone, newest.at)
    try:
        asked = ask_time_zone(client, study.id)
    except ServerFailedError as error:
        if newest is None:
            raise
        logger.warning(
            "The server did not return the time zone of %a; the last known one is used. %s", study.name, error
        )
        return found(newest.zone, newest.at)
    return found(newest.zone, newest.at) if newest and asked.source == "unknown" else found(asked, now)


def zone_of_settings(study: Study, instance: dg.DagsterInstance) -> DatedZone | None:
    """The zone in the last materialization of the settings, with the former zones known then."""
    event = instance.get_latest_materialization_event(study.asset_key("settings"))
    metadata = event.asset_materialization.metadata if event and event.asset_materialization else {}
    name, source, former = (
        _text(metadata.get(each)) for each in (ZONE_METADATA, ZONE_SOURCE_METADATA, FORMER_ZONES_METADATA)
    )
    zone = StudyZone.from_texts(name, source, former.split())
    return DatedZone(zone=zone, at=event.timestamp) if event and zone else None


def certain_zone(study: Study, instance: dg.DagsterInstance) -> str | None:
    """The study's time zone as configured, or as its settings have it; None if it is a guess. No request."""
    if study.config.time_zone is not None:
        return check_time_zone(study.config.time_zone)
    reported = zone_of_settings(study, instance)
    return reported.zone.name if reported and reported.zone.certain else None


def counts_around(
    client: BeiweClient,
    study: Study,
    zone: StudyZone,
    windows: Sequence[Window],
    *,
    participants: Iterable[str] = (),
) -> DailyIndex:
    """Counts of the days around windows: one request. Raises ``RouteMissingError`` on servers older than June 2024.

    ``participants`` narrows them down if there are few.
    """
    return _index(client, zone, _records_around(client, study, windows, participants))


def _records_around(
    client: BeiweClient,
    study: Study,
    windows: Sequence[Window],
    participants: Iterable[str],
    streams: Sequence[str] = (),
) -> list[DailyBytes]:
    few = sorted(set(participants))
    around = 2 * _DAY  # wherever the study is, and a day beside it where its zone is not certain
    records = client.summary_statistics(
        study.id,
        start_date=(min(window.start for window in windows) - around).date(),
        end_date=(max(window.end for window in windows) + around).date(),
        participants=few if len(few) <= FEW_PARTICIPANTS else (),
        streams=streams or client.choose_streams(study.id, study.config.streams),
    )
    return list(records)


def all_counts(client: BeiweClient, study: Study, zone: StudyZone, *, participants: Sequence[str]) -> DailyIndex:
    """All counts of some participants, also outside every window. Raises as ``counts_around`` does."""
    streams = client.choose_streams(study.id, study.config.streams)
    records = client.summary_statistics(study.id, participants=participants, streams=streams)
    return _index(client, zone, records)


def _index(
    client: BeiweClient, zone: StudyZone, records: Iterable[DailyBytes], *, confirmed: bool = True
) -> DailyIndex:
    return DailyIndex.of(
        zone.zone,
        records,
        former=zone.former_zones,
        certain=zone.certain and confirmed,
        uncounted=client.uncounted_streams,
    )


def batches(participants: Sequence[str], *, days: int) -> Iterator[Sequence[str]]:
    """Participants to request together for so many days: about 7 MB per request, whatever the study."""
    size = max(1, min(FEW_PARTICIPANTS, ROWS_PER_REQUEST // max(1, days)))
    return (participants[start : start + size] for start in range(0, len(participants), size))


def counts_in_batches(
    client: BeiweClient, study: Study, zone: StudyZone, windows: Sequence[Window], participants: Sequence[str]
) -> Iterator[tuple[Sequence[str], DailyIndex | None]]:
    """All participants, some at a time, with their counts of the days around windows: one request for a small study.

    One more tells who has bytes, and of which streams: the rest is zero and not requested. The counts are None on
    servers older than June 2024. The server is asked for the next participants while the caller looks at these.
    """
    sent = streams_sent(client, study, client.choose_streams(study.id, study.config.streams))

    def ask(batch: Sequence[str]) -> DailyIndex | None:
        asked = [participant for participant in batch if sent.get(participant)]
        streams = sorted({stream for participant in asked for stream in sent[participant]})
        try:
            records = _records_around(client, study, windows, asked, streams) if asked else []
            return _index(client, zone, records)
        except RouteMissingError as error:
            logger.info("%s is checked without the server's daily counts: %s", study.title, error)
            return None

    return read_ahead(batches(participants, days=(windows[-1].end - windows[0].start).days), ask, most=1)


def streams_sent(client: BeiweClient, study: Study, streams: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """{participant: those of the streams of which the server has counted any bytes}, of participants with bytes.

    A stream that is not among the totals may have some. Servers older than July 2024 return no totals: then it is all
    streams of everybody.
    """
    wanted = tuple(streams)
    try:
        totals = client.data_quantities(study.id)
    except RouteMissingError:
        return dict.fromkeys(client.participants(study.id), wanted)
    sent = {who: [stream for stream in wanted if sizes.get(stream) != 0] for who, sizes in sorted(totals.items())}
    return {who: names for who, names in sent.items() if names}


def counts_for_cells(
    client: BeiweClient,
    study: Study,
    instance: dg.DagsterInstance,
    cells: Collection[Cell],
    tags: Mapping[str, str],
) -> DailyIndex | None:
    """Counts for the windows of a run, or None if the server cannot tell: then the run does without.

    ``tags`` are the run's; a zone in them is used. Without counts, the run plans its requests by what
    arrives, and does not notice files that were deleted upstream.
    """
    participants = {cell.participant for cell in cells}
    try:
        zone = zone_of_tag(tags) or find_zone(study, instance, client).zone
        records = _records_around(client, study, [cell.window for cell in cells], participants)
        return _index(client, zone, records, confirmed=_is_still(client, study, zone))
    except (RouteMissingError, ServerFailedError) as error:
        logger.info("Raw data of %s is fetched without the server's daily counts: %s", study.title, error)
        return None


def _is_still(client: BeiweClient, study: Study, zone: StudyZone) -> bool:
    """Whether the zone is still the study's, after the counts were read: what is known may be a day old, and days may
    have been counted again in another zone since."""
    try:
        reported = client.settings(study.id).get("study_time_zone")
    except RouteMissingError:
        return True  # nobody can tell
    except ServerFailedError:
        return False
    return reported in (None, zone.name)


def zone_tag(zone: StudyZone) -> Mapping[str, str]:
    return {ZONE_TAG: " ".join((zone.name, zone.source, *zone.former))}


def zone_of_tag(tags: Mapping[str, str]) -> StudyZone | None:
    """The zone in a run's tags, if there is one."""
    name, source, *former = [*tags.get(ZONE_TAG, "").split(), "", ""]
    return StudyZone.from_texts(name, source, former)


def _text(value: object) -> str:
    value = getattr(value, "value", value)
    return value if isinstance(value, str) else ""
