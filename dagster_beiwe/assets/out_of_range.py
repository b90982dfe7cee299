"""``out_of_range``: files dated outside every window by phones with a wrong clock (1969, next year), by participant."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timezone

import dagster as dg

from dagster_beiwe.assets.provenance import raw_provenance
from dagster_beiwe.assets.recorded import RECORDS_ITSELF, recorded_output
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset
from dagster_beiwe.assets.window_events import errors_of
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError, ServerFailedError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.partitions.definitions import participant_partitions, study_windows
from dagster_beiwe.partitions.events import partition_event
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.failures import never_seen_advice, withdrawn_advice
from dagster_beiwe.studies.server_counts import all_counts, find_zone
from dagster_beiwe.studies.study import Study
from dagster_beiwe.studies.time_zones import StudyZone
from dagster_beiwe.sync import Cell, DailyIndex, FetchPolicy, StudySync, WindowReport
from dagster_beiwe.text import listed
from dagster_beiwe.windows import out_of_range_windows


def build_out_of_range_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/out_of_range``: for each participant one request for all time before the windows, one for all time
    after them, and a small one for the server's counts."""

    @study_asset(
        study,
        "out_of_range",
        options,
        deps=[study.asset_key("participant")],
        partitions_def=participant_partitions(study.id),
        pool=options.pool,
        **RECORDS_ITSELF,
    )
    def out_of_range(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        participants = [check_participant_id(str(each)) for each in context.partition_keys]
        open_ones = dict.fromkeys(participants)
        provenance = raw_provenance(context.instance, study, "out_of_range", options, run_id=context.run.run_id)

        withdrawn: dict[str, list[WindowReport]] = {}

        def fetch() -> None:
            failed = dict(withdrawn)
            unknown: set[str] = set()
            for participant, reports in _fetch(context, study, list(open_ones)):
                if not all(report.complete for report in reports):
                    failed[participant] = reports
                    unknown |= {participant} if any(report.participant_unknown for report in reports) else set()
                    if any(report.participant_withdrawn for report in reports):
                        withdrawn[participant] = reports
                        del open_ones[participant]
                    continue
                context.log_event(_event(study.asset_key("out_of_range"), participant, reports, provenance))
                del open_ones[participant]
            if failed:
                raise _failure(failed, unknown, withdrawn, total=len(participants))

        options.retried(fetch, context.log, unfinished=lambda: open_ones)
        yield recorded_output()

    return out_of_range


def _fetch(
    context: dg.AssetExecutionContext, study: Study, participants: Sequence[str]
) -> Iterator[tuple[str, list[WindowReport]]]:
    resource = resource_of(context, study)
    lake = resource.study_lake(study)
    windows = study_windows(study, now=datetime.now(timezone.utc))
    outside = out_of_range_windows(windows[0].start, windows[-1].end)
    policy = FetchPolicy(remove_deleted_upstream=study.config.remove_deleted_upstream)
    with resource.get_client() as client:
        zone = find_zone(study, context.instance, client).zone
        for participant in participants:
            daily = _counts(client, study, zone, participant)
            streams = study.config.streams
            sync = StudySync(client, lake, streams=streams, run_id=context.run.run_id, policy=policy, daily=daily)
            yield participant, list(sync.run(Cell(participant, window) for window in outside))


def _counts(client: BeiweClient, study: Study, zone: StudyZone, participant: str) -> DailyIndex | None:
    """The server's counts, to notice files that were deleted upstream; None if the server can't tell."""
    try:
        return all_counts(client, study, zone, participants=[participant])
    except (RouteMissingError, ServerFailedError):
        return None


def _event(
    key: dg.AssetKey, participant: str, reports: Sequence[WindowReport], provenance: Mapping[str, str]
) -> dg.AssetMaterialization:
    numbers = {
        "size_bytes": sum(report.size_bytes for report in reports),
        **{f"files {report.cell.window.key}": report.files for report in reports},
        "added": sum(report.added for report in reports),
        "changed": sum(report.changed for report in reports),
        "requests": sum(report.requests for report in reports),
    }
    metadata = {name: dg.MetadataValue.int(number) for name, number in numbers.items()}
    version = "-".join(report.data_version for report in reports)
    return partition_event(key, participant, metadata=metadata, version=version, tags=provenance)


def _failure(
    failed: Mapping[str, list[WindowReport]], unknown: set[str], withdrawn: Collection[str], *, total: int
) -> dg.Failure:
    reports = [report for each in failed.values() for report in each]
    again = sorted(failed.keys() - unknown.union(withdrawn))
    description = f"Out-of-range files of {len(failed)} of {total} participants are incomplete ({errors_of(reports)})."
    if again:
        description += f" Materialize again: {listed(again)}"
    if withdrawn:
        description += f" {withdrawn_advice(withdrawn)}"
    if unknown:
        description += f" {never_seen_advice(unknown)}"
    return dg.Failure(
        description=description,
        metadata={"unfinished partitions": len(failed)},
        allow_retries=any(report.transient for report in reports),
    )
