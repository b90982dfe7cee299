"""What the demo loads where no project lies beside it: the library's own assets."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.definitions import Automation, build_beiwe_definitions
from dagster_beiwe.demo.folder import REFRESH_CRON
from dagster_beiwe.studies.config import EVERY_STUDY, StudyConfig


@dg.definitions
def defs() -> dg.Definitions:
    automation = Automation(
        running=True, roster_seconds=30, changes_seconds=60, histories_seconds=60, refresh_cron=REFRESH_CRON
    )
    everything = StudyConfig(EVERY_STUDY, owners=["team:data"])
    beiwe = build_beiwe_definitions([everything], automation=automation, default_io_manager=True)
    return dg.Definitions.merge(beiwe, dg.Definitions(executor=dg.in_process_executor))
