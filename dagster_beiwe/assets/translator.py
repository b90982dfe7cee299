"""How assets look in Dagster: keys, groups, owners, kinds, descriptions, and columns. One class to override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import dagster as dg

from dagster_beiwe.assets.descriptions import description
from dagster_beiwe.assets.table_schemas import COLUMNS, column_types
from dagster_beiwe.forest.analyses import asset_name
from dagster_beiwe.io_managers.pickles import NO_PARTICIPANTS_METADATA_KEY
from dagster_beiwe.runs.dagster_private import COLUMN_SCHEMA
from dagster_beiwe.stream_tables.catalog import TABLES
from dagster_beiwe.studies.study import Study

STUDIES = "studies"
STUDY_TABLES = (
    "roster",
    "settings",
    "data_volume",
    "interventions",
    "survey_history",
    "forest_tasks",
    "forest_statistics",
)
"""What the server says about a study, in tables without partitions."""

STUDY_ASSETS = (
    *STUDY_TABLES,
    "participant",
    "restatements",
    "coverage",
    "quality",
    "report",
    "out_of_range",
    "raw_data",
)


def study_assets(study: Study) -> tuple[str, ...]:
    """What the assets of a study are called, with the tables and analyses that its configuration names."""
    tables = (TABLES[name].asset for name in study.config.tables)
    return (*STUDY_ASSETS, *tables, *map(asset_name, study.config.forest))


@dataclass(frozen=True, kw_only=True)
class BeiweTranslatorData:
    """Which asset a translator is asked about: what it is called in this package, and whose it is.

    ``study`` is None for the asset ``studies``, which belongs to none.
    """

    name: str
    study: Study | None

    @property
    def slug(self) -> str:
        """The name as tags and groups may hold it: ``streams_gps`` for ``streams/gps``."""
        return self.name.replace("/", "_")


class BeiweTranslator:
    """Decides the key, group, owners, kinds, tags, description, metadata, code version, and freshness policy of every
    asset.

    Override ``get_asset_spec`` and change what ``super()`` returns::

        class LabTranslator(BeiweTranslator):
            def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
                spec = super().get_asset_spec(data)
                return spec.replace_attributes(key=spec.key.with_prefix("lab"), owners=["team:data"])

    Checks, schedules, sensors, and dependencies follow a changed key. Dependencies and an automation condition of the
    returned spec are added. Partitions are not the translator's to choose.
    """

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        study = data.study
        return dg.AssetSpec(
            key=["beiwe", study.key, *data.name.split("/")] if study else ["beiwe", data.name],
            group_name=study.key if study else "beiwe",
            kinds={"beiwe", "file" if data.name in _OF_FILES else "parquet"},
            tags={"beiwe/study": study.key[:_LONGEST_TAG]} if study else {},
            owners=study.config.owners if study else (),
            description=description(data.name, study),
            metadata=_schema(data.name) if study else {**_schema(data.name), NO_PARTICIPANTS_METADATA_KEY: True},
            code_version=str(METHODS.get(data.name, 1)),
            freshness_policy=_freshness(data.name, study) if study else None,
        )


DEFAULT_TRANSLATOR = BeiweTranslator()

METHODS: Mapping[str, int] = {table.asset: table.method for table in TABLES.values()}
"""Code versions of assets, 1 for those that are not here. Raise one when the same data make other content: Dagster then
shows what was made before as stale."""

MADE_DAILY = (*STUDY_TABLES, "restatements", "coverage", "quality", "raw_data")
"""What the study's schedules make every day. All others follow other assets, or somebody asks for them."""

_OF_FILES = ("raw_data", "out_of_range")
"""Assets that are the server's files. All others are tables. Dagster has an icon for either."""

_LONGEST_TAG = 63


def translated(study: Study, translator: BeiweTranslator) -> Study:
    """The study with the keys that a translator gives its assets."""
    study = replace(study, asset_keys={})
    names = study_assets(study)
    keys = {name: translator.get_asset_spec(BeiweTranslatorData(name=name, study=study)).key for name in names}
    changed = {name: list(key.path) for name, key in keys.items() if key != study.asset_key(name)}
    return replace(study, asset_keys=changed)


def _freshness(name: str, study: Study) -> dg.FreshnessPolicy | None:
    days = study.config.late_days
    if name not in MADE_DAILY or not days or study.hidden:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=timedelta(days=days))


def _schema(name: str) -> dict[str, Any]:
    if name not in COLUMNS:
        return {}
    columns = [
        dg.TableColumn(column, kind, description=COLUMNS[name][column]) for column, kind in column_types(name).items()
    ]
    return {COLUMN_SCHEMA: dg.TableSchema(columns)}
