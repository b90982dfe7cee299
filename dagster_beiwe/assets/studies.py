"""``studies``: what the access keys of every deployment can see."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, asset_of, table_output
from dagster_beiwe.assets.table_schemas import COLUMNS
from dagster_beiwe.assets.translator import STUDIES, BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.studies.config import table_io_manager_key
from dagster_beiwe.studies.roster import content_hash
from dagster_beiwe.studies.study import Study
from dagster_beiwe.study_finder import ask_and_remember
from dagster_beiwe.text import as_code

_STUDIES = BeiweTranslatorData(name=STUDIES, study=None)


def studies_key(translator: BeiweTranslator) -> dg.AssetKey:
    return translator.get_asset_spec(_STUDIES).key


Ask = Callable[[Mapping[str, BeiweResource]], Iterable[Study]]
"""Asks deployments for the studies that the access keys can see now, and remembers what they answer."""


def build_studies_asset(
    deployments: Sequence[str], options: AssetOptions = DEFAULT_OPTIONS, *, ask: Ask = ask_and_remember
) -> dg.AssetsDefinition:
    """``beiwe/studies``. New studies get assets when the code location is reloaded."""

    @asset_of(
        _STUDIES,
        options,
        required_resource_keys=set(deployments),
        io_manager_key=table_io_manager_key(deployments[0]),
    )
    def studies(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        def rows_now() -> list[dict[str, str]]:
            return [
                {"deployment": each.config.deployment, "study_id": each.id, "name": each.name, "key": each.key}
                for each in ask({name: getattr(context.resources, name) for name in deployments})
            ]

        rows = options.retried(rows_now, context.log)
        frame = pd.DataFrame(rows, columns=list(COLUMNS[STUDIES]), dtype="string")
        names = "\n".join(f"- {as_code(row['name'])}" for row in rows[:200]) or "none"
        return table_output(frame, {"studies": dg.MetadataValue.md(names)}, version=content_hash(rows))

    return studies
