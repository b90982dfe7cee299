"""``quality``: the quality of the rows of a study's raw data, by participant, day, and stream.

It is not partitioned. Which files have been measured is in the lake, so a run reads those that are new, wherever they
are, and its checks look at the whole study.
"""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from datetime import datetime, timezone
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.lineage import SOURCES, column_lineage
from dagster_beiwe.assets.settings import settings_until_now
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.coverage.frame import TIME_ZONE
from dagster_beiwe.quality import Progress, StudyMeasuring
from dagster_beiwe.resource import resource_of
from dagster_beiwe.studies.server_counts import find_zone
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.content import content_version


def build_quality_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/quality``. A run decrypts only files that no run has measured before."""

    @study_asset(
        study,
        "quality",
        options,
        deps=[study.asset_key(name) for name in ("raw_data", "settings", "participant")],
    )
    def quality(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        table, progress = options.retried(lambda: _measure(context, study), context.log)
        metadata = {
            "dagster/row_count": len(table),
            "participants": int(table["participant"].nunique()),
            "files read": progress.files,
            "bytes read": progress.size_bytes,
            "files that could not be read": int(table["unreadable_files"].sum()),
            "time zone": table.attrs[TIME_ZONE],
            **column_lineage(study, SOURCES["quality"]),
        }
        return table_output(table, metadata, version=content_version(table))

    return quality


def _measure(context: dg.AssetExecutionContext, study: Study) -> tuple[pd.DataFrame, Progress]:
    resource = resource_of(context, study)
    with resource.get_client() as client:
        zone = find_zone(study, context.instance, client).zone
        settings = settings_until_now(context, client, study, now=datetime.now(timezone.utc))
    measuring = StudyMeasuring(
        resource.study_lake(study),
        asset_key=study.asset_key("quality").path,
        history_key=study.asset_key("participant").path,
        streams=study.config.looked_at,
        zone=zone,
        settings=settings,
        run_id=context.run.run_id,
    )
    return measuring.run(), measuring.progress
