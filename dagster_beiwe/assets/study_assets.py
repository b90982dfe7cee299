"""All assets of a study. They are built from its configuration alone: nothing here asks the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from dagster_beiwe.assets.coverage import build_coverage_asset
from dagster_beiwe.assets.forest import build_forest_assets
from dagster_beiwe.assets.out_of_range import build_out_of_range_asset
from dagster_beiwe.assets.participant import build_participant_asset
from dagster_beiwe.assets.quality import build_quality_asset
from dagster_beiwe.assets.raw_data import build_raw_data_asset
from dagster_beiwe.assets.report import build_report_asset
from dagster_beiwe.assets.restatements import build_restatements_asset
from dagster_beiwe.assets.roster import build_roster_asset
from dagster_beiwe.assets.server_tables import build_server_tables
from dagster_beiwe.assets.settings import build_settings_asset
from dagster_beiwe.assets.stream_tables import build_stream_tables
from dagster_beiwe.assets.study_asset import DEFAULT_OPTIONS, AssetOptions
from dagster_beiwe.assets.translator import DEFAULT_TRANSLATOR, BeiweTranslator, translated
from dagster_beiwe.runs.failures import RETRY_POLICY
from dagster_beiwe.studies.choice import identify_study
from dagster_beiwe.studies.config import StudyConfig
from dagster_beiwe.studies.discovery import StudyMemory
from dagster_beiwe.studies.study import Study


def build_tables(study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> list[dg.AssetsDefinition]:
    """What the server says about a study, which needs no start: roster, settings, and the tables beside them."""
    return [
        build_roster_asset(study, options),
        build_settings_asset(study, options),
        *build_server_tables(study, options),
    ]


@dataclass(frozen=True, kw_only=True)
class StudyAssets:
    """The assets of a study whose start is known. ``tables`` are those of ``build_tables``."""

    tables: Sequence[dg.AssetsDefinition]
    participant: dg.AssetsDefinition
    restatements: dg.AssetsDefinition
    coverage: dg.AssetsDefinition
    report: dg.AssetsDefinition
    out_of_range: dg.AssetsDefinition
    raw_data: dg.AssetsDefinition
    quality: dg.AssetsDefinition | None
    streams: Sequence[dg.AssetsDefinition]
    forest: Sequence[dg.AssetsDefinition]

    @classmethod
    def of(cls, study: Study, options: AssetOptions = DEFAULT_OPTIONS) -> StudyAssets:
        study = translated(study, options.translator)
        return cls(
            tables=build_tables(study, options),
            participant=build_participant_asset(study, options),
            restatements=build_restatements_asset(study, options),
            coverage=build_coverage_asset(study, options),
            report=build_report_asset(study, options),
            out_of_range=build_out_of_range_asset(study, options),
            raw_data=build_raw_data_asset(study, options),
            quality=build_quality_asset(study, options) if study.config.looked_at else None,
            streams=build_stream_tables(study, options),
            forest=build_forest_assets(study, options),
        )

    @property
    def summaries(self) -> list[dg.AssetsDefinition]:
        """What is made from manifests alone."""
        return [self.restatements, self.coverage]

    @property
    def all(self) -> list[dg.AssetsDefinition]:
        rows = [self.quality] if self.quality else []
        made = [*self.summaries, *rows, self.report, *self.streams, *self.forest]
        return [*self.tables, self.participant, *made, self.out_of_range, self.raw_data]


def build_study_assets(
    study: StudyConfig,
    *,
    pool: str = "beiwe",
    retry_policy: dg.RetryPolicy = RETRY_POLICY,
    state_folder: str | Path | None = None,
    translator: BeiweTranslator = DEFAULT_TRANSLATOR,
) -> list[dg.AssetsDefinition]:
    """The assets of one study, for a project that assembles its definitions itself: see ``StudyAssets``.

    The project defines the resources they need: the study's ``deployment`` (a ``BeiweResource``),
    ``beiwe_table_io_manager``, and ``beiwe_lake_io_manager``. A study given by its whole id, with ``key`` and
    ``start``, needs nothing else. Any other study is looked up in what ``build_beiwe_definitions`` or ``beiwe/studies``
    last learned from the server, in ``state_folder``. Let ``raw_data`` of all studies on a server share a ``pool``,
    whose limit is then the number of simultaneous runs.

    Raises ``ConfigurationError`` for a study that is not known, or whose start is not.
    """
    found = identify_study(study, StudyMemory(study.deployment, folder=state_folder).studies())
    return StudyAssets.of(found, AssetOptions(pool=pool, retry_policy=retry_policy, translator=translator)).all
