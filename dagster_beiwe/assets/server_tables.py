"""Tables of what the server says about a study, requested anew whenever they are materialized."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, study_asset, table_output
from dagster_beiwe.assets.table_schemas import column_types
from dagster_beiwe.client import BeiweClient
from dagster_beiwe.errors import RouteMissingError
from dagster_beiwe.resource import resource_of
from dagster_beiwe.studies.data_volume import read_data_volume
from dagster_beiwe.studies.server_tables import (
    read_forest_statistics,
    read_forest_tasks,
    read_interventions,
    read_survey_history,
)
from dagster_beiwe.studies.study import Study
from dagster_beiwe.tables.content import content_version
from dagster_beiwe.tables.store import TableStore


@dataclass(frozen=True, kw_only=True)
class ServerTable:
    """A table of a study: its name, the asset that it follows, and how it is read.

    ``read`` raises ``RouteMissingError`` if the server does not have the endpoint. Then the table is as it was before,
    or empty.
    """

    name: str
    follows: str
    read: Callable[[BeiweClient, Study], pd.DataFrame]


SERVER_TABLES = (
    ServerTable(name="data_volume", follows="roster", read=read_data_volume),
    ServerTable(name="interventions", follows="roster", read=read_interventions),
    ServerTable(name="survey_history", follows="settings", read=read_survey_history),
    ServerTable(name="forest_tasks", follows="roster", read=read_forest_tasks),
    ServerTable(name="forest_statistics", follows="forest_tasks", read=read_forest_statistics),
)


def build_server_tables(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> list[dg.AssetsDefinition]:
    """``beiwe/<key>/data_volume``, ``interventions``, ``survey_history``, ``forest_tasks``, and ``forest_statistics``.
    Their data versions change with their content."""
    return [_build(study, table, options) for table in SERVER_TABLES]


def _build(study: Study, table: ServerTable, options: AssetOptions) -> dg.AssetsDefinition:
    @study_asset(
        study,
        table.name,
        options,
        deps=[study.asset_key(table.follows)],
    )
    def server_table(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        resource = resource_of(context, study)

        def ask() -> tuple[pd.DataFrame, bool]:
            resource.check_passphrase(study)  # or the answer could not be stored
            with resource.get_client() as client:
                try:
                    return table.read(client, study), True
                except RouteMissingError as error:
                    before = TableStore.of_study(resource.study_lake(study)).find(context.asset_key.path)
                    if before is None or before.empty:
                        context.log.info("%s of %s stays empty. %s", table.name, study.title, error)
                        return _empty(table.name), False
                    context.log.warning("%s of %s stays as it was. %s", table.name, study.title, error)
                    return before, False

        frame, returned = options.retried(ask, context.log)
        metadata = {"dagster/row_count": len(frame), "returned by this server": returned}
        return table_output(frame, metadata, version=content_version(frame))

    return server_table


def _empty(name: str) -> pd.DataFrame:
    table: pd.DataFrame = pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in column_types(name).items()})
    return table
