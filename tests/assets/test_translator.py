"""A translator decides how assets look; everything that works with them follows the keys it chose."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import dagster as dg
from labs import PARTICIPANTS, START, WEEKS, Lab, moment, values
from worlds import ASSETS

from dagster_beiwe import BeiweTranslator, BeiweTranslatorData, Study, StudyConfig, build_beiwe_definitions
from dagster_beiwe.assets import build_study_assets
from dagster_beiwe.checks import CHECKS
from dagster_beiwe.runs.remembered_heads import all_remembered_heads, remembered_heads
from dagster_beiwe.simulator import SimulatedServer

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
