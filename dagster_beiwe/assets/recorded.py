"""Assets that record their own partitions: what they return, and where a retry continues."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from dagster_beiwe.runs.dagster_private import CONTINUATION_TAGS, RECORDED_BY_ITSELF

_PAGE = 1000


RECORDS_ITSELF: Mapping[str, Any] = {
    "dagster_type": dg.Nothing,
    "output_required": False,
    "backfill_policy": dg.BackfillPolicy.single_run(),
}
"""Options of such an asset. The lake holds its data already, so there is nothing for an IO manager to store.

One run per stretch of the longer dimension: 500 participants by 52 weeks become 52 runs. A run costs about five seconds
in addition to its work, and everything it recorded stays if it dies, so fewer and longer runs are better. Only with
this policy does ``dagster asset materialize --partition-range`` work."""


def recorded_output() -> dg.Output[None]:
    """The output of an asset that recorded each of its partitions itself.

    Without an output, Dagster silently skips tables and checks that depend on the asset in the same run. With a plain
    output, it records all partitions once more, under one data version and without their numbers.
    """
    return dg.Output(None, metadata={RECORDED_BY_ITSELF: True})


def is_continuation(run: dg.DagsterRun) -> bool:
    """Whether a run continues a failed one: an automatic retry, or "re-execute from failure" in the UI.

    "Re-execute all" does not: it asks the server again.
    """
    return run.parent_run_id is not None and any(tag in run.tags for tag in CONTINUATION_TAGS)


def recorded_by_retried_runs(
    context: dg.AssetExecutionContext, key: dg.AssetKey, partitions: Sequence[str]
) -> dict[str, dg.AssetMaterialization]:
    """{partition: its newest event}, if that event is from a run that this one retries.

    Partitions that another run has recorded since are left out.
    """
    return _newest_events(context.instance, key, partitions, set(_retried_runs(context.instance, context.run)))


def _retried_runs(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """Ids of the runs that this one retries, back to the first."""
    parent = run.parent_run_id
    while parent:
        yield parent
        earlier = instance.get_run_by_id(parent)
        parent = earlier.parent_run_id if earlier else None


def _newest_events(
    instance: dg.DagsterInstance, key: dg.AssetKey, partitions: Sequence[str], run_ids: Collection[str]
) -> dict[str, dg.AssetMaterialization]:
    newest: dict[str, tuple[str, dg.AssetMaterialization]] = {}
    started = [record.start_time for record in map(instance.get_run_record_by_id, run_ids) if record]
    since = min((moment for moment in started if moment is not None), default=None)
    records = dg.AssetRecordsFilter(asset_key=key, asset_partitions=list(partitions), after_timestamp=since)
    cursor, more = None, True
    while more:
        page = instance.fetch_materializations(records, limit=_PAGE, cursor=cursor)
        for record in page.records:
            event = record.asset_materialization
            if event is not None and event.partition is not None:
                newest.setdefault(str(event.partition), (record.run_id, event))
        cursor, more = page.cursor, page.has_more
    return {partition: event for partition, (run_id, event) in newest.items() if run_id in run_ids}
