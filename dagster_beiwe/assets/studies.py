"""``studies``: what the access keys of every deployment can see."""

# Without `from __future__ import annotations`: Dagster reads the types of contexts and outputs when it decorates.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd

from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions, asset_of, table_output
from dagster_beiwe.assets.table_schemas import COLUMNS
from dagster_beiwe.assets.translator import STUDIES, BeiweTranslator, BeiweTranslatorData
from dagster_beiwe.resource import BeiweResource
from dagster_beiwe.studies.config import table_io_manager_key
from dagster_beiwe.studies.discovery import StudyMemory, learn_starts, refresh_studies
from dagster_beiwe.studies.roster import content_hash
from dagster_beiwe.studies.study import Study
from dagster_beiwe.text import as_code


def studies_key(translator: BeiweTranslator) -> dg.AssetKey:
    return _spec(translator).key


def build_studies_asset(
    deployments: Sequence[str],
    options: AssetOptions = DEFAULT_OPTIONS,
    *,
    state_folder: str | Path | None = None,
) -> dg.AssetsDefinition:
    """``beiwe/studies``. New studies get assets when the code location is reloaded."""

    @asset_of(
        _spec(options.translator),
        required_resource_keys=set(deployments),
        io_manager_key=table_io_manager_key(deployments[0]),
    )
    def studies(context: dg.AssetExecutionContext) -> dg.Output[Any]:
        def ask() -> list[dict[str, str]]:
            return [
                {"deployment": deployment, "study_id": each.id, "name": each.name, "key": each.key}
                for deployment in deployments
                for each in _visible_studies(getattr(context.resources, deployment), deployment, state_folder)
            ]

        rows = options.retried(ask, context.log)
        frame = pd.DataFrame(rows, columns=list(COLUMNS[STUDIES]), dtype="string")
        names = "\n".join(f"- {as_code(row['name'])}" for row in rows[:200]) or "none"
        return table_output(frame, {"studies": dg.MetadataValue.md(names)}, version=content_hash(rows))

    return studies


def _spec(translator: BeiweTranslator) -> dg.AssetSpec:
    return translator.get_asset_spec(BeiweTranslatorData(name=STUDIES, study=None))


def _visible_studies(resource: BeiweResource, deployment: str, state_folder: str | Path | None) -> list[Study]:
    """The studies that the access keys can see now; all of them are remembered."""
    memory = StudyMemory(deployment, folder=state_folder)
    with resource.get_client() as client:
        seen = client.studies()
        known = refresh_studies(memory, client)
        learn_starts(memory, client, seen)
    return [each for each in known.values() if each.id in seen]
