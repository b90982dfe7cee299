"""Schedules: fetch the newest windows again, and check the lake.

Each run covers a rectangle of adjacent participants by consecutive windows, so that there are few runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timezone

import dagster as dg

from dagster_beiwe.automation.limits import PARTITIONS_PER_RUN
from dagster_beiwe.partitions.definitions import participants_name, window_keys
from dagster_beiwe.partitions.events import refreshed_participants
from dagster_beiwe.partitions.rectangles import Rectangle, stretches
from dagster_beiwe.partitions.run_keys import MOVED_ONLY, REFRESH_TAG
from dagster_beiwe.runs.dagster_private import AssetJob
from dagster_beiwe.studies.study import Study

DEFAULT_CRON = "0 5 * * *"
DEFAULT_AUDIT_CRON = "0 6 * * *"
DEFAULT_CHECKS_CRON = "0 8 * * *"
DEFAULT_REPORT_CRON = "0 9 * * 1"
"""An hour after the checks have made the tables that the report is made from."""


def build_refresh_schedule(
    study: Study,
    *,
    tables: Sequence[dg.AssetsDefinition] = (),
    raw_data: dg.AssetsDefinition | None = None,
    cron: str = DEFAULT_CRON,
    running: bool = False,
) -> dg.ScheduleDefinition:
    """Fetches what the server says about the study, and the newest windows of all participants, again.

    Windows whose counts have not changed cost no request. Servers without counts are asked for all of them.
    """
    targets = [*tables, *([raw_data] if raw_data else [])]

    @dg.schedule(
        name=f"{study.key}_refresh",
        target=dg.AssetSelection.assets(*targets),
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=(
            f"Fetches roster, settings, counts, and the newest {study.config.refresh_windows} windows of "
            f"{study.title} again."
        ),
    )
    def refresh(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        moment = context.scheduled_execution_time.astimezone(timezone.utc)
        table_keys = [asset.key for asset in tables]
        run_key = f"{moment:%Y-%m-%dT%H:%M:%S} tables"
        yield dg.RunRequest(run_key=run_key, asset_selection=table_keys, asset_check_keys=[])
        if raw_data is None:
            return
        order = context.instance.get_dynamic_partitions(participants_name(study.id))
        wanted = refreshed_participants(context.instance, study, order)
        windows = window_keys(study, now=moment)[-study.config.refresh_windows :]
        rectangles = [Rectangle(stretch, tuple(windows)) for stretch in stretches(order, wanted)]
        for run in (part for rectangle in rectangles for part in rectangle.split(PARTITIONS_PER_RUN)):
            run_key = f"{moment:%Y-%m-%dT%H:%M:%S} {run.range}"
            tags = {**run.tags, REFRESH_TAG: MOVED_ONLY}
            yield dg.RunRequest(run_key=run_key, tags=tags, asset_selection=[raw_data.key], asset_check_keys=[])

    return refresh


def build_checks_job(
    study: Study,
    summaries: Sequence[dg.AssetsDefinition],
    checks: dg.AssetChecksDefinition,
    *,
    quality: dg.AssetsDefinition | None = None,
) -> AssetJob:
    """``<key>_checks``: the tables made from manifests alone, and every check of the study but those on ``quality``."""
    of_rows = dg.AssetSelection.checks_for_assets(*([quality] if quality else []))
    return dg.define_asset_job(
        f"{study.key}_checks",
        selection=dg.AssetSelection.assets(*summaries) | (dg.AssetSelection.checks(checks) - of_rows),
        description=f"Checks that the data of {study.title} is complete, intact, and protected.",
    )


def build_quality_job(study: Study, quality: dg.AssetsDefinition) -> AssetJob:
    """``<key>_quality``: the quality of the rows, and its checks. The first run reads all files, which can take hours,
    and no other check should wait for it."""
    return dg.define_asset_job(
        f"{study.key}_quality",
        selection=dg.AssetSelection.assets(quality),
        description=f"Measures the new rows of {study.title}, and checks the quality of all rows.",
    )


def build_report_job(study: Study, report: dg.AssetsDefinition) -> AssetJob:
    """``<key>_report``: the page about who sends what."""
    return dg.define_asset_job(
        f"{study.key}_report",
        selection=dg.AssetSelection.assets(report).without_checks(),
        description=f"Writes the report about who sends what in {study.title}.",
    )


def build_job_schedule(
    job: AssetJob | dg.JobDefinition, *, cron: str = DEFAULT_CHECKS_CRON, running: bool = False
) -> dg.ScheduleDefinition:
    """Runs a job by the clock. The schedule has the job's name and description."""
    return dg.ScheduleDefinition(
        name=job.name,
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=job.description,
    )
