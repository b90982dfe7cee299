"""What the demo loads where no project lies beside it: the library's own assets."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.definitions import Automation, build_beiwe_definitions


@dg.definitions
def defs() -> dg.Definitions:
    beiwe = build_beiwe_definitions(automation=Automation(running=True, roster_seconds=30), default_io_manager=True)
    return dg.Definitions.merge(beiwe, dg.Definitions(executor=dg.in_process_executor))
