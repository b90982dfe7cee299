"""What is made from a study's manifests alone: small encrypted tables beside ``raw_data``, without content."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.beta import beta_features
from dagster_beiwe.lake import StudyLake
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.runs.failures import RETRY_POLICY, with_retries
from dagster_beiwe.studies.config import table_io_manager_key
from dagster_beiwe.studies.roster import content_hash
from dagster_beiwe.studies.study import Study

Row: TypeAlias = dict[str, Any]


def build_summary_asset(
    study: Study,
    name: str,
    *,
    description: str,
    columns: Mapping[str, str],
    numbers: Iterable[str],
    rows: Callable[[StudyLake], Iterable[Row]],
    metadata: Callable[[list[Row]], Mapping[str, int]],
    passing: Iterable[str] = (),
    retry_policy: dg.RetryPolicy = RETRY_POLICY,
) -> dg.AssetsDefinition:
    """``beiwe/<key>/<name>``: the ``rows`` of the study's lake as a table.

    ``columns`` are {name: what it says}; ``numbers`` names those that hold integers, the others hold text. The data
    version changes with the rows, but for the ``passing`` columns.
    """
    types = {column: "Int64" if column in set(numbers) else "string" for column in columns}
    schema = dg.TableSchema([dg.TableColumn(each, types[each], description=text) for each, text in columns.items()])
    left_out = frozenset(passing)

    @dg.asset(
        key=study.asset_key(name),
        deps=[study.asset_key("raw_data")],
        group_name=study.key,
        kinds={"beiwe"},
        owners=list(study.config.owners),
        required_resource_keys={study.config.deployment},
        io_manager_key=table_io_manager_key(study.config.deployment),
        description=description,
        metadata={**study.to_metadata(), "dagster/column_schema": schema},
    )
    def summary(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        resource: BeiweResource = getattr(context.resources, study.config.deployment)

        def read() -> list[Row]:
            return list(rows(resource.study_lake(study).at()))

        found = with_retries(read, policy=retry_policy, log=context.log)
        frame = pd.DataFrame(found, columns=list(columns)).astype(types)
        lasting = [{key: value for key, value in row.items() if key not in left_out} for row in found]
        with beta_features():
            return dg.Output(frame, metadata=dict(metadata(found)), data_version=dg.DataVersion(content_hash(lasting)))

    return summary
