"""What the page of ``coverage`` shows in Dagster: who is silent, and pictures of who sends what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.coverage import Enrollment, SilenceLimits, SilentParticipant, find_silent
from dagster_beiwe.coverage.changes import changes_in
from dagster_beiwe.pictures.markdown import full_pictures, silent_table, thumbnail
from dagster_beiwe.pictures.sentences import silence_in_words
from dagster_beiwe.pictures.study_charts import StudyCharts
from dagster_beiwe.studies.study import Study

DRAWN_METADATA = "pictures drawn"
RUN_METADATA = "pictures in run"
"""Metadata: when, and in which run, pictures were last recorded in full."""

_APART = timedelta(days=1)


def coverage_pictures(
    context: dg.AssetExecutionContext,
    study: Study,
    frame: pd.DataFrame,
    roster: Mapping[str, Enrollment],
    *,
    quality: Callable[[], pd.DataFrame | None],
) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata for a coverage table that is about to be recorded. ``quality`` returns that table, if it can be read; it
    is called when pictures are drawn in full."""
    limits = SilenceLimits.configured(study.config)
    silent = find_silent(frame, roster, limits=limits)
    charts = StudyCharts(coverage=frame, silent=[each.participant for each in silent], changes=changes_in(frame))
    event = context.instance.get_latest_materialization_event(context.asset_key)
    last = event.asset_materialization if event else None
    return picture_metadata(
        charts,
        silent,
        limits,
        quality=quality,
        before=last.metadata if last else {},
        run_id=context.run.run_id,
        now=datetime.now(timezone.utc),
    )


def picture_metadata(
    charts: StudyCharts,
    silent: Sequence[SilentParticipant],
    limits: SilenceLimits,
    *,
    quality: Callable[[], pd.DataFrame | None],
    before: Mapping[str, dg.MetadataValue[Any]],
    run_id: str,
    now: datetime,
) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata of a materialization whose predecessor has the metadata ``before``.

    What is small is in every materialization. Full pictures stay in Dagster's database for good, so at most one
    materialization a day has them; the others name its run.
    """
    if charts.coverage.empty:
        return {}
    shown: dict[str, dg.MetadataValue[Any]] = {
        "silent": dg.MetadataValue.int(len(silent)),
        "who is silent": dg.MetadataValue.md(silent_table(silence_in_words(charts.coverage, silent, limits), silent)),
        "day by day": dg.MetadataValue.md(thumbnail(charts)),
    }
    drawn = before.get(DRAWN_METADATA)
    if isinstance(drawn, dg.TimestampMetadataValue) and now.timestamp() - drawn.value < _APART.total_seconds():
        return shown | {name: before[name] for name in (DRAWN_METADATA, RUN_METADATA) if name in before}
    pictures = full_pictures(replace(charts, quality=quality()))
    return {
        **shown,
        **{title: dg.MetadataValue.md(text) for title, text in pictures.items()},
        DRAWN_METADATA: dg.MetadataValue.timestamp(now),
        RUN_METADATA: dg.MetadataValue.dagster_run(run_id),
    }
