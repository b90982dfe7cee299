"""The assets of a study. Built from its configuration alone: nothing is asked from the server here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from dagster_beiwe.assets.coverage import build_coverage_asset
from dagster_beiwe.assets.out_of_range import build_out_of_range_asset
from dagster_beiwe.assets.raw_data import build_raw_data_asset
from dagster_beiwe.assets.restatements import build_restatements_asset
from dagster_beiwe.assets.tables import build_roster_asset, build_settings_asset, build_studies_asset
from dagster_beiwe.runs.failures import RETRY_POLICY
from dagster_beiwe.studies.choice import identify_study
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.discovery import StudyMemory
from dagster_beiwe.studies.study import Study

__all__ = ["assets_of", "build_studies_asset", "build_study_assets"]

_HIDDEN = "The server does not name this study any more, so runs will fail; what was fetched stays in the lake."

logger = logging.getLogger("dagster_beiwe")


def build_study_assets(
    study: StudyConfig,
    *,
    pool: str = "beiwe",
    retry_policy: dg.RetryPolicy = RETRY_POLICY,
    state_folder: str | Path | None = None,
) -> list[dg.AssetsDefinition]:
    """``roster``, ``settings``, ``restatements``, ``coverage``, ``out_of_range`` and ``raw_data`` of one study, for a
    project that puts its definitions together itself.

    They need resources under the study's ``deployment`` (a ``BeiweResource``), ``beiwe_table_io_manager`` and
    ``beiwe_lake_io_manager``. A study given by its whole id with ``key`` and ``start`` needs nothing else; any other is
    looked up in what ``build_beiwe_definitions`` or ``beiwe/studies`` last learnt from the server, in ``state_folder``.
    ``raw_data`` of all studies on a server should share a ``pool``, whose limit is then the number of runs at once.

    Raises ``ConfigurationError`` for a study that is not known, or whose start is not.
    """
    found = identify_study(study, StudyMemory(study.deployment, folder=state_folder).studies())
    return assets_of(found, pool=pool, retry_policy=retry_policy)


def assets_of(study: Study, *, pool: str, retry_policy: dg.RetryPolicy = RETRY_POLICY) -> list[dg.AssetsDefinition]:
    """The assets of a study that was found; ``raw_data`` is the last."""
    assets = [
        build_roster_asset(study, pool=pool, retry_policy=retry_policy),
        build_settings_asset(study, retry_policy=retry_policy),
        build_restatements_asset(study, retry_policy=retry_policy),
        build_coverage_asset(study, retry_policy=retry_policy),
        build_out_of_range_asset(study, pool=pool, retry_policy=retry_policy),
        build_raw_data_asset(study, pool=pool, retry_policy=retry_policy),
    ]
    return _marked(study, assets)


def tables_of(studies: Sequence[Study]) -> list[dg.AssetsDefinition]:
    """Roster and settings of studies whose start is not known yet."""
    builders = (build_roster_asset, build_settings_asset)
    return [asset for study in studies for asset in _marked(study, [build(study) for build in builders])]


def _marked(study: Study, assets: list[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """With a word in their descriptions where the server does not name the study any more."""
    if not study.hidden:
        return assets

    def marked(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(description=f"{_HIDDEN} {spec.description}")

    return [asset.map_asset_specs(marked) for asset in assets]
