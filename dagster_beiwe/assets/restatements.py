"""``restatements``: which files the server changed or deleted after they were fetched. A table without content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from dagster_beiwe.assets.summaries import Row, build_summary_asset
from dagster_beiwe.lake import FileRecord, Manifest, StudyLake
from dagster_beiwe.runs.failures import RETRY_POLICY
from dagster_beiwe.studies.study import Study

COLUMNS = {
    "participant": "Participant id",
    "window": "Key of the window; before or after for out-of-range files",
    "stream": "Data stream",
    "survey_id": "Of survey answers, timings and recordings",
    "time": "Hour of the file, or moment of the recording (UTC)",
    "state": "present; deleted upstream: kept in the lake; removed: deleted in the lake too",
    "size_bytes_before": "Plain size before the last restatement",
    "size_bytes": "Plain size now, or before it was deleted upstream",
    "sha256_before": "Of the plain content before the last restatement",
    "sha256": "Of the plain content now, or before it was deleted upstream",
    "restatements": "How often the content changed since it was first fetched",
    "times_deleted_upstream": "How often the file was found to be deleted on the server; it may have come back",
    "first_seen": "When the file was first fetched (UTC)",
    "fetched_at": "When this content was fetched (UTC)",
    "last_seen": "When the file was last found on the server (UTC)",
    "deleted_upstream_at": "When the file was found to be deleted on the server (UTC); empty if it is there",
}
_NUMBERS = ("size_bytes_before", "size_bytes", "restatements", "times_deleted_upstream")


def build_restatements_asset(study: Study, *, retry_policy: dg.RetryPolicy = RETRY_POLICY) -> dg.AssetsDefinition:
    """``beiwe/<key>/restatements``. Its data version changes when something was restated."""
    return build_summary_asset(
        study,
        "restatements",
        description=(
            f"Files of {study.title} that the server changed or deleted after they were fetched: sizes and hashes "
            "before and after, and when. No content."
        ),
        columns=COLUMNS,
        numbers=_NUMBERS,
        rows=restated_files,
        metadata=_counts,
        passing=["last_seen"],
        retry_policy=retry_policy,
    )


def _counts(rows: list[Row]) -> Mapping[str, int]:
    return {
        "restated": sum(bool(row["restatements"]) for row in rows),
        "deleted_upstream": sum(row["state"] != "present" for row in rows),
    }


def restated_files(lake: StudyLake) -> Iterator[Row]:
    """One row per file that was restated or ever deleted upstream, by participant and window."""
    for participant in lake.participants():
        for manifest in lake.manifests(participant):
            for record in manifest.files:
                if record.restatements or record.times_deleted_upstream:
                    yield _row(manifest, record, "present" if record.present else "deleted upstream")
            for record in manifest.removed:
                if record.restatements or record.times_deleted_upstream:
                    yield _row(manifest, record, "removed")


def _row(manifest: Manifest, record: FileRecord, state: str) -> Row:
    before = record.previous
    return {
        "participant": manifest.participant,
        "window": manifest.window,
        "stream": record.stream,
        "survey_id": record.survey_id,
        "time": record.time,
        "state": state,
        "size_bytes_before": before.size_bytes if before else None,
        "size_bytes": record.size_bytes,
        "sha256_before": before.sha256 if before else None,
        "sha256": record.sha256,
        "restatements": record.restatements,
        "times_deleted_upstream": record.times_deleted_upstream,
        "first_seen": record.first_seen,
        "fetched_at": record.fetched_at,
        "last_seen": manifest.last_seen(record),
        "deleted_upstream_at": record.deleted_upstream_at,
    }
