"""``raw_data``: participant by window, each recorded the moment it is committed to the lake.

Dagster would record all partitions of a run when its output ends, including those that failed. Instead, each committed
window gets its own event with its own numbers and data version. The output follows when all windows have theirs, so
that tables and checks in the same run can start.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

import dagster as dg

from dagster_beiwe.assets.provenance import raw_provenance
from dagster_beiwe.assets.recorded import (
    RECORDS_ITSELF,
    is_continuation,
    recorded_by_retried_runs,
    recorded_output,
)
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset
from dagster_beiwe.assets.window_events import errors_of, log_failures, log_oddities, window_metadata
from dagster_beiwe.cells import Cell, CellKey
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.meanwhile import begin
from dagster_beiwe.partitions.definitions import cell_of, raw_data_partitions
from dagster_beiwe.partitions.events import partition_event, version_of
from dagster_beiwe.partitions.run_keys import MOVED_ONLY, REFRESH_TAG, readable_tags, run_partition_keys
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.failures import never_seen_advice, withdrawn_advice
from dagster_beiwe.runs.remembered_heads import Metadata, remembered_heads
from dagster_beiwe.runs.traffic import traffic_tags
from dagster_beiwe.studies.config import lake_io_manager_key
from dagster_beiwe.studies.server_counts import counts_for_cells
from dagster_beiwe.studies.study import Study
from dagster_beiwe.sync import FetchPolicy, Progress, StudySync, WindowReport
from dagster_beiwe.sync.audit import Taken
from dagster_beiwe.text import human_size, listed


def build_raw_data_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/raw_data``. Raises ``ConfigurationError`` if the study's start is not known."""
    partitions = raw_data_partitions(study)

    @study_asset(
        study,
        "raw_data",
        options,
        deps=[study.asset_key("participant")],
        partitions_def=partitions,
        io_manager_key=lake_io_manager_key(study.config.deployment),
        pool=options.pool,
        **RECORDS_ITSELF,
    )
    def raw_data(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        ingest = _Ingest(context, study, partitions, options)
        options.retried(ingest.run, context.log, unfinished=ingest.unfinished)
        yield recorded_output()

    return raw_data


class _Ingest:
    """Brings the partitions of one run up to date. Another ``run`` continues with those that are left."""

    def __init__(
        self,
        context: dg.AssetExecutionContext,
        study: Study,
        partitions: dg.MultiPartitionsDefinition,
        options: AssetOptions,
    ) -> None:
        self._context = context
        self._study = study
        self._key = study.asset_key("raw_data")
        self._partitions = partitions
        self._provenance = raw_provenance(context.instance, study, "raw_data", options, run_id=context.run.run_id)
        self._keys: list[str] = []
        self._open: dict[str, Cell] | None = None
        self._failed: dict[str, WindowReport] = {}
        self._deleted_upstream: set[str] = set()
        self._unknown: set[str] = set()
        self._taken = Taken()

    def run(self) -> None:
        if self._open is None:
            self._open = self._begin()
        self._failed = {key: report for key, report in self._failed.items() if report.participant_withdrawn}
        self._unknown.clear()
        if self._open:
            self._sync(self._open)
        if self._failed:
            raise self._failure(total=len(self._keys))

    def unfinished(self) -> list[str]:
        """Partitions that are not up to date yet."""
        return list(self._open or ())

    def _begin(self) -> dict[str, Cell]:
        """The run's partitions, except for those that the run it retries has finished.

        Those are recorded again, without a download: Dagster shows a partition as failed if a failed run planned it and
        the retry did not record it, although it is in the lake.
        """
        self._keys = [str(key) for key in run_partition_keys(self._context, self._partitions)]
        self._tag_run(readable_tags(map(CellKey.parse, self._keys)))
        cells = {key: cell_of(self._study, key) for key in self._keys}
        if is_continuation(self._context.run):
            earlier = recorded_by_retried_runs(self._context, self._key, self._keys)
            for key, event in earlier.items():
                self._record(key, metadata=event.metadata, version=version_of(event))
                del cells[key]
            self._context.log.info(
                "%d of %d windows are done already. Continuing with the others.", len(earlier), len(self._keys)
            )
        return cells

    def _sync(self, left: dict[str, Cell]) -> None:
        """Bring cells up to date, and remove each that is done from the dictionary."""
        cells = list(left.values())
        resource = resource_of(self._context, self._study)
        lake = resource.study_lake(self._study)
        seen = remembered_heads(self._context.instance, self._study)
        with resource.get_client() as client, self._counting(client):
            run = self._context.run
            counts = begin(partial(counts_for_cells, client, self._study, self._context.instance, cells, run.tags))
            lake.log.check(seen)  # its key takes a tenth of a second, and so does the server
            daily = counts.result()
            sync = StudySync(
                client,
                lake,
                streams=self._study.config.streams,
                run_id=run.run_id,
                policy=FetchPolicy(remove_deleted_upstream=self._study.config.remove_deleted_upstream),
                daily=daily,
            )
            changed_only = run.tags.get(REFRESH_TAG) == MOVED_ONLY
            with closing(sync.run(cells, changed_only=changed_only, on_progress=self._log_progress)) as reports:
                for report in reports:
                    key = str(report.cell.key)
                    self._tell(report)
                    if report.complete:
                        self._record(key, metadata=window_metadata(report, lake), version=report.data_version)
                        del left[key]
                    else:
                        self._give_up(key, report)
                    if report.participant_withdrawn:  # a retry would fetch again what somebody has just withdrawn
                        del left[key]

    @contextmanager
    def _counting(self, client: BeiweClient) -> Iterator[None]:
        """Tag the run with its traffic, however it ends: requests and archives do not belong to single windows."""
        try:
            yield
        finally:
            self._taken += Taken.of(client.traffic)
            self._tag_run(traffic_tags(self._taken))

    def _tag_run(self, tags: Mapping[str, str]) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, dict(tags))

    def _record(self, key: str, *, metadata: Metadata, version: str) -> None:
        """Log an event at once: it stays recorded if the run dies."""
        cell = CellKey.parse(key)
        self._context.log_event(
            partition_event(self._key, cell, metadata=metadata, version=version, tags=self._provenance)
        )

    def _tell(self, report: WindowReport) -> None:
        """Warn of what is not a failure but deserves a look."""
        participant = report.cell.participant
        if report.participant_deleted_upstream and participant not in self._deleted_upstream:
            self._deleted_upstream.add(participant)
            self._context.log.warning(
                "%s is no longer on the server. Files of the requested windows count as deleted upstream.", participant
            )
        log_oddities(report, self._context.log)

    def _give_up(self, key: str, report: WindowReport) -> None:
        self._failed[key] = report
        if report.participant_unknown:
            self._unknown.add(report.cell.participant)
        log_failures(report, self._context.log)

    def _failure(self, *, total: int) -> dg.Failure:
        names = sorted(self._failed)
        participants, windows = zip(*map(CellKey.parse, names), strict=True)
        withdrawn = [name for name in names if self._failed[name].participant_withdrawn]
        refused = {name for name in names if CellKey.parse(name).participant in self._unknown}.union(withdrawn)
        again = [name for name in names if name not in refused]
        errors = errors_of(self._failed[name] for name in again)
        description = f"{len(names)} of {total} windows were refused. All others are recorded."
        if again:
            description = (
                f"{len(names)} of {total} windows are incomplete: the lake holds what could be fetched. All others are "
                f"recorded. Errors: {errors}. See the run's log, then materialize again: {listed(again)}"
            )
        if withdrawn:
            description += f" {withdrawn_advice(withdrawn)}"
        if self._unknown:
            description += f" {never_seen_advice(self._unknown)}"
        return dg.Failure(
            description=description,
            metadata={
                "unfinished partitions": len(names),
                "participants": listed(sorted(set(participants))),
                "windows": listed(sorted(set(windows))),
            },
            allow_retries=any(report.transient for report in self._failed.values()),
        )

    def _log_progress(self, progress: Progress) -> None:
        self._context.log.info(
            "%d of %d windows done; %d files; %s downloaded (%s/s), %s stored; %.0f s",
            progress.cells_done,
            progress.cells_total,
            progress.files,
            human_size(progress.downloaded_bytes),
            human_size(progress.rate_bytes_per_second),
            human_size(progress.stored_bytes),
            progress.elapsed_seconds,
        )
