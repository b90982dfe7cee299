"""``participant``: who each participant is and what their phone reported, recorded one by one.

Its data version is that of a person's lasting facts, so a phone that reports every minute makes nothing stale.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from dagster_beiwe.assets.provenance import provenance_tags
from dagster_beiwe.assets.recorded import RECORDS_ITSELF, recorded_output
from dagster_beiwe.assets.roster import participant_table
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset
from dagster_beiwe.errors import ServerError
from dagster_beiwe.ids import check_participant_id
from dagster_beiwe.lake.manifest import TableManifest
from dagster_beiwe.partitions.definitions import participant_partitions
from dagster_beiwe.partitions.events import partition_event
from dagster_beiwe.partitions.fetched import Fetched
from dagster_beiwe.partitions.run_keys import readable_stretch
from dagster_beiwe.resource import resource_of
from dagster_beiwe.runs.failures import partly_failed
from dagster_beiwe.runs.remembered_heads import remembered_heads
from dagster_beiwe.studies.participant_history import Kind, ParticipantHistory, read_participant
from dagster_beiwe.studies.roster import Row, roster_rows
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore


def build_participant_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/participant``: one request for the participant table in each run, and five for each participant."""

    @study_asset(
        study,
        "participant",
        options,
        deps=[study.asset_key("roster")],
        partitions_def=participant_partitions(study.id),
        pool=options.pool,
        **RECORDS_ITSELF,
    )
    def participant(context: dg.AssetExecutionContext) -> Iterator[dg.Output[None]]:
        participants = _Participants(context, study, options)
        options.retried(participants.fetch, context.log, unfinished=participants.unfinished)
        yield recorded_output()

    return participant


class _Participants:
    """The participants of one run. Another ``fetch`` continues with those that are left."""

    def __init__(self, context: dg.AssetExecutionContext, study: Study, options: AssetOptions) -> None:
        self._context, self._study = context, study
        self._key = study.asset_key("participant")
        self._open = dict.fromkeys(check_participant_id(str(each)) for each in context.partition_keys)
        self._lacking: tuple[Kind, ...] = ()
        context.instance.add_run_tags(context.run.run_id, readable_stretch(list(self._open)))
        self._provenance = provenance_tags(
            context.instance,
            study,
            "participant",
            options,
            made_from=[study.asset_key("roster")],
            run_id=context.run.run_id,
        )

    def unfinished(self) -> list[str]:
        """Partitions that are not recorded yet."""
        return list(self._open)

    def fetch(self) -> None:
        resource = resource_of(self._context, self._study)
        lake = resource.study_lake(self._study)
        lake.log.check(remembered_heads(self._context.instance, self._study))
        store, failed = TableStore.of_study(lake), list[str]()
        with resource.get_client() as client:
            table = participant_table(client, resource, self._study, self._context.log)
            for row in roster_rows(self._open, table):
                participant = str(row["participant"])
                try:
                    history = read_participant(client, participant, row, lacking=self._lacking)
                except ServerError as error:
                    if error.transient:
                        raise
                    self._context.log.error("%s: %s: %s", participant, type(error).__name__, error)
                    failed.append(participant)
                else:
                    self._keep(store, row, history)
                    del self._open[participant]
        if failed:
            raise partly_failed(f"{len(failed)} participants could not be fetched", failed)

    def _keep(self, store: TableStore, row: Row, history: ParticipantHistory) -> None:
        """Store a participant's table, and record it at once: it stays recorded if the run dies."""
        if history.missing != self._lacking:
            self._lacking = history.missing
            self._context.log.info(
                "The server has no endpoint for: %s. What it returned before is kept.", ", ".join(self._lacking)
            )
        participant, run_id = str(row["participant"]), self._context.run.run_id
        before = store.find(self._key.path, partition=participant) if history.missing else None
        if before is not None:
            history = history.completed(before)
        written = store.write(self._key.path, history.frame, partition=participant, run_id=run_id)
        fetched = Fetched.now(row, now=datetime.now(timezone.utc))
        self._context.log_event(
            partition_event(
                self._key,
                participant,
                metadata=_metadata(history, written),
                version=fetched.version,
                tags={**self._provenance, **fetched.tags},
            )
        )


def _metadata(history: ParticipantHistory, written: TableManifest) -> dict[str, Any]:
    last = {"last upload": history.last("upload"), "last heartbeat": history.last("heartbeat")}
    lacking = {"not returned by this server": dg.MetadataValue.json(list(history.missing))} if history.missing else {}
    return {
        "dagster/partition_row_count": written.rows,
        "size_bytes": written.stored_size_bytes,
        "rows by kind": dg.MetadataValue.json(history.rows()),
        **{name: dg.MetadataValue.timestamp(moment) for name, moment in last.items() if moment},
        **lacking,
    }
