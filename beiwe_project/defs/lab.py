"""What the lab adds for the whole project: a sensor for its tables, and where steps run."""

from __future__ import annotations

import os

import dagster as dg


@dg.definitions
def lab() -> dg.Definitions:
    running = os.environ.get("BEIWE_AUTOMATION", "").lower() == "running"
    followers = dg.AutomationConditionSensorDefinition(
        "lab_tables",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=300,
        default_status=dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED,
        description="Makes the lab's tables where their raw data has new content.",
    )
    # Each run is one step: a process of its own for it would only load everything once more.
    return dg.Definitions(sensors=[followers], executor=dg.in_process_executor)
