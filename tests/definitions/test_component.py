"""The YAML component and the names of the package."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest
from worlds import ASSETS

import dagster_beiwe
from dagster_beiwe import BeiweComponent, EnvCredentials, KeyringCredentials
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


def test_exported_names_are_sorted_and_there() -> None:
    """``__all__`` is complete, each name can be imported, and an unknown one is an AttributeError."""
    assert dagster_beiwe.__all__ == sorted(dagster_beiwe.__all__)
    for name in dagster_beiwe.__all__:
        assert getattr(dagster_beiwe, name).__name__ == name
    assert set(dagster_beiwe.__all__) <= set(dir(dagster_beiwe))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dagster_beiwe.no_such_name


def test_a_script_does_not_load_dagster() -> None:
    """Client, lake and reader come without the orchestrator."""
    names = "BeiweClient, BeiweError, BeiweLake, BeiwePartitions, Window, credentials_from_env"
    script = f"import sys; from dagster_beiwe import {names}; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
