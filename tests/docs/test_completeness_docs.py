"""docs/assets.md and docs/completeness.md: what they show is run, what they name exists."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._cli import create_dagster_cli
from labs import PARTICIPANTS, START, WEEKS, Lab

from dagster_beiwe import Automation, StudyConfig
from dagster_beiwe.assets import build_study_assets
from dagster_beiwe.checks import CHECKS, build_study_checks
from dagster_beiwe.demo.scenario import run_scenario

ROOT = Path(__file__).parents[2]
ASSETS = (ROOT / "docs" / "assets.md").read_text(encoding="utf-8")
COMPLETENESS = (ROOT / "docs" / "completeness.md").read_text(encoding="utf-8")


def block(document: str, language: str) -> str:
    """The first one in this language."""
    return str(re.findall(rf"```{language}\n(.*?)```", document, flags=re.DOTALL)[0])


def test_the_project_of_the_document_loads(lab: Lab) -> None:
    """Every asset, schedule, sensor and check that the tables name is in it, and no other."""
    names: dict[str, Any] = {}
    exec(compile(block(ASSETS, "python"), "docs/assets.md", "exec"), names)
    definitions = names["defs"]()
    assert isinstance(definitions, dg.Definitions)
    keys = {key.to_user_string() for key in definitions.resolve_all_asset_keys()}
    listed = re.findall(r"^\| `(?:\.\.\.|beiwe)/(\w+)` \|", ASSETS, flags=re.MULTILINE)
    assert keys == {"beiwe/studies", *(f"beiwe/sleep/{name}" for name in listed if name != "studies")}
    repository = definitions.get_repository_def()
    by_itself: list[dg.ScheduleDefinition | dg.SensorDefinition] = [*repository.schedule_defs, *repository.sensor_defs]
    running = {each.name.replace("sleep_", "<key>_") for each in by_itself}
    assert running == set(re.findall(r"^\| (?:schedule|sensor) `(\S+)`", ASSETS, flags=re.MULTILINE))


def test_the_document_names_settings_and_checks_that_exist() -> None:
    """And all of the checks."""
    for name in re.findall(r"`(\w+_(?:cron|seconds))` \|", ASSETS):
        assert name in Automation.model_fields
    _, _, checks = ASSETS.partition("\n## Checks\n")
    assert re.findall(r"^\| `(\w+)` \| `(\w+)` \|", checks, flags=re.MULTILINE) == [
        (name, asset) for name, (asset, _) in CHECKS.items()
    ]


def test_the_launchpad_takes_the_configuration_of_the_document(lab: Lab) -> None:
    """The share is the one that the check then uses."""
    lab.backfill()
    config = yaml.safe_load(block(ASSETS, "yaml"))["ops"]["sleep_check_data"]["config"]
    assert lab.check("intact", **config).metadata["share"].value == 1.0


@pytest.mark.filterwarnings("ignore:Function `asset_materialize_command` is superseded")
def test_the_commands_of_the_document_materialise_a_rectangle(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With participants and weeks that exist."""
    text = block(ASSETS, "shell").replace("~/beiwe", os.environ["DAGSTER_HOME"])
    for old, new in {
        "abcd1234|2024-03-04": f"{PARTICIPANTS[0]}|{WEEKS[0]}",
        "wxyz9876|2024-03-18": f"{PARTICIPANTS[-1]}|{WEEKS[2]}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    monkeypatch.setenv("BEIWE_START", START.isoformat())
    home, *commands = map(shlex.split, text.replace("\\\n", "").splitlines())
    assert home == ["export", f"DAGSTER_HOME={os.environ['DAGSTER_HOME']}"]
    for program, *arguments in commands:
        assert program == "dagster"
        create_dagster_cli()(arguments, standalone_mode=False)
    done = capfd.readouterr()
    recorded = re.findall(r"ASSET_MATERIALIZATION - Materialized value beiwe sleep_and_mood raw_data", done.err)
    assert len(recorded) == 3 * len(PARTICIPANTS)
    assert sum(len(lab.lake.windows(each)) for each in PARTICIPANTS) == 3 * len(PARTICIPANTS)
    for secret in (lab.server.access_key, lab.server.secret_key):
        assert secret not in done.err + done.out


def test_a_project_by_hand_has_assets_and_checks(lab: Lab) -> None:
    """The two builders fit together."""
    config = StudyConfig(lab.study.id, key="sleep", start=START)
    definitions = dg.Definitions(
        assets=build_study_assets(config),
        asset_checks=[build_study_checks(config)],
        resources=lab.resources,
    )
    dg.Definitions.validate_loadable(definitions)


def test_the_scenario_prints_what_the_document_shows(capfd: pytest.CaptureFixture[str]) -> None:
    """Line by line; dates, sizes and numbers differ from day to day."""
    assert run_scenario() == 0
    played = capfd.readouterr().out
    assert masked(played) == masked(block(COMPLETENESS, "text"))


def masked(text: str) -> list[str]:
    """Lines without what depends on the day: numbers, units, and how many there are of them."""
    lines = (re.sub(r"\d[\d,.:-]*", "#", line) for line in text.strip().splitlines())
    return [re.sub(r" +", " ", re.sub(r"# [kM]?B", "# B", line)) for line in lines]
