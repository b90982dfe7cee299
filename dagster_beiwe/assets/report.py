"""``report``: who sends what, as one HTML page that is stored encrypted."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from typing import Any

import dagster as dg

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.report.page import Report, render
from dagster_beiwe.report.tables import page_table, read_report
from dagster_beiwe.resource import resource_of
from dagster_beiwe.studies.roster import content_hash
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.store import TableStore


def build_report_asset(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> dg.AssetsDefinition:
    """``beiwe/<key>/report``: a table of one cell, made from the study's other tables."""

    @study_asset(
        study,
        "report",
        options,
        deps=[study.asset_key("coverage")],
    )
    def report(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        resource = resource_of(context, study)

        def read() -> Report:
            tables = TableStore.of_study(resource.study_lake(study).at())
            return read_report(tables, lambda name: study.asset_key(name).path, study=study.name)

        content = options.retried(read, context.log)
        page = render(content)
        metadata = {
            "silent": len(content.silent),
            "size_bytes": len(page.encode()),
            "to read it": dg.MetadataValue.md(f"`dagster-beiwe report --study {study.id} --stored --to report.html`"),
        }
        return table_output(page_table(page), metadata, version=content_hash(page))

    return report
