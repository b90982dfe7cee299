"""A translator decides how assets look; everything that works with them follows the keys it chose."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from labs import PARTICIPANTS, START, WEEKS, Lab, moment, values
from worlds import ASSETS

from dagster_beiwe import BeiweTranslator, BeiweTranslatorData, Study, StudyConfig, build_beiwe_definitions
from dagster_beiwe.assets import build_study_assets
from dagster_beiwe.assets.lineage import SOURCES, forest_sources, table_sources
from dagster_beiwe.assets.table_schemas import COLUMNS, ROSTER_COLUMNS
from dagster_beiwe.assets.translator import MADE_DAILY, METHODS
from dagster_beiwe.checks import CHECKS
from dagster_beiwe.forest.analyses import ANALYSES, asset_name
from dagster_beiwe.runs.remembered_heads import all_remembered_heads, remembered_heads
from dagster_beiwe.simulator import SimulatedServer
from dagster_beiwe.stream_tables.catalog import TABLES

ANNA, WEEK = PARTICIPANTS[0], timedelta(weeks=1)


class LabTranslator(BeiweTranslator):
    """Other keys, of another length, and everything else that can be chosen."""

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        spec = super().get_asset_spec(data)
        study = data.study.id if data.study else "all"
        return spec.replace_attributes(
            key=["lab", "phones", study, f"beiwe_{data.name}"],
            group_name="phones",
            owners=["team:phones"],
            kinds={"beiwe", "phone"},
            tags={"cost": "low", "table": data.slug},
            description=f"Ours. {spec.description}",
            metadata={**spec.metadata, "contact": "phones"},
            deps=["grant"] if data.name == "roster" else [],
        )


def test_checks_sensors_and_tables_follow_a_changed_key(open_lab: Callable[..., Lab]) -> None:
    """From the roster to the checks, with what Dagster remembers of the lake and of each window."""
    lab = open_lab(translator=LabTranslator())
    assert lab.run("roster", "settings").success
    assert lab.run("raw_data", tags=lab.range_tags()).success
    assert set(lab.table("coverage")["participant"]) == set(PARTICIPANTS)
    for name in CHECKS:
        assert lab.check(name).passed, name
    (after_run, after_check) = remembered_heads(lab.instance, lab.study)
    assert all_remembered_heads(lab.instance) == [after_check, after_run]
    assert lab.requested() == []
    lab.world.add_rows(ANNA, "gps", moment(START + WEEK))
    assert lab.follow() == [f"{ANNA}|{WEEKS[1]}"]
    assert all(key.path[:2] == ["lab", "phones"] for key in lab.instance.all_asset_keys())
    lab.world.add_rows(ANNA, "gps", moment(START + 2 * WEEK))
    commands = values(lab.check("complete"))["commands"]
    assert f"key:lab/phones/{lab.study.id}/beiwe_raw_data'" in commands


def test_assets_have_icons_and_the_tag_of_their_study(server: SimulatedServer) -> None:
    """Dagster knows files and Parquet by sight."""
    graph = build_beiwe_definitions([StudyConfig("Sleep and Mood", key="k" * 80)]).resolve_asset_graph()
    for name in ASSETS:
        node = graph.get(dg.AssetKey(["beiwe", "k" * 80, name]))
        assert node.kinds == {"beiwe", "file" if name in ("raw_data", "out_of_range") else "parquet"}
        assert node.tags["beiwe/study"] == "k" * 63
    assert "beiwe/study" not in graph.get(dg.AssetKey(["beiwe", "studies"])).tags


@pytest.fixture(scope="module")
def icons() -> set[str]:
    """The kinds for which Dagster's UI has a picture."""
    spec = importlib.util.find_spec("dagster_webserver")
    assert spec is not None
    assert spec.origin is not None
    chunks = (Path(spec.origin).parent / "webapp" / "build" / "_next" / "static" / "chunks").glob("*.js")
    (text,) = [text for each in chunks if "parquet:{icon:" in (text := each.read_text(encoding="utf-8"))]
    return set(re.findall(r'[{,]"?([a-z0-9 _-]+)"?:\{icon:', text))


def test_every_asset_says_what_it_is_and_when_it_is_late(server: SimulatedServer, icons: set[str]) -> None:
    """With everything that a study can have: nothing is left for a lab to fill in but its owners."""
    config = StudyConfig(
        "Sleep and Mood", tables=sorted(TABLES), forest=list(ANALYSES), owners=["team:data"], late_days=3
    )
    definitions = build_beiwe_definitions([config])
    graph, repository = definitions.resolve_asset_graph(), definitions.get_repository_def()
    scheduled = {
        key
        for each in repository.schedule_defs
        for key in repository.get_job(each.job_name).asset_layer.executable_asset_keys
    }
    specs = {
        "/".join(spec.key.path[2:]): spec for spec in definitions.resolve_all_asset_specs() if len(spec.key.path) > 2
    }
    assert {*MADE_DAILY, *(table.asset for table in TABLES.values())} < specs.keys()
    for name, spec in specs.items():
        node = graph.get(spec.key)
        assert (spec.group_name, list(spec.owners)) == ("sleep_and_mood", ["team:data"]), name
        assert spec.tags["beiwe/study"] == "sleep_and_mood", name
        assert spec.kinds & icons, name
        assert len(spec.description or "") > 40, name
        assert spec.code_version == str(METHODS.get(name, 1)), name
        assert (spec.key in scheduled) >= (name in MADE_DAILY), name
        late = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=3)) if name in MADE_DAILY else None
        assert node.freshness_policy == late, name
        assert (node.automation_condition is not None) == name.startswith(("streams/", "forest/", "surveys")), name
        if name not in ("raw_data", "out_of_range", "report"):
            assert "dagster/column_schema" in spec.metadata, name


def test_a_study_that_has_ended_is_never_late(server: SimulatedServer) -> None:
    """Where its configuration says so, and where the server no longer lists it."""
    graph = build_beiwe_definitions([StudyConfig("Sleep and Mood", late_days=0)]).resolve_asset_graph()
    assert {graph.get(key).freshness_policy for key in graph.materializable_asset_keys} == {None}


def test_column_lineage_names_columns_that_exist() -> None:
    """On both sides; those of raw data are the columns of its streams' tables."""
    raw = {source[1] for table in TABLES.values() for named in table_sources(table).values() for source in named}
    made = {**SOURCES, **{asset_name(tree): forest_sources(each) for tree, each in ANALYSES.items()}}
    made |= {table.asset: table_sources(table) for table in TABLES.values()}
    for asset, columns in made.items():
        assert columns.keys() <= COLUMNS[asset].keys()
        for source, column in (each for named in columns.values() for each in named):
            known = {"raw_data": {"timestamp", *raw}, "roster": {"participant", *ROSTER_COLUMNS}}
            assert column in known.get(source, COLUMNS.get(source, {})), (asset, source, column)


def test_a_project_looks_as_its_translator_says(server: SimulatedServer) -> None:
    """All assets, what they depend on, and what a lab adds; the study in the metadata is not the translator's."""
    seen: list[Study] = []

    def own(study: Study) -> list[dg.AssetsDefinition]:
        @dg.asset(key=["lab", study.key, "table"], deps=[study.asset_key("raw_data")])
        def table() -> None: ...

        seen.append(study)
        return [table]

    graph = build_beiwe_definitions(translator=LabTranslator(), per_study=own).resolve_asset_graph()
    (study,) = seen
    keys = {name: dg.AssetKey(["lab", "phones", study.id, f"beiwe_{name}"]) for name in ASSETS}
    studies = dg.AssetKey(["lab", "phones", "all", "beiwe_studies"])
    assert graph.materializable_asset_keys == {studies, *keys.values(), dg.AssetKey(["lab", study.key, "table"])}
    assert graph.get(dg.AssetKey(["lab", study.key, "table"])).parent_keys == {keys["raw_data"]}
    assert graph.get(keys["coverage"]).parent_keys == {keys[name] for name in ("raw_data", "roster", "settings")}
    assert graph.get(keys["roster"]).parent_keys == {studies, dg.AssetKey("grant")}
    checked = ("coverage", "quality", "roster", "settings")
    assert {check.asset_key for check in graph.asset_check_keys} == {keys[name] for name in checked}
    for name in ASSETS:
        node = graph.get(keys[name])
        assert (node.group_name, node.owners, node.kinds) == ("phones", ["team:phones"], {"beiwe", "phone"})
        assert node.tags["cost"] == "low"
        assert str(node.description).startswith("Ours. ")
        assert node.metadata["contact"] == "phones"
        assert Study.from_metadata(node.metadata) == study


def test_a_slug_serves_as_tag_and_group() -> None:
    """Which refuse the slash in the names of stream tables and Forest's."""

    class Tagging(BeiweTranslator):
        def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
            spec = super().get_asset_spec(data)
            return spec.replace_attributes(tags={"table": data.slug}, group_name=data.slug)

    study = StudyConfig("5" * 24, key="sleep", start=START, tables=["gps"], forest=["oak"])
    tagged = {each.key.to_user_string(): each for each in build_study_assets(study, translator=Tagging())}
    specs = {name: next(iter(each.specs)) for name, each in tagged.items()}
    for name, slug in {"streams/gps": "streams_gps", "forest/oak": "forest_oak", "raw_data": "raw_data"}.items():
        spec = specs[f"beiwe/sleep/{name}"]
        assert (spec.tags["table"], spec.group_name) == (slug, slug)
