"""What a partition was made from. Dagster notes it of outputs, but not of partitions that are recorded one by one.

Without a note, Dagster compares times: every window would become stale whenever the participant is fetched again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from dagster_beiwe.assets.study_asset import AssetOptions
from dagster_beiwe.assets.translator import BeiweTranslatorData
from dagster_beiwe.runs.dagster_private import (
    CODE_VERSION_TAG,
    DATA_VERSION_TAG,
    INPUT_EVENT_TAG,
    INPUT_VERSION_TAG,
    NO_EVENT,
    NO_VERSION,
    UNVERSIONED,
)
from dagster_beiwe.studies.study import Study


def provenance_tags(
    instance: dg.DagsterInstance,
    study: Study,
    name: str,
    options: AssetOptions,
    *,
    made_from: Iterable[dg.AssetKey] = (),
    follows: Iterable[dg.AssetKey] = (),
    run_id: str,
) -> Mapping[str, str]:
    """Tags of every partition of an asset that a run records.

    What the asset is ``made_from`` makes it stale, as do dependencies that a translator added. What it only ``follows``
    in the lineage does not.
    """
    spec = options.translator.get_asset_spec(BeiweTranslatorData(name=name, study=study))
    events = {key: _newest(instance, key) for key in (*made_from, *(dep.asset_key for dep in spec.deps))}
    events |= dict.fromkeys(follows, (NO_VERSION, NO_EVENT))
    return {
        CODE_VERSION_TAG: spec.code_version or run_id,
        **{INPUT_VERSION_TAG.format(key.to_user_string()): version for key, (version, _) in events.items()},
        **{INPUT_EVENT_TAG.format(key.to_user_string()): event for key, (_, event) in events.items()},
    }


def raw_provenance(
    instance: dg.DagsterInstance, study: Study, name: str, options: AssetOptions, *, run_id: str
) -> Mapping[str, str]:
    """Tags of partitions of raw data: they come after their participant, but hold nothing of what that says."""
    return provenance_tags(instance, study, name, options, follows=[study.asset_key("participant")], run_id=run_id)


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[str, str]:
    """Data version and event of the newest materialization of an asset."""
    for record in instance.fetch_materializations(key, limit=1).records:
        if record.asset_materialization is not None:
            tags = record.asset_materialization.tags or {}
            return tags.get(DATA_VERSION_TAG, UNVERSIONED), str(record.storage_id)
    return NO_VERSION, NO_EVENT
