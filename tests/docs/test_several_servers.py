"""The page about several servers: YAML and Python give the same assets, each study from its own server."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from dagster_beiwe import BeiweComponent
from dagster_beiwe.simulator import SimulatedServer, StudyPlan, World

PAGE = (Path(__file__).parents[2] / "docs" / "several-servers.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


def test_yaml_and_python_take_each_study_from_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables that the page names, and nothing else of the second server."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    now = datetime(2026, 3, 9, tzinfo=timezone.utc)
    with ExitStack() as servers:
        for prefix, study in (("BEIWE", "Sleep and Mood"), ("CLINIC", "Pain")):
            world = World.build(StudyPlan(name=study, participants=1, streams=("gps",)), now=now)
            server = servers.enter_context(SimulatedServer(world))
            monkeypatch.setenv(f"{prefix}_URL", server.url)
            monkeypatch.setenv(f"{prefix}_ACCESS_KEY", server.access_key)
            monkeypatch.setenv(f"{prefix}_SECRET_KEY", server.secret_key)
        names: dict[str, Any] = {}
        exec(compile(block("python"), "docs/several-servers.md", "exec"), names)
        in_python: dg.Definitions = names["defs"]()
        component = BeiweComponent.resolve_from_yaml(yaml.safe_dump(yaml.safe_load(block("yaml"))["attributes"]))
    keys = {key.to_user_string() for key in in_python.resolve_all_asset_keys()}
    assert {"beiwe/sleep_and_mood/raw_data", "beiwe/pain/raw_data"} <= keys
    assert {"beiwe", "clinic", "clinic_table_io_manager", "clinic_lake_io_manager"} <= set(in_python.resources or {})
    in_yaml = {name: deployment.resource() for name, deployment in component.deployments.items()}
    assert in_yaml == names["deployments"]
    assert [(each.study, each.deployment) for each in component.studies] == [
        ("Sleep and Mood", "beiwe"),
        ("Pain", "clinic"),
    ]
