"""How assets look in Dagster: keys, groups, owners, kinds, descriptions, and columns. One class to override."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from dagster_beiwe.assets.columns import COLUMNS, column_types
from dagster_beiwe.forest.analyses import ANALYSES, asset_name
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


class BeiweTranslator:
    """Decides the key, group, owners, kinds, tags, description, and metadata of every asset.

    Override ``get_asset_spec`` and change what ``super()`` returns::

        class LabTranslator(BeiweTranslator):
            def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
                spec = super().get_asset_spec(data)
                return spec.replace_attributes(key=spec.key.with_prefix("lab"), owners=["team:data"])

    Checks, schedules, sensors, and dependencies follow a changed key. Dependencies, an automation condition, and a
    freshness policy of the returned spec are added. Partitions are not the translator's to choose.
    """

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        study = data.study
        return dg.AssetSpec(
            key=["beiwe", study.key, *data.name.split("/")] if study else ["beiwe", data.name],
            group_name=study.key if study else "beiwe",
            kinds={"beiwe", "file" if data.name in _OF_FILES else "parquet"},
            tags={"beiwe/study": study.key[:_LONGEST_TAG]} if study else {},
            owners=study.config.owners if study else (),
            description=_description(data.name, study),
            metadata=_schema(data.name) if study else {**_schema(data.name), NO_PARTICIPANTS_METADATA_KEY: True},
        )


DEFAULT_TRANSLATOR = BeiweTranslator()

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


def _schema(name: str) -> dict[str, Any]:
    if name not in COLUMNS:
        return {}
    columns = [
        dg.TableColumn(column, kind, description=COLUMNS[name][column]) for column, kind in column_types(name).items()
    ]
    return {COLUMN_SCHEMA: dg.TableSchema(columns)}


def _description(name: str, study: Study | None) -> str:
    if study is None:
        return (
            "The studies that the configured access keys can see. Reload the code location to add assets for new ones."
        )
    text = {
        "roster": (
            f"Participants of {study.title} in order of enrollment, with the columns of the server's participant "
            "table. New participants become partitions of raw_data."
        ),
        "settings": (f"Data streams, device settings, surveys with their history, and interventions of {study.title}."),
        "participant": (
            f"Who each participant of {study.title} is, and what their phone reported: uploads, heartbeats, versions "
            "of app and system, status reports, and notifications. One partition per participant."
        ),
        "data_volume": (
            f"Bytes that the server counts for {study.title}, by participant, day, and stream. Compare it with "
            "coverage to see what the lake lacks."
        ),
        "interventions": f"Dates of the interventions that the survey schedules of {study.title} refer to.",
        "survey_history": f"Questions of every survey of {study.title}, in every version of the survey.",
        "forest_tasks": (
            f"Runs of Forest's analyses of {study.title} on the server. Empty on servers older than July 2026."
        ),
        "forest_statistics": (
            f"What Forest's analyses on the server found in {study.title}, by participant and day. Empty if none ran."
        ),
        "restatements": (
            f"Files of {study.title} that were restated or deleted upstream after they were fetched: sizes, hashes, "
            "and times. No content."
        ),
        "coverage": (
            f"What arrived from {study.title}, by participant, day, and stream, compared with what is expected from "
            "the settings. Its checks show who is silent, and whether the lake is complete, intact, and protected."
        ),
        "report": (
            f"Who sends what in {study.title}, as one HTML page, stored encrypted. `dagster-beiwe report --stored` "
            "writes it to a file."
        ),
        "quality": (
            f"The quality of the rows of {study.title}, by participant, study-local day, and stream: minutes with "
            f"data, and faults. Counts only. Streams: {', '.join(study.config.looked_at)}."
        ),
        "out_of_range": (
            f"Files of {study.title} dated outside every window by phones with a wrong clock. The check `complete` on "
            "`coverage` names the participants who have some."
        ),
        "raw_data": _raw_data(study),
        **{
            asset_name(tree): (
                f"{analysis.title} of {study.title}, as Forest's {tree} finds it: by participant and study-local day, "
                f"one partition per participant and {study.config.window} window. From {', '.join(analysis.streams)}."
            )
            for tree, analysis in ANALYSES.items()
        },
        **{
            table.asset: (
                f"{table.description} The rows of {study.title} with one type per column, sorted by time, and with "
                f"local times: one partition per participant and {study.config.window} window (UTC). From "
                f"{', '.join(table.streams)}."
            )
            for table in TABLES.values()
        },
    }[name]
    if study.hidden:
        return f"The server no longer lists this study, so runs will fail. The lake keeps what was fetched. {text}"
    return text


def _raw_data(study: Study) -> str:
    config = study.config
    streams = f"Streams: {', '.join(config.streams)}." if config.streams else "All streams that the server has."
    how = f" with {config.encryption}" if config.encrypted != "none" else ""
    return (
        f"Raw data of {study.title} in the lake: one partition per participant and {config.window} window (UTC). "
        f"{streams} Encrypted{how}: {config.encrypted}. Its checks are on coverage. A window without files is a "
        "success; coverage shows who sent nothing. The newest window is still growing: materialize it again later."
    )
