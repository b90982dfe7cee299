"""Tables made from a study's manifests alone: small, encrypted, and without content."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.study_asset import AssetOptions, study_asset, table_output
from dagster_beiwe.assets.table_schemas import column_types
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.resource import resource_of
from dagster_beiwe.studies.roster import content_hash
from dagster_beiwe.studies.study import Study

Row: TypeAlias = dict[str, Any]


def build_summary_asset(
    study: Study,
    name: str,
    *,
    rows: Callable[[StudyLake], Iterable[Row]],
    metadata: Callable[[list[Row]], Mapping[str, int]],
    unversioned: Iterable[str] = (),
    options: AssetOptions,
) -> dg.AssetsDefinition:
    """``beiwe/<key>/<name>``: the ``rows`` of the study's lake as a table.

    The data version changes with the rows, except for the ``unversioned`` columns.
    """
    types = column_types(name)
    left_out = frozenset(unversioned)

    @study_asset(
        study,
        name,
        options,
        deps=[study.asset_key("raw_data")],
    )
    def summary(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        resource = resource_of(context, study)

        def read() -> list[Row]:
            return list(rows(resource.study_lake(study).at()))

        found = options.retried(read, context.log)
        frame = pd.DataFrame(found, columns=list(types)).astype(types)
        versioned = [{key: value for key, value in row.items() if key not in left_out} for row in found]
        return table_output(frame, metadata(found), version=content_hash(versioned))

    return summary
