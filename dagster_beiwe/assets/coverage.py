"""``coverage``: what the lake holds of each participant. The checks of the whole study are on this asset.

They are not on ``raw_data``, whose runs cover only a few windows: each run would plan the checks, leave them out, and
so hide the last result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions
from dagster_beiwe.assets.summaries import Row, build_summary_asset
from dagster_beiwe.lake import FileRecord, StudyLake
from dagster_beiwe.lake.manifest import total_bytes
from dagster_beiwe.studies.study import Study
from dagster_beiwe.windows import start_of_key

_TOTALS = ("files", "size_bytes", "stored_bytes")


def build_coverage_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/coverage``. Its data version changes with what the lake holds."""
    return build_summary_asset(study, "coverage", rows=_rows, metadata=_totals, options=options)


def _totals(rows: list[Row]) -> Mapping[str, int]:
    return {
        "dagster/row_count": len(rows),
        "participants": len({row["participant"] for row in rows}),
        **{name: sum(row[name] for row in rows) for name in _TOTALS},
    }


def _rows(lake: StudyLake) -> Iterator[Row]:
    """One row per participant and stream that has files."""
    for participant in lake.participants():
        streams: dict[str, list[FileRecord]] = {}
        for record in _files(lake, participant):
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


def _files(lake: StudyLake, participant: str) -> Iterable[FileRecord]:
    """Each file once: if a file dated in the future has come again in its own window, that window counts."""
    manifests = sorted(lake.manifests(participant), key=lambda manifest: start_of_key(manifest.window) is None)
    records: dict[str, FileRecord] = {}
    for manifest in manifests:
        for record in manifest.files:
            records.setdefault(record.key, record)
    return records.values()
