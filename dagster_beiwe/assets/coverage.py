"""``coverage``: what the lake holds of whom, and the home of the checks that look at a whole study.

The checks are not on ``raw_data``: each of its runs would plan them for a few windows, leave them out, and so hide the
last result.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.beta import beta_features
from dagster_beiwe.assets.failures import RETRY_POLICY, clear_failures
from dagster_beiwe.config import StudyFacts, table_io_manager_key
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.roster import content_hash

COLUMNS = {
    "participant": "Participant id",
    "stream": "Data stream",
    "files": "Files in the lake that the server still had when it was last asked",
    "size_bytes": "Their plain size",
    "stored_bytes": "What they take in the lake",
    "first": "Hour of the first file, or moment of the first recording (UTC)",
    "last": "The same of the last one",
}
_NUMBERS = ("files", "size_bytes", "stored_bytes")


def build_coverage_asset(study: StudyFacts, *, retry_policy: dg.RetryPolicy = RETRY_POLICY) -> dg.AssetsDefinition:
    """``beiwe/<key>/coverage``. Reads manifests only; its data version changes with what the lake holds."""
    types = {name: "Int64" if name in _NUMBERS else "string" for name in COLUMNS}
    columns = [dg.TableColumn(name, types[name], description=text) for name, text in COLUMNS.items()]

    @dg.asset(
        key=["beiwe", study.key, "coverage"],
        deps=[dg.AssetKey(["beiwe", study.key, "raw_data"])],
        group_name=study.key,
        kinds={"beiwe"},
        owners=list(study.owners),
        required_resource_keys={study.deployment},
        io_manager_key=table_io_manager_key(study.deployment),
        retry_policy=retry_policy,
        description=(
            f"What the lake holds of {study.name}, by participant and stream. Its checks tell whether that is "
            "complete, intact and protected."
        ),
        metadata={**study.to_metadata(), "dagster/column_schema": dg.TableSchema(columns)},
    )
    def coverage(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        with clear_failures():
            lake = getattr(context.resources, study.deployment).study_lake(study)
            rows = list(_rows(lake))
        metadata = {
            "dagster/row_count": len(rows),
            "participants": len({row["participant"] for row in rows}),
            "files": sum(row["files"] for row in rows),
            "size_bytes": sum(row["size_bytes"] for row in rows),
            "stored_bytes": sum(row["stored_bytes"] for row in rows),
        }
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype(types)
        with beta_features():
            return dg.Output(frame, metadata=metadata, data_version=dg.DataVersion(content_hash(rows)))

    return coverage


def _rows(lake: StudyLake) -> Iterator[dict[str, Any]]:
    """One row per participant and stream with any file."""
    for participant in lake.participants():
        streams: dict[str, list[FileRecord]] = {}
        for manifest in lake.manifests(participant):
            for record in manifest.files:
                if record.present:
                    streams.setdefault(record.stream, []).append(record)
        for stream, records in sorted(streams.items()):
            times = [record.time for record in records]
            yield {
                "participant": participant,
                "stream": stream,
                "files": len(records),
                "size_bytes": total_bytes(records),
                "stored_bytes": sum(record.stored_size_bytes for record in records),
                "first": min(times),
                "last": max(times),
            }
