"""What the demo loads where no project lies beside it: the library's own assets."""

from __future__ import annotations

import dagster as dg

from dagster_beiwe.assets import BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.definitions import Automation, build_beiwe_definitions
from dagster_beiwe.demo.folder import REFRESH_CRON


class _Owned(BeiweTranslator):
    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        return super().get_asset_spec(data).replace_attributes(owners=["team:data"])


@dg.definitions
def defs() -> dg.Definitions:
    automation = Automation(
        running=True, roster_seconds=30, changes_seconds=60, histories_seconds=60, refresh_cron=REFRESH_CRON
    )
    beiwe = build_beiwe_definitions(automation=automation, translator=_Owned(), default_io_manager=True)
    return dg.Definitions.merge(beiwe, dg.Definitions(executor=dg.in_process_executor))
