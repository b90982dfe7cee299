"""The schedule that writes the report of a study."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.studies.study import Study

DEFAULT_REPORT_CRON = "0 9 * * 1"
"""Mondays at 09:00 UTC, an hour after the checks have made the tables that it tells of."""


def build_report_schedule(
    study: Study, report: dg.AssetsDefinition, *, cron: str = DEFAULT_REPORT_CRON, running: bool = False
) -> dg.ScheduleDefinition:
    """Runs the job ``<key>_report``."""
    text = f"Writes the report about who sends what in {study.title}."
    job = dg.define_asset_job(
        f"{study.key}_report", selection=dg.AssetSelection.assets(report).without_checks(), description=text
    )
    return dg.ScheduleDefinition(
        name=f"{study.key}_report",
        job=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING if running else dg.DefaultScheduleStatus.STOPPED,
        description=text,
    )
