"""The YAML component and the names of the package."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dagster as dg
from worlds import ASSETS

import dagster_beiwe
from dagster_beiwe import BeiweComponent, BeiweTranslatorData, EnvCredentials, KeyringCredentials, Study
from dagster_beiwe.partitions.definitions import participants_name
from dagster_beiwe.simulator import SimulatedServer

YAML = """
studies:
  - study: Sleep and Mood
    key: sleep
    start: "2024-03-01"
    window: monthly
    streams: [gps, calls]
    plain_streams: [calls]
automation:
  running: true
"""


def test_yaml_becomes_definitions(server: SimulatedServer) -> None:
    """The same as in Python."""
    component = BeiweComponent.resolve_from_yaml(YAML)
    definitions = component.build_defs(dg.ComponentTree.for_test().load_context)
    keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    assert keys == {"beiwe/studies", *(f"beiwe/sleep/{name}" for name in ASSETS)}


def test_a_project_in_yaml_gets_a_default_io_manager_only_if_it_asks(server: SimulatedServer) -> None:
    """Encrypted tables, by name."""
    for text, bound in ((YAML, False), (f"{YAML}\ndefault_io_manager: true", True)):
        definitions = BeiweComponent.resolve_from_yaml(text).build_defs(dg.ComponentTree.for_test().load_context)
        assert ("io_manager" in (definitions.resources or {})) is bound


TRANSLATION = """
translation:
  key_prefix: lab
  group_name: "{{ data.study.key if data.study else 'servers' }}_raw"
  owners: ["team:data"]
  tags: {domain: health, asset: "{{ data.name }}"}
  metadata: {cohort: 2024}
  description: "{{ spec.description }} Ask the data team."
"""


def test_a_translation_in_yaml_changes_how_every_asset_looks(server: SimulatedServer) -> None:
    """As a translator in Python does; tags and metadata are added to those of the package."""
    component = BeiweComponent.resolve_from_yaml(YAML + TRANSLATION)
    definitions = component.build_defs(dg.ComponentTree.for_test().load_context)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert set(specs) == {"lab/beiwe/studies", *(f"lab/beiwe/sleep/{name}" for name in ASSETS)}
    raw = specs["lab/beiwe/sleep/raw_data"]
    assert (raw.group_name, list(raw.owners)) == ("sleep_raw", ["team:data"])
    assert dict(raw.tags).items() >= {"domain": "health", "asset": "raw_data", "beiwe/study": "sleep"}.items()
    assert raw.metadata["cohort"] == 2024
    assert (raw.description or "").startswith("Raw data of Sleep and Mood in the lake")
    assert (raw.description or "").endswith("Ask the data team.")
    assert specs["lab/beiwe/studies"].group_name == "servers_raw"
    (checks,) = {
        check.asset_key for check in definitions.resolve_asset_graph().asset_check_keys if check.name == "intact"
    }
    assert checks == dg.AssetKey(["lab", "beiwe", "sleep", "coverage"])


class ClinicComponent(BeiweComponent):
    """Overrides what a lab can override."""

    def get_asset_spec(self, data: BeiweTranslatorData) -> dg.AssetSpec:
        return super().get_asset_spec(data).merge_attributes(tags={"clinic": "north"})

    def lab_assets(self, study: Study) -> list[dg.AssetsDefinition]:
        @dg.asset(key=["lab", study.key], deps=[study.asset_key("roster")])
        def own() -> None: ...

        return [own]

    def execute(
        self, context: dg.AssetExecutionContext, asset: BeiweTranslatorData, materialize: Callable[[], Iterator[Any]]
    ) -> Iterable[Any]:
        context.instance.add_run_tags(context.run.run_id, {f"began {asset.name}": str(asset.study and asset.study.key)})
        yield from super().execute(context, asset, materialize)
        context.instance.add_run_tags(context.run.run_id, {f"ended {asset.name}": "yes"})


def test_a_subclass_changes_assets_and_wraps_what_runs(server: SimulatedServer, instance: dg.DagsterInstance) -> None:
    """Its specs are translated by the YAML, too; whatever runs, partitioned or not, runs inside of it."""
    component = ClinicComponent.resolve_from_yaml(YAML + TRANSLATION)
    definitions = dg.build_defs_for_component(component)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert dict(specs["lab/beiwe/sleep/coverage"].tags).items() >= {"clinic": "north", "domain": "health"}.items()
    assert specs["lab/sleep"].deps
    job = definitions.resolve_implicit_global_asset_job_def()
    keys = [dg.AssetKey(["lab", "beiwe", "sleep", name]) for name in ("roster", "participant")]
    result = job.execute_in_process(instance=instance, asset_selection=keys[:1])
    (someone, *_) = instance.get_dynamic_partitions(participants_name(next(iter(server.world.studies))))
    again = job.execute_in_process(instance=instance, asset_selection=keys[1:], partition_key=someone)
    for done, name in ((result, "roster"), (again, "participant")):
        tags = instance.get_run_by_id(done.run_id).tags  # type: ignore[union-attr]
        assert (tags[f"began {name}"], tags[f"ended {name}"]) == ("sleep", "yes")
        assert [event.step_key for event in done.get_asset_materialization_events()] == [f"lab__beiwe__sleep__{name}"]


def test_deployments_name_where_secrets_are() -> None:
    """A section of the keyring, or a prefix of variables; never a value."""
    text = "deployments: {onnela: {keyring_section: lab}, other: {environment_prefix: OTHER_}}"
    component = BeiweComponent.resolve_from_yaml(text)
    onnela, other = (component.deployments[name].resource().credentials for name in ("onnela", "other"))
    assert isinstance(onnela, KeyringCredentials)
    assert isinstance(other, EnvCredentials)
    assert (onnela.section, other.prefix) == ("lab", "OTHER_")


def test_dagster_finds_the_component() -> None:
    """Its registry looks at everything that the package exports."""
    from dagster.components.core.package_entry import get_package_objects_in_module

    assert "BeiweComponent" in dict(get_package_objects_in_module(dagster_beiwe))
