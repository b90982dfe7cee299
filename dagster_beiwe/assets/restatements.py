"""``restatements``: which files the server changed or withdrew after they were fetched. A table without content."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.beta import beta_features
from dagster_beiwe.assets.failures import RETRY_POLICY, clear_failures
from dagster_beiwe.config import StudyFacts, table_io_manager_key
from dagster_beiwe.lake import FileRecord, Manifest, StudyLake
from dagster_beiwe.roster import content_hash

COLUMNS = {
    "participant": "Participant id",
    "window": "Key of the window; before and after for strays",
    "stream": "Data stream",
    "survey_id": "Of survey answers, timings and recordings",
    "time": "Hour of the file, or moment of the recording (UTC)",
    "size_bytes_before": "Plain size before the last restatement",
    "size_bytes": "Plain size now, or when it vanished",
    "sha256_before": "Of the plain content before the last restatement",
    "sha256": "Of the plain content now, or when it vanished",
    "restatements": "How often the content changed since it was first fetched",
    "first_seen": "When the file was first fetched (UTC)",
    "fetched_at": "When this content was fetched (UTC)",
    "last_seen": "When the window was last compared with the server and the file was there (UTC); empty if vanished",
    "vanished_at": "When the file was found to be gone from the server (UTC); empty if it is there",
}
_NUMBERS = ("size_bytes_before", "size_bytes", "restatements")


def build_restatements_asset(study: StudyFacts, *, retry_policy: dg.RetryPolicy = RETRY_POLICY) -> dg.AssetsDefinition:
    """``beiwe/<key>/restatements``. Reads manifests only; its data version changes when something was restated."""
    types = {name: "Int64" if name in _NUMBERS else "string" for name in COLUMNS}
    columns = [dg.TableColumn(name, types[name], description=text) for name, text in COLUMNS.items()]

    @dg.asset(
        key=["beiwe", study.key, "restatements"],
        deps=[dg.AssetKey(["beiwe", study.key, "raw_data"])],
        group_name=study.key,
        kinds={"beiwe"},
        owners=list(study.owners),
        required_resource_keys={study.deployment},
        io_manager_key=table_io_manager_key(study.deployment),
        retry_policy=retry_policy,
        description=(
            f"Files of {study.name} that the server changed or withdrew after they were fetched: sizes and hashes "
            "before and after, and when. No content."
        ),
        metadata={**study.to_metadata(), "dagster/column_schema": dg.TableSchema(columns)},
    )
    def restatements(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        with clear_failures():
            lake = getattr(context.resources, study.deployment).study_lake(study)
            rows = list(restated_files(lake))
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)
        metadata = {
            "restated": sum(bool(row["restatements"]) for row in rows),
            "vanished": sum(row["vanished_at"] is not None for row in rows),
        }
        lasting = [{name: value for name, value in row.items() if name != "last_seen"} for row in rows]
        with beta_features():
            return dg.Output(frame, metadata=metadata, data_version=dg.DataVersion(content_hash(lasting)))

    return restatements


def restated_files(lake: StudyLake) -> Iterator[dict[str, Any]]:
    """One row per file that was restated or has vanished, by participant and window."""
    for participant in lake.participants():
        for manifest in lake.manifests(participant):
            for record in manifest.files:
                if record.restatements or not record.present:
                    yield _row(manifest, record)


def _row(manifest: Manifest, record: FileRecord) -> dict[str, Any]:
    before = record.previous
    return {
        "participant": manifest.participant,
        "window": manifest.window,
        "stream": record.stream,
        "survey_id": record.survey_id,
        "time": record.time,
        "size_bytes_before": before.size_bytes if before else None,
        "size_bytes": record.size_bytes,
        "sha256_before": before.sha256 if before else None,
        "sha256": record.sha256,
        "restatements": record.restatements,
        "first_seen": record.first_seen,
        "fetched_at": record.fetched_at,
        "last_seen": manifest.committed_at if record.present else None,
        "vanished_at": record.vanished_at,
    }
