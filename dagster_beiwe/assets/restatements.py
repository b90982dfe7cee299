"""``restatements``: files that were restated or deleted upstream after they were fetched. A table without content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import dagster as dg

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions
from dagster_beiwe.assets.summaries import Row, build_summary_asset
from dagster_beiwe.lake import FileRecord, Manifest, StudyLake
from dagster_beiwe.studies.study import Study


def build_restatements_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/restatements``. Its data version changes when a file is restated or deleted upstream."""
    return build_summary_asset(
        study,
        "restatements",
        rows=restated_files,
        metadata=_counts,
        unversioned=["last_seen"],
        options=options,
    )


def _counts(rows: list[Row]) -> Mapping[str, int]:
    return {
        "restated": sum(bool(row["restatements"]) for row in rows),
        "deleted_upstream": sum(row["state"] != "present" for row in rows),
    }


def restated_files(lake: StudyLake) -> Iterator[Row]:
    """One row per file that was ever restated or deleted upstream, by participant and window."""
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
