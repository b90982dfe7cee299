"""What Dagster loads (see workspace.yaml). Everything comes from the environment:

- ``BEIWE_URL``, ``BEIWE_ACCESS_KEY``, ``BEIWE_SECRET_KEY``, or ``BEIWE_KEYRING_SECTION`` and ``NRG_KEYRING_PASS``
- ``BEIWE_LAKE``, ``BEIWE_LAKE_PASSPHRASE``
- ``BEIWE_STUDIES``, ``BEIWE_START``: which studies, since when; all of them, since their first participant, if not set
- ``BEIWE_TABLES``: the stream tables of the studies that are named, such as ``accelerometer,gps``; none if not set
- ``BEIWE_AUTOMATION=running``: schedules and sensors are on from the beginning; ``BEIWE_REFRESH_CRON``
"""

from __future__ import annotations

import os

import dagster as dg

from beiwe_project.assets import OWNERS, lab_assets
from dagster_beiwe import Automation, BeiweTranslator, BeiweTranslatorData, build_beiwe_definitions


class LabTranslator(BeiweTranslator):
    """Whom Dagster shows as the owner of the studies' assets."""

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        return super().get_asset_spec(data).replace_attributes(owners=OWNERS)


@dg.definitions
def defs() -> dg.Definitions:
    running = os.environ.get("BEIWE_AUTOMATION", "").lower() == "running"
    automation = Automation(
        running=running,
        roster_seconds=30 if running else 600,
        changes_seconds=60 if running else 3600,
        histories_seconds=60 if running else 3600,
        refresh_cron=os.environ.get("BEIWE_REFRESH_CRON") or "0 5 * * *",
    )
    beiwe = build_beiwe_definitions(
        per_study=lab_assets, automation=automation, translator=LabTranslator(), default_io_manager=True
    )
    followers = dg.AutomationConditionSensorDefinition(
        "lab_tables",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Makes the lab's tables where their raw data has new content.",
    )
    # Each run is one step: a process of its own for it would only load everything once more.
    return dg.Definitions.merge(beiwe, dg.Definitions(sensors=[followers], executor=dg.in_process_executor))
